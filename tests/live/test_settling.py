"""The wait for a settled figure, by which the tests in this folder assert that something is counted once."""

from collections.abc import Iterator

import pytest

from tests.support.settling import settles

QUIET = 0.3  # seconds


def figures(*first: int, then: int) -> Iterator[int]:
    """Yield figures as they are read."""
    yield from first
    while True:
        yield then


def test_a_figure_that_stays_has_settled() -> None:
    found, busy = figures(0, 1, then=2), iter([False, True, False])
    settles(lambda: next(found), 2, 5, quiescent=lambda: next(busy, True), quiet=QUIET)


def test_a_figure_that_is_counted_late_is_noticed() -> None:
    found = figures(1, 2, 2, then=3)
    with pytest.raises(AssertionError, match="3: the figure changed after it had settled at 2"):
        settles(lambda: next(found), 2, 5, quiet=QUIET)


def test_a_figure_that_is_not_reached_is_noticed() -> None:
    with pytest.raises(AssertionError, match="1, not 2 within 0 s"):
        settles(lambda: 1, 2, 0.2, quiet=QUIET)
    with pytest.raises(AssertionError, match="2, not 2 within 0 s"):
        settles(lambda: 2, 2, 0.2, quiescent=lambda: False, quiet=QUIET)
