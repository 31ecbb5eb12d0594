"""Queries across many records of registration, and the indexes that answer them."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from contracts.subjects import ledger_subject, proposal_subject, round_subject
from kernel.query import EXISTS, Index, Query, at_most, more_than, one_of, starts_with
from kernel.record import Record
from kernel.store import Store
from registration.domain.applicant import STATUSES, published_place

SEATED = ("admitted", "capacity_identified")  # statuses of applicants who hold a seat for their present application
UNIDENTIFIED_SHOWN = 1_000  # in the metric
PUBLISHED_ORDER = ("priority", "registered_at")  # of applicants who compete for seats; then by applicant id


UNIQUE = ("person", "tracking")  # one application per person and round nationwide; one applicant per tracking code
INDEXES = (
    Index("ledger", ("available",)),
    Index("applicant", ("seating", "ledger", *PUBLISHED_ORDER), present="seating"),
    Index("applicant", ("partition", "check_due"), present="check_due"),
    Index("applicant", ("partition", "erasing"), present="erasing"),
    Index("applicant", ("partition", "notify_due"), present="notify_due"),
    Index("applicant", ("partition", "index_version"), present="index_version"),
    Index("applicant", ("unidentified",)),
    Index("applicant", ("round", "status")),
    Index("applicant", ("round", "province", "status")),
    Index("applicant", ("round", "scope", "status")),
)


def rounds() -> Query:
    """Match every round."""
    return Query("round", {"subject": starts_with(round_subject(""))})


def ledgers(round_id: str) -> Query:
    """Match the seat ledgers of a round; ordered by subject they are in the order of the provinces."""
    return Query("ledger", {"subject": starts_with(ledger_subject(round_id, ""))})


def every_ledger() -> Query:
    """Match the seat ledgers of all rounds, by round and province."""
    return Query("ledger", {"subject": starts_with("ledger:")})


def proposals(round_id: str) -> Query:
    """Match the proposals of a round, in the order in which they were made."""
    return Query("proposal", {"subject": starts_with(proposal_subject(round_id, ""))})


def applications(round_id: str, scope: str, status: str = "", after: str = "", limit: int = 0) -> Query:
    """Match the applicants of a round inside a scope, by id; an empty status matches all.

    Every condition is an equality or a short list, so that an index returns the page in its order.
    """
    province, _, county = scope.partition("/")
    where: dict[str, Any] = {"round": round_id, "status": status or one_of(STATUSES)}
    if county:
        where["scope"] = scope
    elif province:
        where["province"] = province
    return Query("applicant", where, after=(after,) if after else None, limit=limit)


def selected(round_id: str, scope: str, subject: str) -> Query:
    """Match one applicant if they belong to a round and to a scope; "" as the subject matches no one."""
    province, _, county = scope.partition("/")
    place = {"scope": scope} if county else {"province": province} if province else {}
    return Query("applicant", {"subject": one_of([subject]), "round": round_id, **place})


def unidentified(round_id: str, scope: str, limit: int = 0) -> Query:
    """Match the applicants of a round inside a scope whose identity was lost with a store, by county."""
    return Query(
        "applicant", {"unidentified": starts_with(f"{round_id}/{scope}")}, order=("unidentified",), limit=limit
    )


def every_unidentified() -> Query:
    """Match applicants of all rounds whose identity was lost with a store: so many that an alert is sure."""
    return Query("applicant", {"unidentified": starts_with("")}, order=("unidentified",), limit=UNIDENTIFIED_SHOWN)


def unsettled() -> Query:
    """Match the applicants who await a decision about a seat or whose seat is to be released."""
    return Query("applicant", {"seating": one_of(["awaiting", "releasing"])})


def seated(round_id: str) -> Query:
    """Match the applicants who hold a seat for their present application."""
    return Query("applicant", {"round": round_id, "status": one_of(SEATED)})


def releasing(round_id: str) -> Query:
    """Match the applicants of a round whose seat is to be released."""
    return Query("applicant", {"seating": "releasing", "ledger": starts_with(ledger_subject(round_id, ""))})


def with_free_seats() -> Query:
    """Match the ledgers with free seats."""
    return Query("ledger", {"available": more_than(0)}, order=("available",))


def waiting_for(ledgers: Collection[str]) -> Query:
    """Match the applicants on the waiting lists of these ledgers."""
    return Query("applicant", {"seating": "waiting", "ledger": one_of(ledgers)})


def line(ledger: str, seating: str, limit: int, after: tuple[Any, ...] | None = None) -> Query:
    """Match the first applicants `awaiting`, `waiting` or `releasing` of a ledger, in the published order."""
    return Query("applicant", {"seating": seating, "ledger": ledger}, order=PUBLISHED_ORDER, limit=limit, after=after)


def ahead_of(ledger: str, sort_key: tuple[Any, ...]) -> Query:
    """Match the applicants before a sort key on the waiting list of a ledger, from the same ten minutes."""
    where = {"seating": "waiting", "ledger": ledger}
    priority, at, _ = sort_key
    since = at.replace(minute=at.minute // 10 * 10, second=0, microsecond=0)
    return Query("applicant", where, order=PUBLISHED_ORDER, after=(priority, since, ""), before=sort_key)


def unchecked(partitions: Collection[int], now: datetime, limit: int) -> Query:
    """Match the applicants of these partitions whose identity check is due, the longest overdue first."""
    where = {"partition": one_of(partitions), "check_due": at_most(now)}
    return Query("applicant", where, order=("check_due",), limit=limit)


def to_notify(partitions: Collection[int], now: datetime, limit: int) -> Query:
    """Match the applicants of these partitions with a message that is due, the longest overdue first."""
    where = {"partition": one_of(partitions), "notify_due": at_most(now)}
    return Query("applicant", where, order=("notify_due",), limit=limit)


def erasing(partitions: Collection[int], limit: int) -> Query:
    """Match the erased applicants of these partitions whose key is to be destroyed, the first erased first."""
    where = {"partition": one_of(partitions), "erasing": EXISTS}
    return Query("applicant", where, order=("erasing",), limit=limit)


def every_indexed(partition: int, limit: int, after: tuple[Any, ...] | None = None) -> Query:
    """Match every applicant of a partition whose person has a blind index."""
    return Query("applicant", {"partition": partition}, order=("index_version",), limit=limit, after=after)


def indexed_before(partitions: Collection[int], version: int, limit: int = 0) -> Query:
    """Match the applicants of these partitions whose blind indexes lack that of this version of the key."""
    where = {"partition": one_of(partitions), "index_version": at_most(version - 1)}
    return Query("applicant", where, order=("index_version",), limit=limit)


async def waiting_by_province(store: Store, round_id: str) -> Mapping[str, int]:
    """Return the lengths of the waiting lists of a round. Raise Transient."""
    group = f"waiting/{round_id}"
    return (await store.counts([group]))[group]


async def unsettled_ledgers(store: Store) -> set[str]:
    """Return the ledgers with applicants who await a decision or whose seat is to be released."""
    return await store.distinct("ledger", unsettled())


async def promotable_ledgers(store: Store) -> set[str]:
    """Return the ledgers with a free seat and a waiting list."""
    free = await store.find_subjects(with_free_seats())
    return await store.distinct("ledger", waiting_for(free)) if free else set()


async def count_ahead(store: Store, record: Record) -> int:
    """Count the applicants before this one on its waiting list. Raise Transient.

    Those of earlier days and ten minutes are counted already; those of the same ten minutes are counted now.
    """
    ledger, day, minutes = published_place(record.indexed)
    days, same_day = f"waiting/{ledger}", f"waiting/{ledger}/{day}"
    counts = await store.counts([days, same_day])
    before = sum(n for name, n in counts[days].items() if name < day)
    before += sum(n for name, n in counts[same_day].items() if name < minutes)
    sort_key = Query(order=PUBLISHED_ORDER).sort_key(record.indexed, record.subject)
    return before + await store.count(ahead_of(ledger, sort_key))


_NOON = datetime(2025, 10, 8, 8, 30, tzinfo=UTC)
_LATE = datetime(2025, 10, 5, 14, 9, 59, tzinfo=UTC)  # the end of ten minutes
_SEMNAN = "ledger:1404/IR-20"
_APPLICANT = "0199a000-0000-7000-8000-000000000086"


def examples() -> dict[str, tuple[Any, ...]]:
    """Return each use of each query: the method of the store, and its arguments. A test runs them on both stores."""
    return {
        "rounds": ("find", rounds()),
        "ledgers": ("find", ledgers("1404")),
        "every ledger": ("find", every_ledger()),
        "proposals": ("find", proposals("1404")),
        "applications": ("find", applications("1404", "IR-20", limit=50)),
        "applications with a status": ("find", applications("1404", "IR-20", "admitted", limit=50)),
        "applications of a county": ("find", applications("1404", "IR-20/2001", limit=50)),
        "applications nationwide with a status": ("find", applications("1404", "", "withdrawn", limit=50)),
        "applications nationwide, next page": ("find", applications("1404", "", after="0199a000", limit=50)),
        "selected": ("find", selected("1404", "IR-20", _APPLICANT)),
        "unidentified": ("find", unidentified("1404", "IR-20", limit=200)),
        "every unidentified": ("find", every_unidentified()),
        "unsettled": ("distinct", "ledger", unsettled()),
        "seated": ("count_by", "province", seated("1404")),
        "releasing": ("count_by", "ledger", releasing("1404")),
        "with free seats": ("find", with_free_seats()),
        "waiting for": ("distinct", "ledger", waiting_for([_SEMNAN])),
        "line": ("find", line(_SEMNAN, "waiting", 200)),
        "line, next page": ("find", line(_SEMNAN, "waiting", 51, (0, _NOON, "0199a000"))),
        "ahead of": ("count", ahead_of(_SEMNAN, (0, _LATE, "0199a000"))),
        "to notify": ("find", to_notify(range(16), _NOON, 100)),
        "erasing": ("find", erasing(range(16), 500)),
        "erased": ("find", applications("1404", "", "erased", after="", limit=500)),
        "indexed before": ("find", indexed_before(range(16), 2, 200)),
        "every indexed": ("find", every_indexed(3, 200)),
        "every indexed, next page": ("find", every_indexed(3, 200, (1, "0199a000"))),
        "versions of indexes": ("distinct", "index_version", indexed_before(range(32), 256)),
        "indexed before, counted": ("count", indexed_before(range(16), 2)),
        "unchecked": ("find", unchecked(range(16), _NOON, 500)),
    }
