"""Counters: how many records there are of a sort, without looking at them.

Rules may have `counted(indexed)`, which returns the counters in which a record with these fields counts, and COUNTED, a
version that is raised when that changes. A counter is a name in a group; the counters of a group are read together.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from kernel.rules import Rules

Name = tuple[str, str]  # group, name in it
Names = tuple[Name, ...]
Counts = Mapping[str, Mapping[str, int]]  # by group and name


def counting(rules: Mapping[str, Rules]) -> dict[str, int]:
    """Return the kinds of subjects that are counted, and how."""
    return {kind: version for kind, each in rules.items() if (version := getattr(each, "COUNTED", 0))}


def counted(rules: Rules, indexed: Mapping[str, Any]) -> Names:
    """Return the counters in which a record with these fields counts."""
    names = getattr(rules, "counted", None)
    return tuple(sorted(names(indexed))) if names else ()


def difference(moves: Iterable[tuple[Names, Names]]) -> Counter[Name]:
    """Return what counters move by when records count in others than before."""
    moved = Counter[Name]()
    for before, after in moves:
        moved.update(after)
        moved.subtract(before)
    return sum_of([moved])


def sum_of(moves: Iterable[Mapping[Name, int]]) -> Counter[Name]:
    """Return a sum without counters that do not move."""
    total = Counter[Name]()
    for each in moves:
        total.update(each)
    return Counter({name: n for name, n in total.items() if n})
