"""Back-off: exponential, jittered, bounded."""

import statistics

import pytest

from base.backoff import backoff


@pytest.mark.parametrize(("attempt", "longest"), [(0, 0.1), (1, 0.2), (3, 0.8), (8, 25.6), (9, 30.0), (10_000, 30.0)])
def test_wait_grows_exponentially_up_to_the_limit(attempt: int, longest: float) -> None:
    waits = [backoff(attempt) for _ in range(1_000)]

    assert min(waits) >= 0.1 and max(waits) <= longest
    assert max(waits) > longest * 0.9, "the whole range is used"


def test_wait_is_jittered_over_the_whole_range() -> None:
    waits = [backoff(20, base=1.0, limit=61.0) for _ in range(2_000)]

    assert len(set(waits)) > 1_900
    assert statistics.mean(waits) == pytest.approx(31.0, abs=3)
    assert min(waits) < 4 and max(waits) > 58


def test_base_and_limit_are_seconds() -> None:
    assert backoff(0, base=2.0) == 2.0
    assert all(2.0 <= backoff(5, base=2.0, limit=5.0) <= 5.0 for _ in range(100))
