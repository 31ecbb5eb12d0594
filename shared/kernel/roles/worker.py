"""A worker does everything for the partitions assigned to it: consumes, publishes, runs the scheduler and jobs."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from time import monotonic
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from base.backoff import backoff
from base.clock import Clock
from base.kafka_access import KafkaAccess
from base.tasks import cancel_and_wait
from kernel.errors import CircuitOpen, Fenced, Transient
from kernel.kafka.consumer_group import ConsumerGroup
from kernel.kafka.log_reader import LogReader
from kernel.kafka.relay import LIMIT, Relay, TopicIds
from kernel.roles.consumer import Consumer
from kernel.roles.scheduler import TICKS, Scheduler
from kernel.roles.watchdog import Watchdog
from kernel.service import PeriodicJob
from kernel.store import Projection
from kernel.stores.mongodb import MongoStore
from observability import metrics
from observability.health import ReadinessReason, clock_skew_reason

LINGER = 0.1  # seconds in which events gather: a transaction costs per batch, not per event (docs/performance.md)
MANY = 10  # events in that time, from which on a service may wait longer for more
GATHERED = 500  # events for which no service waits longer
IDLE = 0.5  # seconds between two looks into the store for what is due, or for work that another process may have left
SWEEP = 5.0  # seconds after which a cursor that has not moved is compared with the end of the log
BATCH = 5_000  # live events in one transaction
FENCED_LIMIT = 20  # batches fenced in a row
ASSIGNMENT_ATTEMPTS = 9
CLOSE_TIMEOUT = 10.0  # seconds
TRANSIENT = (Transient, KafkaError, OSError, TimeoutError)

Step = Callable[[], Awaitable[float]]  # of a loop; returns the seconds until the next one
Gate = Callable[["Worker", asyncio.Event], Awaitable[None]]  # see Worker

log = structlog.get_logger(__name__)


class Worker:
    """One member of a service's consumer group. `gates` and `loops` are what recovery and `run` add.

    The worker starts when every gate has returned; a gate also returns when `stop` is set.
    """

    def __init__(
        self,
        service: str,
        topics: Collection[str],
        kafka: KafkaAccess,
        store: MongoStore,
        relay: Relay,
        clock: Clock,
        *,
        projection: Projection | None = None,
        jobs: Sequence[PeriodicJob] = (),
        gates: Sequence[Gate] = (),
        loops: Mapping[str, Callable[["Worker"], Step]] | None = None,
        linger: float = LINGER,
        longest_linger: float = 0.0,
        client_id: str = "",
        group: str = "",
    ) -> None:
        client_id = client_id or service
        self.service, self.topics, self.store, self.relay = service, tuple(topics), store, relay
        self.clock, self.gates = clock, gates
        self.linger, self.longest_linger = linger, max(linger, longest_linger)
        self.kafka = kafka
        self.reader = LogReader(kafka, f"{client_id}-log")
        self.watch = LogReader(kafka, f"{client_id}-watch")
        self.topic_ids = TopicIds(kafka, f"{client_id}-ids")
        self.writing = asyncio.Lock()  # one loop writes at a time: concurrent transactions would only conflict
        self.consumer = Consumer(
            service, topics, store, self.reader, clock, self.writing, self.topic_ids.read, projection
        )
        self.scheduler = Scheduler(service, store, clock, self.writing, jobs)
        self.group = ConsumerGroup(
            group or service,
            topics,
            kafka,
            client_id,
            resume=self._resume,
            revoked=self.consumer.revoked,
            deliver=self._deliver,
        )
        self.loops: dict[str, Step] = {
            "consume": self._consume,
            "publish": self._publish,
            "scheduler": self._schedule,
            "sweep": self._sweep,
            "clock": self._check_clock,
            "watchdog": Watchdog(self),
            **{name: loop(self) for name, loop in (loops or {}).items()},
        }
        self.arrived: asyncio.Queue[Any] = asyncio.Queue(2 * BATCH)
        self.consumed = asyncio.Event()  # there may be something to publish
        self.ends: Mapping[TopicPartition, int] = {}  # of the log, at the last sweep
        self.assigned = False
        self.fenced = 0  # batches in a row
        self.paused = ""  # why nothing is consumed until the process is restarted
        self.retrying: dict[str, str] = {}  # loop -> the transient error that it retries
        self.incomplete = ""  # why a gate is closed
        self.clock_skew = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Raise what ended the worker."""
        metrics.PARTITIONS.labels(self.service).set(0)  # until some are assigned: alerts need the series
        try:
            for gate in self.gates:
                await gate(self, stop)
            if not stop.is_set():
                await self._work(stop)
        finally:
            closing: list[Awaitable[None]] = [self.consumer.close(), self.reader.stop(), self.watch.stop()]
            closing += [asyncio.to_thread(each.close) for each in (self.relay, self.topic_ids)]
            await asyncio.wait(map(asyncio.ensure_future, closing), timeout=CLOSE_TIMEOUT)  # a hung client ends as well

    async def _work(self, stop: asyncio.Event) -> None:
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._forever(name, step), name=name) for name, step in self.loops.items()
        ]
        tasks.append(asyncio.create_task(stop.wait(), name="stop"))
        tasks.append(asyncio.create_task(self._join(), name="group"))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await self.group.stop()
            await cancel_and_wait(*tasks)

    async def ready(self) -> list[ReadinessReason]:
        """Return why this worker is not ready; empty if it is."""
        reasons = [] if self.assigned else [ReadinessReason("no_partitions", "no partitions assigned yet")]
        if self.incomplete:
            reasons.append(ReadinessReason("not_started", self.incomplete))
        if self.paused:
            reasons.append(ReadinessReason("paused", f"paused: {self.paused}"))
        by_topic = groupby(sorted(self.consumer.broken.items()), key=lambda each: each[0].topic)
        for (tp, why), *more in (list(broken) for _, broken in by_topic):
            others = f" and {len(more)} more" if more else ""
            text = f"log broken: {tp.topic}/{tp.partition}{others}: {why}"
            reasons.append(ReadinessReason("log_broken", text, tp.topic, tp.partition))
        if silent := sorted(f"{tp.topic}/{tp.partition}" for tp in self.consumer.unanswered):
            others = f" and {len(silent) - 1} more" if silent[1:] else ""
            reasons.append(ReadinessReason("log_unanswered", f"no broker answers for {silent[0]}{others}"))
        if failing := sorted(self.relay.failing):
            others = f" and {len(failing) - 1} more" if failing[1:] else ""
            text = f"not acknowledged in partition {failing[0]}{others}: {self.relay.failing[failing[0]].why!r}"
            reasons.append(ReadinessReason("not_acknowledged", text))
        reasons += [ReadinessReason("retrying", f"{name}: {error}") for name, error in self.retrying.items()]
        if self.fenced >= FENCED_LIMIT:
            reasons.append(ReadinessReason("fenced", f"{self.fenced} batches fenced in a row"))
        return reasons + clock_skew_reason(self.clock_skew)

    # Consumer group

    async def _resume(self, assigned: Callable[[], set[TopicPartition]]) -> Mapping[TopicPartition, int]:
        attempt, live_from = 0, None
        while live_from is None:
            try:
                live_from = await self.consumer.resume(assigned)
            except TRANSIENT as e:
                if (attempt := attempt + 1) == ASSIGNMENT_ATTEMPTS:
                    raise
                log.warning("assignment retried", service=self.service, attempt=attempt, error=e)
                await asyncio.sleep(backoff(attempt - 1))
        self._drop_arrived()
        self.assigned = True
        self._wake()
        return live_from

    async def _deliver(self, event: Any) -> None:
        await self.arrived.put(event)

    async def _join(self) -> None:
        """Join the group, which may take as long as Kafka is down, and stay in it. Raise what ended that."""
        joining = asyncio.create_task(self.group.start())
        try:
            while not self.group.crashed:  # faust has no event for it
                await asyncio.sleep(0.2)
                if joining.done():
                    joining.result()
        finally:
            await cancel_and_wait(joining)
        raise self.group.crashed

    def _drop_arrived(self) -> None:
        """Drop live events: their offsets may belong to a log that no longer exists. The log has those that count."""
        while not self.arrived.empty():
            self.arrived.get_nowait()

    def _wake(self) -> None:
        if self.arrived.empty():
            self.arrived.put_nowait(None)

    # Loops

    async def _forever(self, name: str, step: Step) -> None:
        """Run one loop. Transient errors are retried with back-off; any other error ends the process."""
        attempt = 0
        while True:
            try:
                pause = await step()
                attempt = 0
                self.retrying.pop(name, None)
            except TRANSIENT as e:
                attempt += 1
                pause = backoff(attempt - 1)
                if attempt > 2:
                    self.retrying[name] = repr(e)
                metrics.TRANSIENT_ERRORS.labels(self.service, name).inc()
                log.warning("transient error", service=self.service, loop=name, attempt=attempt, error=e)
            await asyncio.sleep(pause)

    async def _publish(self) -> float:
        published = await self.relay.publish(self.consumer.partitions, self.writing)
        metrics.EVENTS_PUBLISHED.labels(self.service).inc(published)
        if published < LIMIT:
            await asyncio.sleep(self.linger)
        if not published:
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE - self.linger):  # `wait_for` would lose a cancellation at that moment
                    await self.consumed.wait()
        self.consumed.clear()
        return 0

    async def _schedule(self) -> float:
        return 0 if await self.scheduler.once(self.consumer.partitions) >= TICKS else IDLE

    async def _sweep(self) -> float:
        before = self.consumer.cursors
        await asyncio.sleep(SWEEP)
        broken = self.consumer.broken.keys()
        self.ends = await self.consumer.sweep(before)
        if broken - self.consumer.broken.keys():
            self._drop_arrived()
        stored = await self.store.cursors(before.keys())
        # If cursors were reset, no event of a quiet partition would reveal it.
        self.consumer.unsure |= {tp for tp, cursor in before.items() if stored[tp] < cursor}
        self._wake()
        self.scheduler.retry_unresponsive()
        return 0

    async def _check_clock(self) -> float:
        """Compare this machine's clock with the database's."""
        self.clock_skew = await self.store.clock_skew()
        metrics.CLOCK_SKEW.labels(self.service).set(self.clock_skew)
        return SWEEP

    async def _consume(self) -> float:
        if self.paused:
            return SWEEP
        events = [await self.arrived.get()]
        if events[0] is not None:
            await self._gather()
        events += [self.arrived.get_nowait() for _ in range(min(BATCH, self.arrived.qsize()))]
        events = [event for event in events if event is not None]
        try:
            if await self.consumer.step([event.message for event in events]):
                self._wake()
            self._count_fenced(0)
        except CircuitOpen as e:
            self.paused = str(e)
            metrics.PAUSED.labels(self.service).set(1)
            log.error("consumer paused: deploy a version without the fault", service=self.service, error=e)
        except Fenced:
            metrics.FENCED.labels(self.service).inc()
            self._count_fenced(self.fenced + 1)
            self._wake()
            return self.linger
        except BaseException:
            self._wake()
            raise
        self.consumed.set()
        for event in events:
            event.ack()  # for those who watch the group's lag; our cursors do not depend on it
        return 0

    async def _gather(self) -> None:
        """Let events gather for the linger time, and for longer while many go on arriving."""
        since, before = monotonic(), 0
        await asyncio.sleep(self.linger)
        while before + MANY <= self.arrived.qsize() < GATHERED and monotonic() - since < self.longest_linger:
            before = self.arrived.qsize()
            await asyncio.sleep(self.linger)

    def _count_fenced(self, n: int) -> None:
        self.fenced = n
        metrics.FENCED_CONSECUTIVE.labels(self.service).set(n)
