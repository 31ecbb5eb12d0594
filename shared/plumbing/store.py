"""The two ways records move: somebody asks (`execute`), events arrive (`process`)."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from contracts.commands import Refused
from contracts.envelope import Envelope, read
from contracts.subjects import kind_of
from plumbing.clock import Clock, Moment
from plumbing.record import Answer, Message, Private, Record, Rules, emit, park, receive

Known = Mapping[str, Record]
Changes = Sequence[tuple[Record, Record]]  # each record before and after
Change = Callable[[Known], Changes]  # pure: it may be asked again
Projection = Callable[[Changes, Any], Awaitable[None]]  # what else must move in the same transaction
TopicPartition = tuple[str, int]
Ranges = Mapping[TopicPartition, tuple[int, int]]  # the offsets a batch goes from and to

ANSWERS_KEPT = timedelta(days=7)
FAULTS_IN_A_ROW = 20  # after which a service pauses


class Fenced(Exception):
    """A cursor does not stand where the batch begins: another worker owns the partition now."""


class Transient(Exception):
    """The database is away or busy: wait and try again."""


class Conflict(Transient):
    """Others keep writing what this transaction writes: try a smaller one."""


class TooManyFaults(Exception):
    """Event after event meets a fault: these rules are broken, and nobody else shall be parked for it."""


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


class Done(msgspec.Struct, frozen=True):
    """The record afterwards and what it emitted; `repeated` where this key had been answered before."""

    record: Record
    events: tuple[Envelope, ...] = ()
    repeated: bool = False


class Fault(msgspec.Struct, frozen=True):
    """A well-formed event that met a fault, and is parked with what follows it."""

    message: Message
    why: str


class Processed(msgspec.Struct, frozen=True):
    """What became of a batch."""

    changes: Changes = ()
    faults: tuple[Fault, ...] = ()
    faults_in_a_row: int = 0  # at its end, on well-formed events


class Waiting(msgspec.Struct, frozen=True):
    """What one record emitted and Kafka does not have yet."""

    subject: str
    partition: int
    relayed: int
    emitted: Sequence[bytes]


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in some partitions; ages in seconds of machine time, but `due_age` of programme time."""

    unsent: int = 0  # events
    unsent_age: float = 0.0
    early: int = 0  # subjects
    early_age: float = 0.0
    faulty: int = 0
    faulty_age: float = 0.0
    stranded: int = 0
    due_age: float = 0.0
    emitted_longest: int = 0  # 0 where no subject has passed the alarm


class Store(Protocol):
    """Where a service keeps its records: MongoDB, or memory in tests."""

    service: str
    rules: Mapping[str, Rules]  # by kind of subject

    async def read(self, subjects: Collection[str]) -> Known:
        """The records; one never stored comes fresh, at version 0. Raises NewerRules."""

    async def swap(self, after: Record) -> bool:
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

    async def answered(self, key: str) -> str | None:
        """The subject whose record has answered this idempotency key."""

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

    async def quarantine(self, topic: str, partition: int, offset: int, raw: bytes | None, why: str) -> None:
        """Keeps what nobody can read, once."""


async def execute(store: Store, subject: str, command: Any, clock: Clock, ask: Ask = Ask()) -> Done:  # noqa: B008
    """Decides on what is known and stores it; looks again if another was faster.

    Raises what `decide` raises, Taken for a unique field, KeyReused, RecordFull, Transient.
    """
    rules = store.rules[kind_of(subject)]
    while True:
        before = (await store.read([subject]))[subject]
        if repeated := _answered_here(before, ask):
            return repeated
        try:
            after = _decided(before, rules, store.service, command, clock(), ask)
            if after is before:
                return Done(before)
            if await store.swap(after):
                return Done(after, tuple(map(read, after.emitted)))
        except (Refused, Taken):
            elsewhere = await store.answered(ask.key) if ask.key else None
            if elsewhere is None:
                raise
            if repeated := _answered_here((await store.read([elsewhere]))[elsewhere], ask):
                return repeated
            raise


async def execute_many(
    store: Store,
    commands: Mapping[str, Any],
    clock: Clock,
    asks: Mapping[str, Ask] | Ask = Ask(),  # noqa: B008
) -> dict[str, Done | Refused | Taken]:
    """Decides on many subjects in one transaction, each for itself: what one is refused, the others are not."""
    outcomes: dict[str, Done | Refused | Taken] = {}
    left = dict(commands)

    def change(known: Known) -> Changes:
        moment, changes = clock(), []
        for subject, command in left.items():
            before, ask = known[subject], asks if isinstance(asks, Ask) else asks.get(subject, Ask())
            try:
                repeated = _answered_here(before, ask)
                after = (
                    before
                    if repeated
                    else _decided(before, store.rules[kind_of(subject)], store.service, command, moment, ask)
                )
            except Refused as refused:
                outcomes[subject] = refused
                continue
            outcomes[subject] = repeated or Done(after, tuple(map(read, after.emitted)))
            if after is not before:
                changes.append((before, after))
        return changes

    while left:
        try:
            await store.transact(left.keys(), change)
            break
        except Taken as taken:
            if taken.subject not in left:
                raise
            del left[taken.subject]
            outcomes[taken.subject] = taken
    return outcomes


async def process(
    store: Store,
    messages: Sequence[Message],
    ranges: Ranges,
    clock: Clock,
    projection: Projection | None = None,
    *,
    faults_in_a_row: int = 0,
) -> Processed:
    """One batch is one transaction: its records, the cursors of every partition in it, and the projection.

    A batch that fails for another reason than Fenced or Transient is halved down to the subject, which is parked.
    Raises Fenced, Transient, NewerRules, TooManyFaults; then nothing of the batch has moved.
    """
    messages = [m for m in messages if kind_of(m.envelope.subject) in store.rules]  # other kinds are read past
    try:
        return await _together(store, messages, ranges, clock, projection, faults_in_a_row)
    except (Fenced, Transient, NewerRules, TooManyFaults):
        raise
    except Exception as fault:
        subjects = sorted({m.envelope.subject for m in messages})
        if not subjects:
            raise
        if len(subjects) == 1:
            return await _together(store, messages, ranges, clock, projection, faults_in_a_row, because=repr(fault))
        first = set(subjects[: len(subjects) // 2])
        halves = (
            [m for m in messages if m.envelope.subject in first],
            [m for m in messages if m.envelope.subject not in first],
        )
        one = await process(
            store, halves[0], {}, clock, projection, faults_in_a_row=faults_in_a_row
        )  # the cursors move with the second half
        other = await process(store, halves[1], ranges, clock, projection, faults_in_a_row=one.faults_in_a_row)
        return Processed((*one.changes, *other.changes), one.faults + other.faults, other.faults_in_a_row)


async def _together(
    store: Store,
    messages: Sequence[Message],
    ranges: Ranges,
    clock: Clock,
    projection: Projection | None,
    faults_in_a_row: int,
    because: str = "",
) -> Processed:
    done = Processed()

    def change(known: Known) -> Changes:
        nonlocal done
        after, moment, row = dict(known), clock(), faults_in_a_row
        faults: list[Fault] = []
        for m in messages:
            subject, source = m.envelope.subject, m.envelope.source
            before = after[subject]
            if because:
                moved = (
                    before if m.envelope.sequence <= before.inbox.get(source, 0) else park(before, m, because, moment)
                )
            else:
                moved = receive(before, store.rules[kind_of(subject)], store.service, m, moment)
            if moved is not before:
                after[subject] = moved
                if source in moved.parked and (why := moved.parked[source].fault) and not _fault(before, source):
                    faults.append(Fault(m, why))
                    row += 1
                    if row >= FAULTS_IN_A_ROW:
                        raise TooManyFaults(why)
                elif m.envelope.sequence == moved.inbox.get(source):
                    row = 0
        changes = [
            (known[s], replace(record, version=record.version + 1))
            for s, record in after.items()
            if record is not known[s]
        ]
        done = Processed(changes, tuple(faults), row)
        return changes

    await store.transact({m.envelope.subject for m in messages}, change, ranges, projection)
    return done


def _fault(record: Record, source: str) -> str:
    return record.parked[source].fault if source in record.parked else ""


def _decided(before: Record, rules: Rules, service: str, command: Any, moment: Moment, ask: Ask) -> Record:
    events = rules.decide(before.state, command, max(moment.at, before.last_time))
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
