"""The store port: where a service keeps its records, its cursors and its parked events."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from contracts.subjects import kind_of
from kernel.counters import Counts
from kernel.errors import NewerRules, ProjectionFailed, UnreadableRecord
from kernel.query import Query, at_most, one_of
from kernel.record import Parked, Reason, Record, Undecodable
from kernel.rules import Rules

Change = tuple[Record, Record]  # before and after
Projection = Callable[[Sequence[Change], Any], Awaitable[None]]  # what else moves in the transaction
Source = tuple[str, str]  # subject, source
EventId = tuple[str, str, int]  # subject, source, sequence
TopicPartition = tuple[str, int]
KEPT_RECORDS = 1_000  # undecodable ones of a partition without an explanation: the log has all of them
OffsetRanges = Mapping[TopicPartition, tuple[int, int]]  # start and end offset of a batch, by partition


class Unreadable(msgspec.Struct, frozen=True):
    """A record that this version cannot read, as far as it can be read."""

    inbox: Mapping[str, int]
    reason: Reason  # newer_rules, unreadable_record; unknown_type: of a kind without rules
    why: str
    indexed: Mapping[str, Any] = {}

    @property
    def error(self) -> Exception:
        """What a command about the subject raises."""
        return UnreadableRecord(self.why) if self.reason == "unreadable_record" else NewerRules(self.why)


class Snapshot(msgspec.Struct, frozen=True):
    """What a transaction has read: each subject is in `records` or in `unreadable`.

    `parked` holds the first parked events of each source, as many as requested.
    """

    records: Mapping[str, Record]
    unreadable: Mapping[str, Unreadable] = {}
    parked: Mapping[Source, Sequence[Parked]] = {}

    @property
    def heads(self) -> dict[Source, Parked]:
        """Return the first parked event of each source."""
        return {source: events[0] for source, events in self.parked.items()}

    def record(self, subject: str) -> Record:
        """Return a record. Raise NewerRules, UnreadableRecord."""
        if subject in self.unreadable:
            raise self.unreadable[subject].error
        return self.records[subject]

    def inbox(self, subject: str) -> Mapping[str, int]:
        """Return the inbox of a record, readable or not."""
        return (self.unreadable.get(subject) or self.records[subject]).inbox


def empty_snapshot(rules: Mapping[str, Rules], subjects: Collection[str]) -> Snapshot:
    """Return an empty record of each subject; of a kind that this version does not know an unreadable one."""
    known = {s: rules[kind_of(s)] for s in subjects if kind_of(s) in rules}
    unknown = {s: Unreadable({}, "unknown_type", f"{s}: a kind without rules") for s in subjects if s not in known}
    return Snapshot({s: Record(subject=s, state=each.State()) for s, each in known.items()}, unknown)


class Effects(msgspec.Struct, frozen=True):
    """What a transaction writes."""

    changes: Sequence[Change] = ()
    parked: Sequence[Parked] = ()  # to be kept, once each
    unparked: Mapping[Source, int] = {}  # handled up to and including this sequence
    heads: Mapping[Source, Parked] = {}  # the first parked events afterwards; the store counts what is behind them
    undecodable: Sequence[Undecodable] = ()  # forgeries to be kept, besides those that `parked` reveals


def settle_ids(
    parked: Sequence[Parked], known: Mapping[EventId, Parked]
) -> tuple[dict[EventId, Parked], list[Undecodable]]:
    """Return which of these events to store, by id, and the forgeries, given those that are parked already.

    The first valid event with an id stays. An invalid one gives way to it, and is not stored beside another one.
    """
    chosen, forgeries = dict[EventId, Parked](), list[Parked]()
    for each in parked:
        id_ = each.subject, each.source, each.sequence
        old = chosen.get(id_) or known.get(id_)
        if old is None:
            chosen[id_] = each
        elif old.reason == "invalid" != each.reason:
            chosen[id_] = each
            forgeries.append(old)
        elif each.reason == "invalid" and each.raw != old.raw:
            forgeries.append(each)
    return chosen, forged(forgeries)


def forged(parked: Sequence[Parked]) -> list[Undecodable]:
    """Return invalid events whose places in their sources valid ones have, as what they are: bytes in the log."""

    def why(p: Parked) -> str:
        return f"not event {p.source}/{p.subject}/{p.sequence}, which exists: {p.fault.message} at {p.fault.where}"

    return [Undecodable.of(each.position, each.raw, why(each), "forged") for each in parked if each.position]


async def read_snapshot(store: "Store", subjects: Collection[str], parked: int = 0) -> Snapshot:
    """Return these records, and what can be read of unreadable ones: no subject fails the others. Raise Transient.

    With up to `parked` parked events of each source.
    """
    found = list[Snapshot]()

    def keep(snapshot: Snapshot) -> Effects:
        found.append(snapshot)
        return Effects()

    await store.transact(subjects, keep, parked=parked)
    return found[-1]


async def find_one(store: "Store", query: Query) -> Record | None:
    """Return the record that matches, if there is one. Raise NewerRules, UnreadableRecord, Transient."""
    found = await store.find_subjects(query)
    return (await store.read(found[:1]))[found[0]] if found else None


class Pending(msgspec.Struct, frozen=True):
    """Events of one record that Kafka does not have yet."""

    subject: str
    partition: int
    published: int
    events: Sequence[bytes]


class ParkedEvents(Protocol):
    """The collection of parked events. Written by `Store.transact`; each method raises Transient."""

    async def ready(self, partitions: Collection[int], limit: int) -> list[Source]:
        """Return whose heads can be handled now."""

    async def events(self, source: Source, limit: int) -> list[Parked]:
        """Return the parked events of one subject and source, in order."""

    async def heads(self, reasons: Collection[Reason], subject: str = "") -> list[Parked]:
        """Return the heads with one of these reasons, of one subject if given, the oldest first; without bytes."""

    async def release(
        self,
        reasons: Collection[Reason],
        *,
        partitions: Collection[int] | None = None,
        types: Collection[str] | None = None,
        sources: Collection[Source] | None = None,
    ) -> int:
        """Make heads ready: of these reasons, and of these partitions, types or sources if given."""


class Store(Protocol):
    """A service's records, in MongoDB or in memory. Each method raises Transient."""

    service: str
    rules: Mapping[str, Rules]  # by kind of subject
    unique: tuple[str, ...]  # fields of `indexed` whose values no two records share

    @property
    def parked(self) -> ParkedEvents:
        """Return the parked events."""

    async def read(self, subjects: Collection[str]) -> Mapping[str, Record]:
        """Return records; a new subject has an empty one. Raise NewerRules, UnreadableRecord."""

    async def swap(self, before: Record, after: Record) -> Record | None:
        """Store one record and return it, or None if it has changed since it was read. Raise UniqueViolation."""

    async def transact(
        self,
        subjects: Collection[str],
        change: Callable[[Snapshot], Effects],
        ranges: OffsetRanges | None = None,
        projection: Projection | None = None,
        *,
        parked: int = 0,
    ) -> Effects:
        """Read, change and store many records and move cursors, all or nothing; `change` may be called repeatedly.

        It gets up to `parked` parked events of each source; the first one only without its bytes.

        Raise Fenced, UniqueViolation.
        """

    async def find(self, query: Query) -> list[Record]:
        """Return the records that match; unreadable ones are left out, counted and logged."""

    async def find_subjects(self, query: Query) -> list[str]:
        """Return the subjects of the records that match; cheaper than `find`."""

    async def count(self, query: Query) -> int:
        """Return how many records match; order and limit do not count."""

    async def count_by(self, field: str, query: Query) -> dict[Any, int]:
        """Return how many records match, by the value of a field."""

    async def distinct(self, field: str, query: Query) -> set[Any]:
        """Return the values of a field in the records that match; far cheaper than `count_by` with an index on it."""

    async def counts(self, groups: Collection[str]) -> Counts:
        """Return the counters of these groups, see `kernel.counters`."""

    async def find_by_unique(self, field: str, values: Collection[Any]) -> dict[Any, str]:
        """Return the subjects with these values of a unique field, or with these idempotency keys."""

    async def history(self, subject: str) -> list[bytes]:
        """Return all events that the service has emitted about a subject."""

    async def cursors(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the next offset of each partition; a new one starts at 0."""

    async def pending(self, partitions: Collection[int], limit: int) -> list[Pending]:
        """Return records with events that Kafka does not have, the longest pending first."""

    async def mark_published(self, published: Mapping[str, int]) -> None:
        """Raise how many events Kafka has, by subject."""

    async def add_undecodable(self, found: Sequence[Undecodable]) -> int:
        """Keep bytes that hold no envelope, once each, up to a number for each partition; return how many were kept."""


async def project(
    projection: Projection | None, effects: Effects, session: Any, passing: tuple[type[Exception], ...]
) -> None:
    """Let the projection follow the changes of a transaction. Raise ProjectionFailed, and `passing` as they come."""
    if projection is None or not effects.changes:
        return
    try:
        await projection(effects.changes, session)
    except passing:
        raise
    except Exception as e:
        raise ProjectionFailed(repr(e)) from e


def due_query(partitions: Collection[int], now: datetime, limit: int) -> Query:
    """Return the query for subjects that are due, the longest overdue first."""
    return Query(where={"partition": one_of(partitions), "due": at_most(now)}, order=("due",), limit=limit)


def stored(before: Record, after: Record) -> Record:
    """Return the record as a store keeps it: one version higher, nothing left to store."""
    return replace(after, version=before.version + 1, new_events=())


def unique_values(record: Record, field: str) -> tuple[Any, ...]:
    """Return the values of a unique field; during a key rotation a record has several."""
    value = record.indexed.get(field)
    return tuple(value) if isinstance(value, list | tuple) else () if value is None else (value,)
