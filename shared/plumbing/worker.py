"""A worker does everything for the partitions that its group gives it: consumes, relays, calls on what is due.

The cursor is the only position. faust brings what is live; what lies between a cursor and the end is read from the
log directly.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from contracts.commands import Tick
from contracts.envelope import Unreadable, read
from plumbing import metrics
from plumbing.clock import Clock, machine_now
from plumbing.live import Live
from plumbing.mongo import MongoStore
from plumbing.reader import STRIDE, LogReader
from plumbing.record import Message, Place, stranded
from plumbing.relay import LIMIT, Relay
from plumbing.store import (
    Conflict,
    Fenced,
    NewerRules,
    Projection,
    Ranges,
    TooManyFaults,
    Transient,
    execute_many,
    process,
)

LINGER = 0.05  # seconds in which events gather: a transaction and its journal flush are paid per batch, not per event
SWEEP = 5.0  # seconds after which a cursor that stands still is compared with the end of the log
BATCH = 5_000  # live events in one transaction
TICKS = 200  # subjects called on in one transaction
CLOCKS_APART = 5.0  # seconds between this machine's clock and the database's
FENCED_ALARM = 20  # times in a row without progress

Duty = Callable[[frozenset[int]], Awaitable[int]]

log = structlog.get_logger(__name__)


class Worker:
    """One member of a service's group; `duties` are what else must be done for the partitions it owns."""

    def __init__(
        self,
        service: str,
        topics: Collection[str],
        bootstrap: str,
        store: MongoStore,
        relay: Relay,
        clock: Clock,
        *,
        projection: Projection | None = None,
        duties: Sequence[Duty] = (),
        linger: float = LINGER,
        client_id: str = "",
    ) -> None:
        self.service, self.store, self.relay, self.clock = service, store, relay, clock
        self.projection, self.duties, self.linger = projection, duties, linger
        self.reader = LogReader(bootstrap, f"{client_id or service}-log")
        self.live = Live(
            service,
            topics,
            bootstrap,
            client_id or service,
            resume=self._resume,
            revoked=self._revoked,
            deliver=self._deliver,
        )
        self.cursors: Mapping[TopicPartition, int] = {}  # of the partitions we own; only ever replaced whole
        self.behind: set[TopicPartition] = set()  # to be read from the log, not live
        self.unsure = False  # a step failed: where the cursors stand only the store knows
        self.arrived: asyncio.Queue[Any] = asyncio.Queue(2 * BATCH)
        self.writing = asyncio.Lock()
        self.stride = STRIDE
        self.faults_in_a_row = self.fenced_in_a_row = 0
        self.assigned = False
        self.paused = ""  # why nothing is consumed until somebody acts and this process is started anew
        self.broken: dict[TopicPartition, str] = {}
        self.troubles: dict[str, str] = {}  # loop -> what it waits out
        self.clocks_apart = 0.0

    @property
    def partitions(self) -> frozenset[int]:
        """The numbers of the partitions that this worker owns."""
        return frozenset(tp.partition for tp in self.cursors)

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set or something ends it for good. Raises what ended it."""
        loops = {
            "consume": self._consume,
            "relay": self._relay,
            "timer": self._timer,
            "sweep": self._sweep,
        }
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._forever(name, step), name=name) for name, step in loops.items()
        ]
        tasks.append(asyncio.create_task(stop.wait(), name="stop"))
        tasks.append(asyncio.create_task(self._watch_live(), name="live"))
        try:
            await self.live.start()
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            await self.live.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.reader.stop()

    async def ready(self) -> list[str]:
        """Why this worker is not ready; empty when it is."""
        reasons = [] if self.assigned else ["no partitions assigned yet"]
        reasons += [f"paused: {self.paused}"] if self.paused else []
        reasons += [f"{tp.topic}/{tp.partition}: {why}" for tp, why in self.broken.items()]
        reasons += [f"{name}: {why}" for name, why in self.troubles.items()]
        if self.clocks_apart > CLOCKS_APART:
            reasons.append(f"this machine's clock and the database's are {self.clocks_apart:.1f} s apart")
        return reasons

    # What the group tells us

    async def _resume(self, owned: set[TopicPartition]) -> Mapping[TopicPartition, int]:
        """After each assignment: what lies between cursor and end is read from the log; live is what comes after."""
        stored, begins, ends = await self._patiently(
            lambda: asyncio.gather(self.store.cursors(owned), self.reader.begins(owned), self.reader.ends(owned))
        )
        cursors: dict[TopicPartition, int] = {TopicPartition(*tp): at for tp, at in stored.items()}
        self.broken = {
            tp: f"the cursor stands at {cursors[tp]}, the log has {begins[tp]} to {ends[tp]}"
            for tp in owned
            if not begins[tp] <= cursors[tp] <= ends[tp]
        }
        if self.broken:  # truncated, or a topic made anew: somebody must look, and nothing is skipped
            log.error("log_broken", partitions=[f"{tp.topic}/{tp.partition}: {why}" for tp, why in self.broken.items()])
        whole = {tp: at for tp, at in cursors.items() if tp not in self.broken}
        self.behind |= {tp for tp, at in whole.items() if at < ends[tp]}
        self.cursors = whole
        self.assigned = True
        self._wake()
        return {tp: ends[tp] for tp in owned}

    async def _patiently(self, what: Callable[[], Awaitable[Any]]) -> Any:
        for attempt in range(6):
            try:
                return await what()
            except (Transient, KafkaError, OSError) as e:
                log.warning("assignment_waits", trouble=repr(e))
                await asyncio.sleep(_backoff(attempt))
        return await what()

    def _revoked(self, gone: set[TopicPartition]) -> None:
        self.cursors = {tp: at for tp, at in self.cursors.items() if tp not in gone}
        self.broken = {tp: why for tp, why in self.broken.items() if tp not in gone}

    async def _deliver(self, event: Any) -> None:
        await self.arrived.put(event)

    async def _watch_live(self) -> None:
        while not self.live.crashed:  # noqa: ASYNC110  faust offers no event for it
            await asyncio.sleep(0.2)
        raise self.live.crashed

    def _wake(self) -> None:
        if self.arrived.empty():
            self.arrived.put_nowait(None)

    # The loops

    async def _forever(self, name: str, step: Callable[[], Awaitable[float]]) -> None:
        """Runs one loop; passing troubles are waited out in place, everything else ends the process."""
        attempt = 0
        while True:
            try:
                pause = await step()
                attempt = 0
                self.troubles.pop(name, None)
            except (Transient, KafkaError, OSError, TimeoutError) as e:
                attempt += 1
                pause = _backoff(attempt)
                if attempt > 2:
                    self.troubles[name] = repr(e)
                metrics.TROUBLES.labels(self.service, name).inc()
                log.warning("trouble", loop=name, attempt=attempt, trouble=repr(e))
            await asyncio.sleep(pause)

    async def _relay(self) -> float:
        relayed = await self.relay.once(self.partitions, self.writing)
        metrics.EVENTS_RELAYED.labels(self.service).inc(relayed)
        return 0 if relayed >= LIMIT else self.linger

    async def _timer(self) -> float:
        """Calls on what is due, and does what else must be done for these partitions."""
        now = self.clock().at
        due = await self.store.due(self.partitions, now, TICKS)
        if due:
            await self._tick(due, Tick(now))
        done = len(due)
        for duty in self.duties:
            async with self.writing:
                done += await duty(self.partitions)
        return 0 if done >= TICKS else self.linger

    async def _tick(self, due: Sequence[str], tick: Tick) -> None:
        try:
            async with self.writing:
                await execute_many(self.store, {subject: tick for subject in due}, self.clock)
        except (Transient, KafkaError, OSError):
            raise
        except Exception:
            if len(due) == 1:  # one subject's fault is not everybody's
                log.exception("tick", subject=due[0])
                metrics.TICK_FAULTS.labels(self.service).inc()
                return
            for half in (due[: len(due) // 2], due[len(due) // 2 :]):
                await self._tick(half, tick)

    async def _sweep(self) -> float:
        """Finds the last events of a quiet partition, should faust have dropped them: no later one shows the hole."""
        before = self.cursors
        await asyncio.sleep(SWEEP)
        ends = await self.reader.ends(self.cursors.keys())
        still = {tp for tp, at in self.cursors.items() if before.get(tp) == at}
        if late := {tp for tp in still if self.cursors.get(tp, 0) < ends.get(tp, 0)}:
            self.behind |= late
            self._wake()
        self.clocks_apart = abs((await self.store.machine_time() - machine_now()).total_seconds())
        await metrics.observe_worker(self.service, self.store, self.cursors, ends, self.clock().at)
        return 0

    async def _consume(self) -> float:
        if self.paused:
            return SWEEP
        events = [await self.arrived.get()]
        await asyncio.sleep(self.linger)
        events += [self.arrived.get_nowait() for _ in range(min(BATCH, self.arrived.qsize()))]
        events = [event for event in events if event is not None]
        try:
            if self.unsure:
                await self._look_again()
            await self._process_live([event.message for event in events])
            await self._catch_up()
            self.fenced_in_a_row = 0
        except (TooManyFaults, NewerRules) as e:
            self.paused = repr(e)
            metrics.PAUSED.labels(self.service).set(1)
            log.error("paused", why=self.paused)
        except Fenced:
            self.unsure = True
            self.fenced_in_a_row += 1
            metrics.FENCED.labels(self.service).inc()
            if self.fenced_in_a_row >= FENCED_ALARM:
                self.troubles["fenced"] = f"{self.fenced_in_a_row} times without progress"
            self._wake()
        except BaseException:
            self.unsure = True
            self._wake()
            raise
        for event in events:
            event.ack()  # for whoever watches the group's lag; our cursors do not depend on it
        return 0

    # Events into records

    async def _look_again(self) -> None:
        """A step failed, perhaps after it was stored: takes the cursors from the store, and the rest from the log."""
        fresh = {TopicPartition(*tp): at for tp, at in (await self.store.cursors(self.cursors.keys())).items()}
        self.cursors = {tp: fresh[tp] for tp in self.cursors if tp in fresh}
        self.behind |= set(self.cursors)
        self.unsure = False
        self.troubles.pop("fenced", None)

    async def _process_live(self, messages: Sequence[Any]) -> None:
        taken: list[Any] = []
        ranges: dict[TopicPartition, tuple[int, int]] = {}
        for m in messages:
            tp = TopicPartition(m.topic, m.partition)
            if tp in self.behind or tp not in self.cursors:
                continue
            first, expected = ranges.get(tp, (self.cursors[tp], self.cursors[tp]))
            if m.offset > expected:  # a hole: the log knows what lies in it
                self.behind.add(tp)
            elif m.offset == expected:
                taken.append(m)
                ranges[tp] = (first, expected + 1)
        await self._process(taken, ranges)

    async def _catch_up(self) -> None:
        """Reads one partition, of all topics, from its cursors to the present end.

        All events about a subject lie in one partition: the longer the batch, the fewer the writes.
        """
        self.behind &= self.cursors.keys()
        metrics.CATCHING_UP.labels(self.service).set(len(self.behind))
        if not self.behind:
            return
        partition = min(tp.partition for tp in self.behind)
        tps = {tp for tp in self.cursors if tp.partition == partition}
        at, ends = {tp: self.cursors[tp] for tp in tps}, await self.reader.ends(tps)
        await self.reader.seek(at)
        try:
            while any(tp in self.cursors and at[tp] < ends[tp] for tp in tps):
                records, now_at = await self.reader.stride(ends, self.stride)
                ranges = {tp: (at[tp], now_at[tp]) for tp in tps if now_at[tp] > at[tp] and tp in self.cursors}
                at = now_at  # where this reader stands, whatever was taken from us or given back meanwhile
                await self._process([r for r in records if (r.topic, r.partition) in ranges], ranges)
        except Conflict:
            self.stride = max(self.stride // 2, 100)
            raise
        except OffsetOutOfRangeError as e:
            self.broken |= dict.fromkeys(tps, f"the log no longer has what the cursor needs: {e}")
            self.cursors = {tp: offset for tp, offset in self.cursors.items() if tp not in tps}
            log.error("log_broken", partition=partition, why=str(e))
        self.behind -= tps
        if self.behind:
            self._wake()  # what is live has its turn between two partitions

    async def _process(self, records: Sequence[Any], ranges: Ranges) -> None:
        if not ranges:
            return
        messages = []
        for r in records:
            try:
                if r.key is None or r.value is None:
                    raise Unreadable("no key" if r.key is None else "no value")
                messages.append(Message(read(r.value), r.value, Place(r.topic, r.partition, r.offset)))
            except Unreadable as why:
                await self.store.quarantine(r.topic, r.partition, r.offset, r.value, str(why))
                metrics.UNREADABLE.labels(self.service, r.topic).inc()
        with metrics.TRANSACTION_SECONDS.labels(self.service).time():
            async with self.writing:
                done = await process(
                    self.store, messages, ranges, self.clock, self.projection, faults_in_a_row=self.faults_in_a_row
                )
        self.faults_in_a_row = done.faults_in_a_row
        metrics.observe_batch(self.service, messages, done)
        for fault in done.faults:
            e = fault.message.envelope
            log.error("parked", event=f"{e.source}/{e.subject}/{e.sequence}", fault=fault.why)
        self.cursors = {tp: ranges[tp][1] if tp in ranges else at for tp, at in self.cursors.items()}
        await self._fetch_stranded({after.subject for _, after in done.changes if after.parked and stranded(after)})

    async def _fetch_stranded(self, subjects: Collection[str]) -> None:
        """Brings the parked events of which only the place was kept, as soon as it is their turn."""
        while subjects:
            places = [place for record in (await self.store.read(subjects)).values() for place in stranded(record)]
            messages = []
            for place in places:
                record = await self.reader.one(TopicPartition(place.topic, place.partition), place.offset)
                if record is None:
                    log.error("parked_event_gone", topic=place.topic, partition=place.partition, offset=place.offset)
                    return
                messages.append(Message(read(record.value), record.value, place))
            done = await process(self.store, messages, {}, self.clock, self.projection)
            subjects = {after.subject for _, after in done.changes if after.parked and stranded(after)}


def _backoff(attempt: int) -> float:
    """Exponential with full jitter: 0.1 to 30 s."""
    return random.uniform(0.1, min(30.0, 0.1 * 2**attempt))
