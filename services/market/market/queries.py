"""Queries of market: producers by area and state, lead enterprises by province."""

from collections.abc import Collection, Mapping
from typing import Any

from contracts.subjects import lead_subject
from kernel.query import EXISTS, Index, Query, one_of, within
from kernel.record import Record
from kernel.store import Store, find_one
from market.domain.producer import OFFERED, READY
from programme.reference import provinces

INDEXES = (
    Index("applicant", ("province", "state")),
    Index("applicant", ("scope", "state")),  # for officers of one county
    Index("applicant", ("leads", "province", "state")),
    Index("lead", ("province",)),
)


def producers(scope: str, state: str, *, lead: str = "", after: str = "", limit: int = 0) -> Query:
    """Match the producers in a state, by id. `lead`: those with an offer of this lead enterprise."""
    province, _, county = scope.partition("/")
    where: dict[str, Any] = {"scope": scope} if county else {"province": _province(province)}
    where |= {"state": state, **({"leads": lead} if lead else {})}
    return Query("applicant", where, after=(after,) if after else None, limit=limit)


def producer(scope: str, subject: str) -> Query:
    """Match one applicant who is a producer inside a scope."""
    return Query("applicant", {"subject": one_of([subject]), "scope": within(scope), "state": EXISTS})


def selected(scope: str, subjects: Collection[str]) -> Query:
    """Match those of these applicants that are inside a scope, whether they are producers yet or not."""
    return Query("applicant", {"subject": one_of(subjects), "scope": within(scope)})


def leads(province: str, *, after: str = "", limit: int = 0) -> Query:
    """Match the lead enterprises of a province, of all provinces for "", in the order in which they joined."""
    return Query("lead", {"province": _province(province)}, after=(after,) if after else None, limit=limit)


def lead(id: str) -> Query:
    """Match one lead enterprise."""
    return Query("lead", {"subject": one_of([lead_subject(id)])})


async def find_producer(store: Store, subject: str, scope: str) -> Record | None:
    """Return a producer; None if there is none with this id inside the scope."""
    return await find_one(store, producer(scope, subject))


async def find_lead(store: Store, id: str) -> Record | None:
    """Return a lead enterprise; None if there is none with this id."""
    return await find_one(store, lead(id))


async def count_leads(store: Store) -> Mapping[str, int]:
    """Return the number of lead enterprises by province."""
    return await store.count_by("province", leads(""))


def _province(code: str) -> Any:
    """Match a province, or each of them for "": the indexes begin with the province."""
    return code or one_of(provinces())


_LEAD, _PRODUCER = "0199a000-0000-7000-8000-000000000090", "0199a000-0000-7000-8000-000000000300"


def examples() -> dict[str, tuple[Any, ...]]:
    """Return each use of each query: the method of the store, and its arguments. A test runs them on both stores."""
    return {
        "producers": ("find", producers("IR-20", READY, limit=50)),
        "producers of all provinces": ("find", producers("", READY, limit=50)),
        "producers of a county": ("find", producers("IR-20/2001", READY, limit=50)),
        "next page": ("find", producers("IR-20", READY, after=_PRODUCER, limit=50)),
        "producers of a lead enterprise": ("find", producers("IR-20", OFFERED, lead=_LEAD, limit=50)),
        "producer": ("find", producer("IR-20", _PRODUCER)),
        "selected": ("find", selected("IR-20", [_PRODUCER])),
        "leads": ("find", leads("IR-20", limit=50)),
        "leads of all provinces": ("find", leads("", after=f"lead:{_LEAD}", limit=50)),
        "leads by province": ("count_by", "province", leads("")),
        "lead": ("find", lead(_LEAD)),
    }
