"""Queries of screening: the queue by deadline, its counts, one case, and claims on cases."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import msgspec

from contracts.commands import Refused
from kernel.leases import Leases
from kernel.query import Index, Query, at_most, one_of
from kernel.record import Record
from kernel.store import Store, find_one
from programme.reference import provinces
from screening.domain.applicant import OPEN, STATES, authors_of, instant
from screening.domain.case import person_of

LEASE = timedelta(minutes=15)  # for which a claimed case is offered to no other officer
CANDIDATES = 200  # most urgent cases that a claim considers
IN_HAND = 20  # open cases that one person may have claimed at a time, so that no one takes the whole queue

SortKey = tuple[Any, ...]

INDEXES = (
    Index("applicant", ("province", "state", "deadline")),
    Index("applicant", ("scope", "state", "deadline")),  # for officers of one county
)


class Counts(msgspec.Struct, frozen=True):
    """The number of cases by state, and of open ones up to each of some deadlines."""

    by_state: dict[str, int]
    due_until: tuple[int, ...]


def queue(
    scope: str, state: str, *, until: datetime | None = None, after: SortKey | None = None, limit: int = 0
) -> Query:
    """Match the cases in a state, the earliest deadline first."""
    where = {**_inside(scope), "state": state, **({"deadline": at_most(until)} if until else {})}
    return Query("applicant", where, order=("deadline",), after=after, limit=limit)


def selected(scope: str, subjects: Collection[str]) -> Query:
    """Match those of these cases that are inside a scope."""
    return Query("applicant", {**_inside(scope), "subject": one_of(subjects)})


async def find_case(store: Store, subject: str, scope: str) -> Record:
    """Return a case; one outside the scope is not found. Raise Refused: not_found."""
    found = await find_one(store, selected(scope, [subject]))
    if not found:
        raise Refused("not_found")
    return found


async def count(store: Store, scope: str, times: Sequence[datetime]) -> Counts:
    """Count the cases by state, and the open ones with a deadline up to each of these times. Raise Transient."""
    counts = await store.counts([f"cases/{area}" for area in ([scope] if scope else provinces())])
    by_state, due = Counter[str](), [0] * len(times)
    for name, n in chain.from_iterable(each.items() for each in counts.values()):
        state, _, deadline = name.partition("/")
        by_state[state] += n
        for i, until in enumerate(times):
            due[i] += n if deadline and deadline <= instant(until) else 0
    return Counts(dict(by_state), tuple(due))


async def claim_next(store: Store, leases: Leases, scope: str, officer: str) -> Record | None:
    """Claim and return the most urgent case that is free; skip applicants whom the officer registered.

    Raise Refused: cases_in_hand if the officer has claimed too many, whatever the role and area, and has not decided
    them.
    """
    found = await store.find(queue(scope, OPEN, limit=CANDIDATES))
    person = person_of(officer)
    by_id = {each.subject: each for each in found if person not in authors_of(each.state)}
    await _check_in_hand(store, leases, person, IN_HAND - 1)
    claimed = await leases.acquire(list(by_id), person, LEASE)
    if claimed is None:
        return None
    try:  # again, with this one: of requests at the same time not one too many is answered
        await _check_in_hand(store, leases, person, IN_HAND)
    except Refused:
        await leases.release(claimed, person)
        raise
    return by_id[claimed]


async def _check_in_hand(store: Store, leases: Leases, person: str, limit: int) -> None:
    """Count the open cases of a person in all areas: one may hold tokens of several."""
    held = await leases.held_by(person)
    if len(held) <= limit:
        return
    undecided = [each for each in await store.find(selected("", held)) if each.indexed["state"] == OPEN]
    if len(undecided) > limit:
        raise Refused("cases_in_hand", limit=IN_HAND)


def _inside(scope: str) -> dict[str, Any]:
    """Match what is inside a scope, by fields of an index only."""
    province, _, county = scope.partition("/")
    area = {"scope": scope} if county else {"province": province or one_of(provinces())}
    return {**area, "state": one_of(STATES)}


def sort_key(record: Record) -> SortKey:
    """Return the position of a case in the queue."""
    return record.indexed["deadline"], record.subject


_DEADLINE = datetime(2025, 10, 8, 20, 30, tzinfo=UTC)


def examples() -> dict[str, tuple[Any, ...]]:
    """Return each use of each query: the method of the store, and its arguments. A test runs them on both stores."""
    return {
        "queue": ("find", queue("IR-20", OPEN, limit=50)),
        "queue of all provinces": ("find", queue("", OPEN, limit=50)),
        "queue of a county": ("find", queue("IR-20/2001", OPEN, limit=50)),
        "next page": ("find", queue("IR-20", OPEN, after=(_DEADLINE, "0199a000"), limit=50)),
        "queue up to a deadline": ("find", queue("IR-20", OPEN, until=_DEADLINE, limit=50)),
        "selected in all provinces": ("find", selected("", ["0199a000-0000-7000-8000-000000000003"])),
        "selected": ("find", selected("IR-20", ["0199a000-0000-7000-8000-000000000003"])),
    }
