"""Queries across the records of reporting. The figures come from the tallies, which the projection moves."""

from typing import Any

from kernel.query import EXISTS, Index, Query

INDEXES = (Index("round", ("opens",)),)  # no applicant has the field, so the index holds the rounds alone


def rounds() -> Query:
    """Match every round that was opened."""
    return Query("round", {"opens": EXISTS}, order=("opens",))


def examples() -> dict[str, tuple[Any, ...]]:
    """Return each use of each query: the method of the store, and its arguments. A test runs them on both stores."""
    return {"rounds": ("find", rounds()), "subjects of rounds": ("find_subjects", rounds())}
