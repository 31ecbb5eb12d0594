"""Wait for a figure of a running platform, and check that it stays: a late duplicate must be noticed."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
QUIET, POLL = 1.5, 0.1  # seconds in which a settled figure must stay as it is, and between two readings


def settles(
    figure: Callable[[], T],
    expected: T,
    within: float,
    *,
    quiescent: Callable[[], bool] = lambda: True,
    quiet: float = QUIET,
) -> None:
    """Wait until the figure is as expected on a quiescent platform, and check that it stays so for `quiet` seconds."""
    deadline, settled_at, agreed = time.monotonic() + within, 0.0, False
    while not settled_at or time.monotonic() - settled_at < quiet:
        found = figure()
        assert found == expected or not agreed, f"{found}: the figure changed after it had settled at {expected}"
        settled_at = (settled_at or time.monotonic()) if found == expected and quiescent() else 0.0
        agreed = agreed or bool(settled_at)
        assert settled_at or time.monotonic() < deadline, f"{found}, not {expected} within {within:.0f} s"
        time.sleep(POLL)
