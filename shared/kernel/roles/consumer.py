"""Consuming: live events as they arrive, and from the log whatever is between a cursor and the end.

The cursor is the only position. All events about a subject are in one partition, so that a long batch of one partition
needs few writes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError, OffsetOutOfRangeError

from base.clock import Clock
from base.tasks import cancel_and_wait
from contracts.envelope import DecodeError, decode_from
from contracts.events import TYPES
from contracts.subjects import PARTITIONS, partition_of
from kernel.batch import CircuitBreaker, drain, process
from kernel.errors import CircuitOpen, Fenced, Transient
from kernel.kafka.log_reader import CHUNK, LogReader
from kernel.kafka.unreadable_batches import UnreadableBatch
from kernel.record import LogPosition, Message, Reason, Undecodable
from kernel.roles.observation import observe_batch, observe_undecodable
from kernel.store import OffsetRanges, Projection
from kernel.stores.mongodb import MongoStore
from observability import metrics

SMALLEST_CHUNK = 100
GROWTH = 8  # a chunk that is stored makes the next one larger by this part: doubling would fail every second time
SHARED_CHUNK = 5_000  # events of several partitions in one transaction
RETRIED: tuple[Reason, ...] = ("early", "invalid", "newer_rules", "unreadable_record")  # after an assignment

log = structlog.get_logger(__name__)


class Chunk(NamedTuple):
    """What was read of a few partitions, with start and end offsets, and where the log ended then.

    `end` is empty where nothing could be read.
    """

    records: Sequence[Message | Undecodable]
    start: Mapping[TopicPartition, int]
    end: Mapping[TopicPartition, int]
    log_ends: Mapping[TopicPartition, int]


class Consumer:
    """The cursors of the partitions that a worker owns. Nothing else moves them."""

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
        self.breaker = CircuitBreaker()
        self.owned: frozenset[TopicPartition] = frozenset()
        self.cursors: Mapping[TopicPartition, int] = {}  # of owned partitions whose log is intact; replaced as a whole
        self.behind: set[TopicPartition] = set()  # to be read from the log, not live
        self.broken: Mapping[TopicPartition, str] = {}  # why nothing of these can be read
        self.unanswered: set[TopicPartition] = set()  # not read from the log until the next sweep: without a leader
        self.unsure: set[TopicPartition] = set()  # only the store knows where the cursors of these are
        self.draining = True  # parked events may be ready
        self.chunk_size = CHUNK
        self.ahead: asyncio.Task[Chunk] | None = None  # the next chunk, being read
        self.last_caught_up = -1
        self.attempts = 0  # batches begun and ended, stored or not: the watchdog looks at them

    @property
    def partitions(self) -> frozenset[int]:
        """Return the numbers of the owned partitions."""
        return frozenset(tp.partition for tp in self.owned)

    # Assignment

    async def resume(self, assigned: Callable[[], Collection[TopicPartition]]) -> Mapping[TopicPartition, int]:
        """Take over all partitions that are assigned now; return where the live stream starts.

        Raise Transient, also if others are assigned meanwhile: a former assignment must not replace the present one.
        """
        owned = frozenset(assigned())
        cursors, broken, ends = await self._examine(owned)
        if owned != assigned():
            raise Transient("other partitions were assigned meanwhile")
        self.owned, self.broken = owned, {}
        self._break(broken)
        self._note_unanswered({tp for tp in cursors if tp not in ends})
        intact = {tp: cursor for tp, cursor in cursors.items() if tp in ends and tp not in broken}
        self.behind |= {tp for tp, cursor in intact.items() if cursor < ends[tp]}
        self.cursors = intact
        await self._release_parked()
        return {**cursors, **ends}

    async def _release_parked(self) -> None:
        """Make ready what an older version could not handle, and what waits for an event that may have come."""
        await self.store.parked.release(RETRIED, partitions=self.partitions)
        await self.store.parked.release(["unknown_type"], partitions=self.partitions, types=TYPES)
        self.draining = True

    async def _examine(
        self, tps: Collection[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, str], Mapping[TopicPartition, int]]:
        """Return the cursors, why broken partitions cannot be read, and where logs end that answer."""
        ids, lost = await self._lost_topics({tp.topic for tp in tps})
        self._note_topics({topic: ids[topic] for topic in ids if topic not in lost})
        existing = [tp for tp in tps if tp.topic in ids]
        cursors, begins, ends = await asyncio.gather(
            self.store.cursors(existing), self.reader.begins(existing), self.reader.ends(existing)
        )
        ends = {tp: end for tp, end in ends.items() if tp in begins}
        broken = {
            tp: f"the cursor is at {cursors[tp]}, the log has {begins[tp]} to {end}"
            for tp, end in ends.items()
            if not begins[tp] <= cursors[tp] <= end
        }
        broken |= {tp: lost[tp.topic] for tp in tps if tp.topic in lost}
        return cursors, broken, ends

    async def _lost_topics(self, topics: Collection[str]) -> tuple[Mapping[str, str], dict[str, str]]:
        """Return the ids of existing topics, and what is wrong with missing or recreated ones."""
        ids = await self.topic_ids(topics)
        known = await self.store.topic_ids(ids)
        lost = {topic: "the topic does not exist" for topic in topics if topic not in ids}
        for topic, current in ids.items():
            if known.get(topic, current) != current:
                lost[topic] = f"the topic was recreated: its id was {known[topic]}, now it is {current}"
        return ids, lost

    def _note_topics(self, ids: Mapping[str, str]) -> None:
        """From now on cursors move in the logs of these topics only; those in a former log are given up first."""
        recreated = {topic for topic, read in self.store.read_topics.items() if ids.get(topic, read) != read}
        self._break({tp: "the topic was recreated meanwhile" for tp in self.cursors if tp.topic in recreated})
        self.store.read_topics = {**self.store.read_topics, **ids}

    async def _recover(self) -> None:
        """Resume broken partitions whose cursors have been reset, and those that did not answer and do now."""
        missing = self.broken.keys() | (self.owned - self.cursors.keys())
        if not missing:
            return
        cursors, broken, ends = await self._examine(missing)
        intact = {tp: cursors[tp] for tp in ends if tp not in broken and tp not in self.cursors}
        if intact:
            await self.close()  # what was read ahead may come from a log that no longer exists
        self.broken = {tp: broken.get(tp, why) for tp, why in self.broken.items() if tp not in intact}
        self._break({})
        if intact := {tp: cursor for tp, cursor in intact.items() if tp in self.owned}:
            self.behind |= set(intact)
            self.cursors = {**self.cursors, **intact}
            positions = [f"{tp.topic}/{tp.partition}@{cursor}" for tp, cursor in intact.items()]
            log.info("log intact again", service=self.service, partitions=positions)

    def revoked(self, gone: Collection[TopicPartition]) -> None:
        """Drop partitions that were taken away, even while a batch of them is being handled."""
        self.owned -= frozenset(gone)
        self.cursors = {tp: cursor for tp, cursor in self.cursors.items() if tp not in gone}
        self.broken = {tp: why for tp, why in self.broken.items() if tp not in gone}

    def _break(self, broken: Mapping[TopicPartition, str]) -> None:
        """Stop reading partitions whose log was truncated or recreated: nothing is skipped."""
        new = [f"{tp.topic}/{tp.partition}: {why}" for tp, why in broken.items() if self.broken.get(tp) != why]
        self.broken = {**self.broken, **broken}
        self.cursors = {tp: cursor for tp, cursor in self.cursors.items() if tp not in broken}
        metrics.LOG_BROKEN.labels(self.service).set(len(self.broken))
        if new:
            log.error("log broken", service=self.service, partitions=new)

    async def sweep(self, before: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Find what no later event reveals: missed last events of a quiet partition, a lost topic. Return log ends.

        `before` are the cursors of some seconds ago.
        """
        # Of all topics, owned or not: partitions of a deleted one are assigned to no worker.
        _, lost = await self._lost_topics(self.topics)
        self._break({TopicPartition(t, partition): why for t, why in lost.items() for partition in range(PARTITIONS)})
        ends = await self.reader.ends(self.cursors.keys())
        self._note_unanswered({tp for tp in self.owned if tp not in ends and tp not in self.broken})
        self._break(
            {
                tp: f"the log ends at {ends[tp]}, the cursor is at {cursor}"
                for tp, cursor in self.cursors.items()
                if tp in ends and before.get(tp, 0) > ends[tp]
            }
        )
        self.behind |= {tp for tp, cursor in self.cursors.items() if before.get(tp) == cursor < ends.get(tp, 0)}
        self.draining = True
        await self._recover()
        return ends

    def _note_unanswered(self, found: set[TopicPartition]) -> None:
        """Read these from the log no more until a later sweep finds that they answer."""
        if new := found - self.unanswered:
            positions = [f"{tp.topic}/{tp.partition}" for tp in sorted(new)]
            log.warning("log does not answer: is a broker away?", service=self.service, partitions=positions)
        self.unanswered = found
        metrics.LOG_UNANSWERED.labels(self.service).set(len(found))

    # Events into records

    async def step(self, messages: Sequence[Any]) -> bool:
        """Handle live events, then one chunk of a partition that is behind, then parked events that are ready.

        Return whether more is waiting. Raise Fenced, Transient, CircuitOpen.
        """
        if self.unsure:
            await self._read_cursors()
        await self._handle_live(messages)
        await self._catch_up()
        metrics.CATCHING_UP.labels(self.service).set(len(self.behind))
        if self.draining:
            self.draining = await self._drain()
        return bool(self.behind - self.unanswered) or self.draining

    async def _read_cursors(self) -> None:
        """After a failed transaction, perhaps stored: take cursors from the store, the rest from the log."""
        unsure = frozenset(self.unsure)  # the sweep may find more meanwhile
        stored = await self.store.cursors(unsure & self.cursors.keys())
        self.cursors = {tp: stored.get(tp, cursor) for tp, cursor in self.cursors.items()}
        self.behind |= stored.keys()
        self.unsure -= unsure
        self._note_topics(await self.store.topic_ids(self.store.read_topics))

    async def _handle_live(self, messages: Sequence[Any]) -> None:
        records: list[Message | Undecodable] = []
        ranges: dict[TopicPartition, tuple[int, int]] = {}
        for m in messages:
            tp = TopicPartition(m.topic, m.partition)
            if tp in self.behind or tp not in self.cursors:
                continue
            start, expected = ranges.get(tp, (self.cursors[tp], self.cursors[tp]))
            if m.offset > expected:  # a gap: the log has what is in it
                self.behind.add(tp)
            elif m.offset == expected:
                records.append(decode_record(m))
                ranges[tp] = (start, expected + 1)
        if ranges:
            await self._handle(records, ranges)

    async def _catch_up(self) -> None:
        """Handle one chunk of what is behind; the next one is read from the log meanwhile."""
        if (chunk := await self._next_chunk()) is None:
            return
        positions = {**self.cursors, **chunk.end}
        if numbers := self._next_partitions(_lags(positions, chunk.log_ends)):
            self.ahead = asyncio.create_task(self._read(numbers, positions, chunk.log_ends))
        ranges = {
            tp: (start, chunk.end[tp])
            for tp, start in chunk.start.items()
            if chunk.end[tp] > start and tp in self.cursors
        }
        try:
            gone = chunk.start.keys() - self.cursors.keys()  # revoked meanwhile
            kept = [each for each in chunk.records if _partition(each) not in gone] if gone else chunk.records
            await self._handle(kept, ranges)
            self.chunk_size = min(self.chunk_size + self.chunk_size // GROWTH, CHUNK)
        except (Fenced, CircuitOpen):
            raise
        except Exception:  # perhaps the transaction was too large or took too long
            self.chunk_size = max(min(self.chunk_size, len(chunk.records)) // 2, SMALLEST_CHUNK)
            raise
        finally:
            self.attempts += 1
        self.behind -= {tp for tp, end in chunk.end.items() if end >= chunk.log_ends[tp]}

    async def _next_chunk(self) -> Chunk | None:
        """Return the chunk that was read ahead if it starts at the cursors, else read one; None if none is behind."""
        ahead, self.ahead = self.ahead, None
        if ahead is not None:
            chunk = await ahead
            if chunk.end and all(self.cursors.get(tp) == start for tp, start in chunk.start.items()):
                return chunk
        self.behind &= self.cursors.keys()
        behind = {tp.partition for tp in self.behind - self.unanswered}
        asked = [tp for tp in self.cursors if tp.partition in behind and tp not in self.unanswered]
        ends = await self.reader.ends(asked)
        if silent := {tp for tp in asked if tp not in ends}:
            self._note_unanswered(self.unanswered | silent)
        lags = _lags(self.cursors, ends)
        self.behind -= {tp for tp in ends if tp not in lags}
        if not self.behind or not (numbers := self._next_partitions(lags)):
            return None
        chunk = await self._read(numbers, self.cursors, ends)
        return chunk if chunk.end else None

    async def _read(
        self, numbers: Collection[int], positions: Mapping[TopicPartition, int], log_ends: Mapping[TopicPartition, int]
    ) -> Chunk:
        """Read these partitions of all topics, from their positions, up to one chunk."""
        start = {tp: offset for tp, offset in positions.items() if tp.partition in numbers and tp in log_ends}
        try:
            await self.reader.seek(start)
            ends = {tp: log_ends[tp] for tp in start}
            records, end = await self.reader.read_chunk(ends, self.chunk_size, decode_record)
        except KafkaTimeoutError:
            self._note_unanswered(self.unanswered | start.keys())
            return Chunk([], start, {}, log_ends)
        except OffsetOutOfRangeError:
            why = "the log lacks what the cursor needs, at {}"
            self._break({tp: why.format(offset) for tp, offset in start.items() if tp in self.cursors})
            return Chunk([], start, {}, log_ends)
        return Chunk(records, start, end, log_ends)

    async def close(self) -> None:
        """Discard what was read ahead."""
        ahead, self.ahead = self.ahead, None
        if ahead is not None:
            await cancel_and_wait(ahead)

    def _next_partitions(self, lags: Mapping[TopicPartition, int]) -> set[int]:
        """Return the next partition that is behind, and those after it as long as they have few events together."""
        numbers, events = set[int](), 0
        for number in sorted({tp.partition for tp in lags}, key=lambda n: (n <= self.last_caught_up, n)):
            events += sum(n for tp, n in lags.items() if tp.partition == number)
            if numbers and events > SHARED_CHUNK:
                break
            numbers.add(number)
            self.last_caught_up = number
        return numbers

    async def _handle(self, records: Sequence[Message | Undecodable], ranges: OffsetRanges) -> None:
        """Handle records and move the cursors from where the reader was to where it is, in one transaction.

        Until it is known to be stored, these cursors are unsure, and no others.
        """
        self.unsure |= ranges.keys()
        self.attempts += 1
        messages = [each for each in records if isinstance(each, Message)]
        if undecodable := [each for each in records if isinstance(each, Undecodable)]:
            await self.store.add_undecodable(undecodable)
        with metrics.TRANSACTION_SECONDS.labels(self.service).time():
            async with self.writing:
                effects = await process(self.store, messages, ranges, self.clock, self.projection, self.breaker)
        self.cursors = {tp: ranges[tp][1] if tp in ranges else cursor for tp, cursor in self.cursors.items()}
        self.unsure -= ranges.keys()
        observe_undecodable(self.service, undecodable)  # now, since a failed transaction is repeated
        observe_batch(self.service, messages, effects)
        for parked in effects.parked:
            if parked.reason not in ("early", "invalid"):
                log.error(
                    "event parked",
                    event_id=f"{parked.source}/{parked.subject}/{parked.sequence}",
                    type=parked.type,
                    reason=parked.reason,
                    error=parked.fault.error,
                    where=parked.fault.where,
                )
        self.draining |= any(head.reason == "ready" for head in effects.heads.values())

    async def _drain(self) -> bool:
        """Handle parked events that are ready; return whether more may be."""
        async with self.writing:
            return await drain(self.store, self.partitions, self.clock, self.projection, self.breaker) > 0


def decode_record(record: Any) -> Message | Undecodable:
    """Return the event in a record of a topic, or why there is none from the topic's producer.

    Key and partition must be those of its subject: only the owner of a subject's partition may touch what is about it.
    """
    position = LogPosition(record.topic, record.partition, record.offset)
    if isinstance(record.value, UnreadableBatch):
        return Undecodable(position, None, record.value.decode(errors="replace"), "unreadable_batch")
    try:
        envelope = decode_from(record.topic, record.value)
        if record.key != envelope.subject.encode():
            raise DecodeError("wrong_key", "a key that is not the subject")
        if record.partition != partition_of(envelope.subject):
            raise DecodeError("wrong_partition", "not the partition of the subject")
        return Message(envelope, record.value, position)
    except DecodeError as e:
        return Undecodable.of(position, record.value, str(e), e.code)


def _partition(record: Message | Undecodable) -> TopicPartition:
    assert record.position is not None
    return TopicPartition(record.position.topic, record.position.partition)


def _lags(positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Return how many events are behind each position, where any are."""
    return {tp: end - positions[tp] for tp, end in ends.items() if positions.get(tp, end) < end}
