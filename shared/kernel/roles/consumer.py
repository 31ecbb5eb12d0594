"""What a worker hears, into its records: live as it comes, from the log what lies between a cursor and the end.

The cursor is the only position. All events about a subject lie in one partition: the longer a batch of one partition,
the fewer the writes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from base.clock import Clock
from base.tasks import cancel_and_wait
from contracts.envelope import DecodeError, decode
from contracts.subjects import PARTITIONS
from kernel.batch import process
from kernel.errors import Conflict
from kernel.kafka.log_reader import STRIDE, LogReader
from kernel.record import LogPosition, Message, Undecodable, stranded
from kernel.store import Known, OffsetRanges, Projection
from kernel.stores.mongodb import MongoStore
from observability import metrics

SMALLEST_STRIDE = 100
FEW = 5_000  # events of several partitions in one transaction
STRANDED = 20  # subjects whose parked events are fetched at a time

log = structlog.get_logger(__name__)


class Stride(NamedTuple):
    """What was read of a few partitions, from where to where, and where the log ended then; `to` is empty where it
    could not be."""

    heard: Sequence[Message | Undecodable]
    at: Mapping[TopicPartition, int]
    to: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]


class Consumer:
    """The cursors of the partitions that a worker owns, and the only thing that moves them."""

    def __init__(
        self,
        service: str,
        topics: Collection[str],
        store: MongoStore,
        reader: LogReader,
        clock: Clock,
        writing: asyncio.Lock,
        topic_ids: Callable[[Collection[str]], Awaitable[Mapping[str, str]]],
        projection: Projection | None = None,
    ) -> None:
        self.service, self.topics = service, tuple(topics)
        self.store, self.reader, self.clock = store, reader, clock
        self.writing, self.topic_ids, self.projection = writing, topic_ids, projection
        self.owned: frozenset[TopicPartition] = frozenset()
        self.cursors: Mapping[TopicPartition, int] = {}  # of what is owned and whole; only ever replaced whole
        self.behind: set[TopicPartition] = set()  # to be read from the log, not live
        self.broken: Mapping[TopicPartition, str] = {}  # why nothing of it can be read
        self.unsure = False  # a step failed: where the cursors stand only the store knows
        self.stranded = True  # parked events may wait whose bytes only the log has
        self.stride = STRIDE
        self.ahead: asyncio.Task[Stride] | None = None  # the next stride, on its way
        self.last_caught_up = -1
        self.faults_in_a_row = 0

    # Who owns what

    async def resume(self, owned: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """After each assignment, all that is owned now; says from where it is live."""
        whole, broken, ends = await self._examine(owned)
        self.owned, self.broken = frozenset(owned), {}
        self._break(broken)
        self.behind |= {tp for tp, at in whole.items() if at < ends[tp]}
        self.cursors = whole
        self.stranded = True
        return dict(ends)

    async def _examine(
        self, tps: Collection[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, str], Mapping[TopicPartition, int]]:
        """The stored cursors of those whose log holds what they need, why the others cannot be read, and the ends."""
        ids, lost = await self._lost({tp.topic for tp in tps})
        there = [tp for tp in tps if tp.topic in ids]
        stored, begins, ends = await asyncio.gather(
            self.store.cursors(there), self.reader.begins(there), self.reader.ends(there)
        )
        outside = {
            tp: f"the cursor stands at {stored[tp]}, the log has {begins[tp]} to {ends[tp]}"
            for tp in there
            if not begins[tp] <= stored[tp] <= ends[tp]
        }
        broken = outside | {tp: lost[tp.topic] for tp in tps if tp.topic in lost}
        return {tp: stored[tp] for tp in there if tp not in broken}, broken, ends

    async def _lost(self, topics: Collection[str]) -> tuple[Mapping[str, str], dict[str, str]]:
        """The ids of those that are there; why nothing can be read of those that are not, or are another by now."""
        ids = await self.topic_ids(topics)
        known = await self.store.topic_ids(ids)
        lost = {topic: "there is no such topic" for topic in topics if topic not in ids}
        for topic, is_now in ids.items():
            if known.get(topic, is_now) != is_now:
                lost[topic] = f"the topic was made anew: its id was {known[topic]}, now it is {is_now}"
        return ids, lost

    async def _mended(self) -> None:
        """Goes on with what was broken, once a person has said from where."""
        whole, broken, _ = await self._examine(self.broken.keys())
        if whole:
            await self.close()  # what was read ahead may be of a log that is no more
        whole = {tp: at for tp, at in whole.items() if tp in self.broken}
        self.broken = {tp: broken.get(tp, why) for tp, why in self.broken.items() if tp not in whole}
        self._break({})
        if whole := {tp: at for tp, at in whole.items() if tp in self.owned}:
            self.behind |= set(whole)
            self.cursors = {**self.cursors, **whole}
            log.info("log_mended", partitions=[f"{tp.topic}/{tp.partition}@{at}" for tp, at in whole.items()])

    def revoked(self, gone: Collection[TopicPartition]) -> None:
        """What was taken away is not looked at again, wherever a batch of it is on its way."""
        self.owned -= frozenset(gone)
        self.cursors = {tp: at for tp, at in self.cursors.items() if tp not in gone}
        self.broken = {tp: why for tp, why in self.broken.items() if tp not in gone}

    def _break(self, broken: Mapping[TopicPartition, str]) -> None:
        """Truncated, or a topic made anew: somebody must look, and nothing is skipped."""
        found = [f"{tp.topic}/{tp.partition}: {why}" for tp, why in broken.items() if self.broken.get(tp) != why]
        self.broken = {**self.broken, **broken}
        self.cursors = {tp: at for tp, at in self.cursors.items() if tp not in broken}
        metrics.LOG_BROKEN.labels(self.service).set(len(self.broken))
        if found:
            log.error("log_broken", partitions=found)

    async def sweep(self, before: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Finds what no later event shows: the last events of a quiet partition, a log that is another. Gives its ends.

        `before` are the cursors of a while ago.
        """
        # Of each topic that is heard, whoever owns it: of one that was deleted nobody owns anything.
        _, lost = await self._lost(self.topics)
        self._break({TopicPartition(t, partition): why for t, why in lost.items() for partition in range(PARTITIONS)})
        ends = await self.reader.ends(self.cursors.keys())
        self._break(
            {
                tp: f"the log ends at {ends[tp]}, the cursor stands at {at}"
                for tp, at in self.cursors.items()
                if tp in ends and before.get(tp, 0) > ends[tp]
            }
        )
        self.behind |= {tp for tp, at in self.cursors.items() if before.get(tp) == at and at < ends.get(tp, at)}
        self.stranded = True
        if self.broken:
            await self._mended()
        return ends

    # Events into records

    async def take(self, messages: Sequence[Any]) -> bool:
        """One turn: what came live, then one partition that is behind, or what is stranded; says whether more waits.

        Raises Fenced, Transient, TooManyFaults, NewerRules; `unsure` says that a step failed.
        """
        try:
            if self.unsure:
                await self._look_again()
            await self._live(messages)
            await self._catch_up()
            metrics.CATCHING_UP.labels(self.service).set(len(self.behind))
            if not self.behind and self.stranded:
                await self.close()  # there is one reader
                self.stranded = await self._fetch_stranded()
        except BaseException:
            self.unsure = True
            raise
        return bool(self.behind) or self.stranded

    async def _look_again(self) -> None:
        """A step failed, perhaps after it was stored: takes the cursors from the store, and the rest from the log."""
        fresh = await self.store.cursors(self.cursors.keys())
        self.cursors = {tp: fresh[tp] for tp in self.cursors if tp in fresh}
        self.behind |= set(self.cursors)
        self.unsure = False

    async def _live(self, messages: Sequence[Any]) -> None:
        taken: list[Message | Undecodable] = []
        ranges: dict[TopicPartition, tuple[int, int]] = {}
        for m in messages:
            tp = TopicPartition(m.topic, m.partition)
            if tp in self.behind or tp not in self.cursors:
                continue
            first, expected = ranges.get(tp, (self.cursors[tp], self.cursors[tp]))
            if m.offset > expected:  # a hole: the log knows what lies in it
                self.behind.add(tp)
            elif m.offset == expected:
                taken.append(hear(m))
                ranges[tp] = (first, expected + 1)
        if ranges:
            await self._step(taken, ranges)

    async def _catch_up(self) -> None:
        """One stride of what is behind, into records; the next is read from the log while this one is stored."""
        if (stride := await self._next()) is None:
            return
        stands = {**self.cursors, **stride.to}
        if turn := self._turn(_lags(stands, stride.ends)):
            self.ahead = asyncio.create_task(self._read(turn, stands, stride.ends))
        ranges = {tp: (at, stride.to[tp]) for tp, at in stride.at.items() if stride.to[tp] > at and tp in self.cursors}
        try:
            gone = stride.at.keys() - self.cursors.keys()  # taken away meanwhile
            await self._step([h for h in stride.heard if _place(h) not in gone] if gone else stride.heard, ranges)
            self.stride = min(self.stride * 2, STRIDE)
        except Conflict:
            self.stride = max(self.stride // 2, SMALLEST_STRIDE)
            raise
        self.behind -= {tp for tp, to in stride.to.items() if to >= stride.ends[tp]}

    async def _next(self) -> "Stride | None":
        """What was read ahead, if the cursors stand where it begins; else one read now. None where all is read."""
        ahead, self.ahead = self.ahead, None
        if ahead is not None:
            stride = await ahead
            if stride.to and all(self.cursors.get(tp) == at for tp, at in stride.at.items()):
                return stride
        self.behind &= self.cursors.keys()
        numbers = {tp.partition for tp in self.behind}
        ends = await self.reader.ends([tp for tp in self.cursors if tp.partition in numbers])
        lags = _lags(self.cursors, ends)
        self.behind &= lags.keys()  # the sweep may have added to it meanwhile
        if not self.behind or not (turn := self._turn(lags)):
            return None
        stride = await self._read(turn, self.cursors, ends)
        return stride if stride.to else None

    async def _read(
        self, turn: Collection[int], stands: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> "Stride":
        """These partitions of all topics, from where it stands, as far as one stride goes."""
        at = {tp: offset for tp, offset in stands.items() if tp.partition in turn}
        try:
            await self.reader.seek(at)
            heard, to = await self.reader.stride({tp: ends[tp] for tp in at}, self.stride, hear)
        except OffsetOutOfRangeError as e:
            self._break(dict.fromkeys(at.keys() & self.cursors.keys(), f"the log lacks what the cursor needs: {e}"))
            return Stride([], at, {}, ends)
        return Stride(heard, at, to, ends)

    async def close(self) -> None:
        """Lets go of what was read ahead."""
        ahead, self.ahead = self.ahead, None
        if ahead is not None:
            await cancel_and_wait(ahead)

    def _turn(self, lag: Mapping[TopicPartition, int]) -> set[int]:
        """The next partition that is behind, and those after it as long as all together are few."""
        numbers = sorted({tp.partition for tp in lag})
        turn, events = set[int](), 0
        for number in sorted(numbers, key=lambda n: (n <= self.last_caught_up, n)):
            events += sum(n for tp, n in lag.items() if tp.partition == number)
            if turn and events > FEW:
                break
            turn.add(number)
            self.last_caught_up = number
        return turn

    async def _step(self, heard: Sequence[Message | Undecodable], ranges: OffsetRanges) -> None:
        """From where the reader stood to where it stands, in one transaction with what lies between."""
        messages = [h for h in heard if isinstance(h, Message)]
        if unreadable := [h for h in heard if isinstance(h, Undecodable)]:
            for each in unreadable:
                metrics.UNREADABLE.labels(self.service, each.place.topic).inc()
            await self.store.quarantine(unreadable)
        await self._process(messages, ranges)
        self.cursors = {tp: ranges[tp][1] if tp in ranges else at for tp, at in self.cursors.items()}

    async def _process(self, messages: Sequence[Message], ranges: OffsetRanges) -> None:
        with metrics.TRANSACTION_SECONDS.labels(self.service).time():
            async with self.writing:
                done = await process(
                    self.store, messages, ranges, self.clock, self.projection, faults_in_a_row=self.faults_in_a_row
                )
        self.faults_in_a_row = done.faults_in_a_row
        metrics.observe_batch(self.service, messages, done)
        for fault in done.faults:
            log.error("parked", **msgspec.structs.asdict(fault))
        self.stranded |= any(after.parked and stranded(after) for _, after in done.changes)

    async def _fetch_stranded(self) -> bool:
        """Brings parked events of which only the place was kept, when it is their turn; says whether any came."""
        waiting = await self.store.stranded({tp.partition for tp in self.owned}, STRANDED)
        records = await self.store.read(waiting)
        offsets: dict[TopicPartition, list[int]] = {}
        for place in (place for record in records.values() for place in stranded(record)):
            offsets.setdefault(TopicPartition(place.topic, place.partition), []).append(place.offset)
        found: list[Message] = []
        for tp, wanted in offsets.items():
            try:
                heard = map(hear, await self.reader.pick(tp, sorted(wanted)))
                found += [m for m in heard if isinstance(m, Message) and _awaited(records, m)]
            except OffsetOutOfRangeError:
                continue
        if len(found) < sum(map(len, offsets.values())):
            places = [f"{tp.topic}/{tp.partition}@{at}" for tp, wanted in offsets.items() for at in wanted]
            log.error("parked_event_gone", found=len(found), places=places)
        if found:
            await self._process(sorted(found, key=lambda m: (m.envelope.subject, m.envelope.sequence)), {})
        return bool(found)


def _awaited(records: Known, m: Message) -> bool:
    """Whether it is what was parked at this place: of a topic that was made anew it is something else."""
    record = records.get(m.envelope.subject)
    parked = record.parked.get(m.envelope.source) if record else None
    return parked is not None and parked.envelopes.get(m.envelope.sequence) == m.place


def hear(record: Any) -> Message | Undecodable:
    """What one record of the log says, or why nobody can read it."""
    place = LogPosition(record.topic, record.partition, record.offset)
    try:
        if record.key is None or record.value is None:
            raise DecodeError("no key" if record.key is None else "no value")
        return Message(decode(record.value), record.value, place)
    except DecodeError as why:
        return Undecodable(place, record.value, str(why))


def _place(heard: Message | Undecodable) -> TopicPartition:
    assert heard.place is not None
    return TopicPartition(heard.place.topic, heard.place.partition)


def _lags(stands: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """How many events lie between, of those partitions that have any."""
    return {tp: end - stands[tp] for tp, end in ends.items() if stands.get(tp, end) < end}
