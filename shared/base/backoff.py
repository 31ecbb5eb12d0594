"""Waiting times between attempts."""

import random

MAX_DOUBLINGS = 32  # beyond any limit in use; keeps the power finite however many attempts have failed


def backoff(attempt: int, base: float = 0.1, limit: float = 30.0) -> float:
    """Return the seconds to wait after failed attempt number `attempt`: 0 for the first failure, 1 for the second.

    Exponential, uniform between base and the cap: the smaller of `base * 2**attempt` and `limit`.
    """
    return random.uniform(base, min(limit, base * 2.0 ** min(attempt, MAX_DOUBLINGS)))
