"""Queries of screening: the queue by deadline, its counts, one case, and the cases that an officer has claimed."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any

import msgspec

from contracts.commands import Refused
from kernel.query import Index, Query, at_most, one_of
from kernel.record import Record
from kernel.store import Store, find_one
from programme.calendar import tehran_day
from programme.numbers import typed_case_number
from programme.reference import provinces
from screening.domain.applicant import CLAIMED, OPEN, STATES, calls_of, claims_of, instant
from screening.domain.calls import DAYS_AHEAD
from screening.domain.case import person_of

SortKey = tuple[Any, ...]

INDEXES = (
    Index("applicant", ("province", "state", "deadline")),
    Index("applicant", ("scope", "state", "deadline")),  # for officers of one county
    Index("applicant", ("number",)),
)


class Counts(msgspec.Struct, frozen=True):
    """The number of cases by state, and of open ones up to each of some deadlines."""

    by_state: dict[str, int]
    due_until: tuple[int, ...]


def queue(
    scope: str, state: str, *, until: datetime | None = None, after: SortKey | None = None, limit: int = 0
) -> Query:
    """Match the cases that are indexed in a state, the earliest deadline first: OPEN are those no one has claimed."""
    where = {**_inside(scope), "state": state, **({"deadline": at_most(until)} if until else {})}
    return Query("applicant", where, order=("deadline",), after=after, limit=limit)


async def read_queue(
    store: Store, scope: str, state: str, *, until: datetime | None = None, after: SortKey | None = None, limit: int
) -> list[Record]:
    """Return the first cases in a state behind a place; claimed ones are open. Raise Transient.

    One query a state: MongoDB answers a page behind a place from one range of an index, and from two by sorting.
    """
    states = (OPEN, CLAIMED) if state == OPEN else (state,)
    found = [await store.find(queue(scope, each, until=until, after=after, limit=limit)) for each in states]
    return sorted(chain.from_iterable(found), key=sort_key)[:limit]


def numbered(scope: str, numbers: Collection[str]) -> Query:
    """Match the cases with these numbers, of ten digits, that are inside a scope."""
    return Query("applicant", {**_inside(scope), "number": one_of(numbers)})


def selected(scope: str, subjects: Collection[str]) -> Query:
    """Match those of these cases that are inside a scope."""
    return Query("applicant", {**_inside(scope), "subject": one_of(subjects)})


async def find_case(store: Store, subject: str, scope: str) -> Record:
    """Return a case; one outside the scope is not found. Raise Refused: not_found."""
    found = await find_one(store, selected(scope, [subject]))
    if not found:
        raise Refused("not_found")
    return found


async def find_numbered(store: Store, typed: str, scope: str) -> list[Record]:
    """Return the cases with a number as typed, nearly always one. Raise Refused: not_found.

    A number that is none, one of no case and one outside the scope are the same.
    """
    number = typed_case_number(typed, scope.partition("/")[0])
    found = await store.find(numbered(scope, [number])) if number else []
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
            due[i] += n if state == OPEN and deadline and deadline <= instant(until) else 0
    return Counts(dict(by_state), tuple(due))


async def claimed_by(store: Store, officer: str, scope: str = "") -> list[Record]:
    """Return the open cases inside a scope that a person has claimed in any role, the earliest deadline first."""
    person = person_of(officer)
    group = (await store.counts([claims_of(person)]))[claims_of(person)]
    found = await store.find(numbered(scope, [number for number, n in group.items() if n > 0]))
    return sorted((each for each in found if each.indexed.get("claimer") == person), key=sort_key)


async def calls_until(store: Store, scope: str, today: date) -> list[Record]:
    """Return the open cases inside a scope in which a call is agreed for today or was for the days before.

    The earliest agreed time comes first.
    """
    areas = [scope] if scope else list(provinces())
    days = [today - timedelta(each) for each in range(DAYS_AHEAD + 1)]
    groups = await store.counts([calls_of(area, day) for area in areas for day in days])
    numbers = {number for group in groups.values() for number, n in group.items() if n > 0}
    found = await store.find(numbered(scope, sorted(numbers)))
    agreed = [each for each in found if "next_call" in each.indexed and tehran_day(each.indexed["next_call"]) <= today]
    return sorted(agreed, key=lambda each: (each.indexed["next_call"], each.subject))


def _inside(scope: str) -> dict[str, Any]:
    """Match what is inside a scope, by fields of an index only."""
    province, _, county = scope.partition("/")
    area = {"scope": scope} if county else {"province": province or one_of(provinces())}
    return {**area, "state": one_of((*STATES, CLAIMED))}


def sort_key(record: Record) -> SortKey:
    """Return the position of a case in the queue."""
    return record.indexed["deadline"], record.subject


_NUMBERS = [f"20{n:08}" for n in range(8)]
_DEADLINE = datetime(2025, 10, 8, 20, 30, tzinfo=UTC)


def examples() -> dict[str, tuple[Any, ...]]:
    """Return each use of each query: the method of the store, and its arguments. A test runs them on both stores."""
    return {
        "queue": ("find", queue("IR-20", OPEN, limit=50)),
        "queue of all provinces": ("find", queue("", OPEN, limit=50)),
        "queue of a county": ("find", queue("IR-20/2001", OPEN, limit=50)),
        "next page": ("find", queue("IR-20", OPEN, after=(_DEADLINE, "0199a000"), limit=50)),
        "queue up to a deadline": ("find", queue("IR-20", OPEN, until=_DEADLINE, limit=50)),
        "claimed": ("find", queue("IR-20", CLAIMED, after=(_DEADLINE, "0199a000"), limit=50)),
        "numbered": ("find", numbered("IR-20", _NUMBERS)),
        "numbered in all provinces": ("find", numbered("", _NUMBERS)),
        "selected in all provinces": ("find", selected("", ["0199a000-0000-7000-8000-000000000003"])),
        "selected": ("find", selected("IR-20", ["0199a000-0000-7000-8000-000000000003"])),
    }
