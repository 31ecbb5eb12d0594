"""Where records are kept, and the first of the two ways they move: somebody asks (`execute`)."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from contracts.commands import Refused
from contracts.envelope import Envelope, read
from contracts.subjects import kind_of
from plumbing.clock import Clock, Moment
from plumbing.record import (
    Answer,
    Private,
    Record,
    Rules,
    Unread,
    emit,
    event_time,
)

Known = Mapping[str, Record]
Changes = Sequence[tuple[Record, Record]]  # each record before and after
Change = Callable[[Known], Changes]  # pure: it may be asked again
Projection = Callable[[Changes, Any], Awaitable[None]]  # what else must move in the same transaction
TopicPartition = tuple[str, int]
Ranges = Mapping[TopicPartition, tuple[int, int]]  # the offsets a batch goes from and to

T = TypeVar("T")

ANSWERS_KEPT = timedelta(days=7)
LATE = timedelta(seconds=5)  # between taking the time and the write


class Fenced(Exception):
    """A cursor does not stand where the batch begins: another worker owns the partition now."""


class Transient(Exception):
    """The database is away or busy: wait and try again."""


class Conflict(Transient):
    """Others keep writing what this transaction writes: try a smaller one."""


class NewerRules(Exception):
    """A record was written by newer rules than these: this version must not touch it."""


class Taken(Exception):
    """Another record holds this value of a unique field already."""

    def __init__(self, field: str, subject: str = "") -> None:
        super().__init__(field)
        self.field, self.subject = field, subject


class KeyReused(Exception):
    """The same idempotency key came with another body."""


class Ask(msgspec.Struct, frozen=True):
    """Who asks, and under which idempotency key (already joined with the principal); `private` is kept beside."""

    actor: str = ""
    key: str = ""
    fingerprint: bytes = b""
    private: Private | None = None
    traceparent: str = ""
    new: bool = False  # about a subject whose id was made just now: it is not looked for first


class Done(msgspec.Struct, frozen=True):
    """The record afterwards and what it emitted; `repeated` where this key had been answered before."""

    record: Record
    events: tuple[Envelope, ...] = ()
    repeated: bool = False


class Waiting(msgspec.Struct, frozen=True):
    """What one record emitted and Kafka does not have yet."""

    subject: str
    partition: int
    relayed: int
    emitted: Sequence[bytes]


class Store(Protocol):
    """Where a service keeps its records: MongoDB, or memory in tests."""

    service: str
    rules: Mapping[str, Rules]  # by kind of subject
    unique: tuple[str, ...]  # fields of `indexed` that no two records share

    async def read(self, subjects: Collection[str]) -> Known:
        """The records; one never stored comes fresh, at version 0. Raises NewerRules."""

    async def swap(self, before: Record, after: Record) -> bool:
        """Stores one record if it is still as it was read. Raises Taken, Transient."""

    async def transact(
        self,
        subjects: Collection[str],
        change: Change,
        ranges: Ranges | None = None,
        projection: Projection | None = None,
    ) -> None:
        """Reads, changes and stores many records, moves cursors and whatever else, all or nothing.

        Raises Fenced, Taken, Transient.
        """

    async def holders(self, field: str, values: Collection[Any]) -> dict[Any, str]:
        """The subjects that hold these values of a unique field; `answered` is the one of idempotency keys."""

    async def cursors(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The next offset to be handled of each partition; one never read stands at 0."""

    async def due(self, partitions: Collection[int], now: datetime, limit: int) -> list[str]:
        """Subjects whose time has come, the longest overdue first."""

    async def waiting(self, partitions: Collection[int], limit: int) -> list[Waiting]:
        """Records with events that Kafka does not have, the longest waiting first."""

    async def mark_relayed(self, relayed: Mapping[str, int]) -> None:
        """Raises how many of its events Kafka has, per subject; never lowers it, and touches nothing else."""

    async def stranded(self, partitions: Collection[int], limit: int) -> list[str]:
        """Subjects that wait for a parked event of which only the place in the log was kept."""

    async def quarantine(self, unread: Sequence[Unread]) -> None:
        """Keeps what nobody can read, once."""


async def execute(store: Store, subject: str, command: Any, clock: Clock, ask: Ask = Ask()) -> Done:  # noqa: B008
    """Decides on what is known and stores it; looks again if another was faster.

    Raises what `decide` raises, Taken for a unique field, KeyReused, RecordFull, Transient.
    """
    rules = store.rules[kind_of(subject)]
    fresh = Record(subject=subject, state=rules.State()) if ask.new else None
    while True:
        before, fresh = fresh or (await store.read([subject]))[subject], None
        if repeated := _answered_here(before, ask):
            return repeated
        try:
            after = timely(clock, partial(_decided, before, rules, store.service, command, ask))
            if after is before:
                return Done(before)
            if await store.swap(before, after):
                return Done(after, tuple(map(read, after.emitted)))
        except (Refused, Taken):
            if repeated := await _answered_elsewhere(store, ask):
                return repeated
            raise


async def execute_many(
    store: Store,
    commands: Mapping[str, Any],
    clock: Clock,
    asks: Mapping[str, Ask] | Ask = Ask(),  # noqa: B008
) -> dict[str, Done | Refused | Taken | KeyReused]:
    """Decides on many subjects in one transaction, each for itself: what one is refused, the others are not.

    Where others keep writing the same records, in several smaller ones. Raises Transient.
    """
    outcomes: dict[str, Done | Refused | Taken | KeyReused] = {}
    left = dict(commands)

    def ask_of(subject: str) -> Ask:
        return asks if isinstance(asks, Ask) else asks.get(subject, Ask())

    def decided(known: Known, moment: Moment) -> Changes:
        changes = []
        for subject, command in left.items():
            before, ask = known[subject], ask_of(subject)
            try:
                if repeated := _answered_here(before, ask):
                    outcomes[subject] = repeated
                    continue
                after = _decided(before, store.rules[kind_of(subject)], store.service, command, ask, moment)
            except (Refused, KeyReused) as refused:
                outcomes[subject] = refused
                continue
            outcomes[subject] = Done(after, tuple(map(read, after.emitted)))
            if after is not before:
                changes.append((before, after))
        return changes

    while left:
        try:
            await store.transact(left.keys(), lambda known: timely(clock, lambda moment: decided(known, moment)))
            break
        except Taken as taken:  # nothing was stored: the others go on without them
            gone = await _taken(store, {s: done.record for s, done in outcomes.items() if isinstance(done, Done)})
            if not gone.keys() & left.keys():
                if taken.subject not in left:
                    raise
                gone = {taken.subject: taken}
            for subject in gone.keys() & left.keys():
                del left[subject]
                outcomes[subject] = gone[subject]
        except Conflict:
            halves = list(left.items())
            for half in (halves[: len(left) // 2], halves[len(left) // 2 :]):
                outcomes |= await execute_many(store, dict(half), clock, asks)
            break
    for subject, outcome in outcomes.items():
        if isinstance(outcome, Refused | Taken):
            try:
                outcomes[subject] = await _answered_elsewhere(store, ask_of(subject)) or outcome
            except KeyReused as reused:
                outcomes[subject] = reused
    return outcomes


def timely(clock: Clock, decide: Callable[[Moment], T]) -> T:
    """What is decided at a moment; a process that was stopped meanwhile takes the time anew before it writes."""
    for _ in range(3):
        moment = clock()
        decided = decide(moment)
        if clock().recorded - moment.recorded <= LATE:
            break
    return decided


def _decided(before: Record, rules: Rules, service: str, command: Any, ask: Ask, moment: Moment) -> Record:
    events = rules.decide(before.state, command, event_time(before, moment))
    if not events:
        return before
    if ask.private is not None:
        before = replace(before, private=ask.private)
    after = emit(before, rules, service, events, moment, actor=ask.actor, traceparent=ask.traceparent)
    answered = after.answered
    if ask.key:
        answered = tuple(a for a in answered if moment.recorded - a.at < ANSWERS_KEPT)
        answered += (Answer(ask.key, ask.fingerprint, moment.recorded, after.last_sequence),)
    return replace(after, version=before.version + 1, answered=answered)


def _answered_here(record: Record, ask: Ask) -> Done | None:
    for answer in record.answered if ask.key else ():
        if answer.key == ask.key:
            if answer.fingerprint != ask.fingerprint:
                raise KeyReused(ask.key)
            return Done(record, (), repeated=True)
    return None


async def _answered_elsewhere(store: Store, ask: Ask) -> Done | None:
    """A repeated request for a new subject meets what the first one took: its answer lies in that record."""
    elsewhere = (await store.holders("answered", [ask.key])).get(ask.key) if ask.key else None
    return _answered_here((await store.read([elsewhere]))[elsewhere], ask) if elsewhere else None


async def _taken(store: Store, records: Mapping[str, Record]) -> dict[str, Taken]:
    """Which of these cannot be stored, since others hold values of theirs."""
    taken: dict[str, Taken] = {}
    wanted: dict[str, dict[Any, str]] = {"answered": {a.key: s for s, r in records.items() for a in r.answered}}
    for field in store.unique:
        wanted[field] = {value: s for s, r in records.items() for value in unique_values(r, field)}
    for field, values in wanted.items():
        for value, holder in (await store.holders(field, values.keys())).items() if values else ():
            if holder != values[value]:
                taken[values[value]] = Taken(field, values[value])
    return taken


def unique_values(record: Record, field: str) -> tuple[Any, ...]:
    """The values of a unique field that a record claims; while keys are rotated it claims several."""
    value = record.indexed.get(field)
    return tuple(value) if isinstance(value, list | tuple) else () if value is None else (value,)
