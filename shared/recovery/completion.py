"""Completion of a restored store from the log, before anything else happens.

A restored store is older than the log. Others have consumed what it emitted since: new events under the same sequences
would be dropped as repeats, silently. So the service first reads its own topic and takes its events back; and what
those reacted to counts as handled, otherwise the service would react twice.

The restore leaves a mark (`restore`); the first worker completes the store and removes it. Until then no API serves and
no worker consumes, publishes or runs the scheduler.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import msgspec
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from msgspec.structs import astuple, replace

from base.clock import Clock
from contracts.envelope import DecodeError, InvalidEvent, decode
from contracts.subjects import PARTITIONS, kind_of
from kernel.errors import NewerRules, Transient, UnreadableRecord
from kernel.kafka.log_reader import LogReader
from kernel.record import Parked, Record
from kernel.roles.worker import Worker
from kernel.service import RestoredRecord
from kernel.store import Effects, Snapshot, Source, read_snapshot
from kernel.stores.mongodb import MongoStore
from recovery.missing_events import SKIPPED_LIMIT, Inconsistent, take_back
from recovery.restore_mark import RestoreMark, clear_mark, read_mark

SUBJECTS = 500  # in one transaction
PAUSE = 5.0  # seconds until a failed attempt is repeated

AfterRestore = Callable[[], Awaitable[None]]  # what the service itself does before its restored store is served
RawEvents = dict[str, dict[int, bytes]]  # of some subjects or sources, by sequence

log = structlog.get_logger(__name__)


class Completed(msgspec.Struct, frozen=True):
    """What the log gave back."""

    events: int = 0
    records: int = 0
    new: int = 0  # records that the backup does not have; what is in no event is lost
    missing: tuple[str, ...] = ()  # handled events that the log no longer has
    damaged: tuple[str, ...] = ()  # subjects of records that no version can read: they stay as they are, unused


async def complete_before_start(
    worker: Worker, stop: asyncio.Event, restored: RestoredRecord | None = None, then: AfterRestore | None = None
) -> None:
    """A gate of the worker: return when its store is complete, or `stop` is set; meanwhile the worker is not ready."""
    while not stop.is_set():
        try:
            if await read_mark(worker.store):
                worker.incomplete = "the store was restored from a backup and is being completed from the log"
            await complete(worker.store, worker.topics, worker.reader, worker.clock, then, restored)
            worker.incomplete = ""
            return
        except (Inconsistent, NewerRules, UnreadableRecord, Transient, KafkaError, OSError, TimeoutError) as e:
            worker.incomplete = f"the store was restored from a backup and cannot be completed: {e}"
            log.error("completion failed", service=worker.service, error=e)
        try:
            await asyncio.wait_for(stop.wait(), PAUSE)
        except TimeoutError:
            continue


async def complete(
    store: MongoStore,
    topics: Collection[str],
    reader: LogReader,
    clock: Clock,
    then: AfterRestore | None = None,
    restored: RestoredRecord | None = None,
) -> Completed | None:
    """Complete a restored store, run what follows, and remove the mark; None if there is no mark. Repeatable.

    Raise Inconsistent, NewerRules, UnreadableRecord, Transient, KafkaError.
    """
    mark = await read_mark(store)
    if mark is None:
        return None
    if not mark.whole:
        raise Inconsistent("the restore was interrupted: restore again")
    completion = _Completion(store, mark, topics, reader, clock, restored)
    done = Completed()
    for partition in range(PARTITIONS) if mark.topic else ():
        done = _sum(done, await completion.complete_partition(partition))
    if then is not None:
        await then()
    try:
        await store.counters.check(correct=True)
    except Transient as e:  # more records than one snapshot can be read; the archive has counters and records in step
        log.warning("counters not checked", service=store.service, error=e)
    await clear_mark(store)
    log.warning(
        "store completed from the log",
        events=done.events,
        records=done.records,
        new=done.new,
        missing=len(done.missing),
        first_missing=done.missing[:10],
    )
    return done


class _Completion(msgspec.Struct):
    store: MongoStore
    mark: RestoreMark
    topics: Collection[str]
    reader: LogReader
    clock: Clock
    restored: RestoredRecord | None

    async def complete_partition(self, partition: int) -> Completed:
        """Take back one partition of the own topic.

        It has all events about a subject, as the partition of that number in the other topics does.
        """
        tp = TopicPartition(self.mark.topic, partition)
        begin, end = (await self.reader.bounds([tp]))[tp]
        since = self.mark.begins.get(str(partition), 0)
        starts = [since, begin] if begin < since <= end else [begin]
        while True:
            own = await self.read(tp, starts.pop(0), end, lambda source, _: source == self.store.service)
            try:
                return await self.complete_subjects(_by_subject(own), partition)
            except Inconsistent:
                if not starts:  # not even the whole log explains it
                    raise

    async def complete_subjects(self, own: RawEvents, partition: int) -> Completed:
        """Take back the events of those subjects whose record lacks some."""
        damaged, lacking = list[str](), list[Record]()
        subjects = sorted(s for s in own if kind_of(s) in self.store.rules)
        for start in range(0, len(subjects), SUBJECTS):
            snapshot = await read_snapshot(self.store, subjects[start : start + SUBJECTS])
            for subject, each in snapshot.unreadable.items():
                if each.reason == "newer_rules":  # a version that can read it can complete it
                    raise each.error
                log.error(
                    "unreadable record not completed", service=self.store.service, subject=subject, error=each.error
                )
                damaged.append(subject)
            lacking += [record for s, record in snapshot.records.items() if max(own[s]) > record.last_sequence]
        done = Completed(damaged=tuple(damaged))
        if not lacking:
            return done
        consumed = await self.consumed_events({record.subject for record in lacking}, partition)
        for start in range(0, len(lacking), SUBJECTS):
            batch = [record.subject for record in lacking[start : start + SUBJECTS]]
            done = _sum(done, await self.take_back(batch, own, consumed))
        return done

    async def take_back(self, batch: Sequence[str], own: RawEvents, consumed: Mapping[str, RawEvents]) -> Completed:
        """Store the events of a batch of subjects; they are published already."""
        missing: dict[str, list[str]] = {}

        def change(snapshot: Snapshot) -> Effects:
            changes, inboxes = [], dict[str, Mapping[str, int]]()
            for subject in batch:
                before = snapshot.record(subject)
                rules = self.store.rules[kind_of(subject)]
                after, missing[subject] = take_back(before, rules, own[subject], consumed.get(subject, {}))
                if self.restored and after is not before:
                    after = self.restored(before, after)
                if after is not before:
                    changes.append((before, after))
                    inboxes[subject] = after.inbox
            return Effects(changes, heads=_passed(snapshot.heads, inboxes))

        written = await self.store.transact(batch, change, parked=1)
        if not written.changes:
            return Completed()
        await self.store.mark_published({after.subject: after.last_sequence for _, after in written.changes})
        return Completed(
            events=sum(after.last_sequence - before.last_sequence for before, after in written.changes),
            records=len(written.changes),
            new=sum(not before.version for before, _ in written.changes),
            missing=tuple(each for _, after in written.changes for each in missing[after.subject]),
        )

    async def consumed_events(self, subjects: Collection[str], partition: int) -> dict[str, RawEvents]:
        """Return what others emitted about these subjects since the store's cursors, and what of it is parked."""
        found: dict[str, RawEvents] = {subject: {} for subject in subjects}
        snapshot = await read_snapshot(self.store, subjects, SKIPPED_LIMIT)
        for (subject, source), events in snapshot.parked.items():
            found[subject][source] = {each.sequence: each.raw for each in events}
        raws = list[bytes]()
        tps = [TopicPartition(topic, partition) for topic in self.topics]
        cursors = await self.store.cursors(tps)
        for tp, (begin, end) in (await self.reader.bounds(tps)).items():
            raws += await self.read(tp, max(cursors[tp], begin), end, lambda _, subject: subject in subjects)
        for raw in raws:
            e = decode(raw)
            found[e.subject].setdefault(e.source, {})[e.sequence] = raw
        return found

    async def read(self, tp: TopicPartition, start: int, end: int, wanted: Callable[[str, str], bool]) -> list[bytes]:
        """Return the events of a partition between two offsets whose source and subject are wanted."""
        found: list[bytes] = []
        if start >= end:
            return found
        await self.reader.seek({tp: start})
        position = start
        while position < end:
            records, positions = await self.reader.read_chunk({tp: end})
            position = positions[tp]
            for record in records:
                try:
                    e = decode(record.value or b"")
                except DecodeError:
                    continue
                valid = not isinstance(e.event, InvalidEvent)  # another one of its id may follow
                if record.offset < end and valid and wanted(e.source, e.subject):
                    found.append(record.value)
        return found


def _passed(heads: Mapping[Source, Parked], inboxes: Mapping[str, Mapping[str, int]]) -> dict[Source, Parked]:
    """Return as ready the heads that inboxes have passed, for the worker to remove, and early ones that are next."""
    return {
        (subject, source): replace(head, reason="ready")
        for (subject, source), head in heads.items()
        if subject in inboxes and head.sequence <= inboxes[subject].get(source, 0) + (head.reason == "early")
    }


def _by_subject(raws: Sequence[bytes]) -> RawEvents:
    found: RawEvents = {}
    for raw in raws:
        e = decode(raw)
        found.setdefault(e.subject, {}).setdefault(e.sequence, raw)
    return found


def _sum(one: Completed, other: Completed) -> Completed:
    return Completed(*(a + b for a, b in zip(astuple(one), astuple(other), strict=True)))
