"""A worker does everything for the partitions that its group gives it: consumes, relays, calls on what is due."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import groupby
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from base.clock import Clock, machine_now
from base.tasks import cancel_and_wait
from kernel.errors import CircuitOpen, Fenced, NewerRules, Transient
from kernel.kafka.consumer_group import ConsumerGroup
from kernel.kafka.log_reader import LogReader
from kernel.kafka.relay import LIMIT, Relay, TopicIds
from kernel.roles.consumer import Consumer
from kernel.roles.scheduler import PeriodicJob, Scheduler
from kernel.store import Projection
from kernel.stores.mongodb import MongoStore
from observability import metrics
from recovery.completion import until_complete
from recovery.replay import Carrier

LINGER = 0.1  # seconds in which events gather: a transaction is paid per batch, not per event (docs/performance.md)
SWEEP = 5.0  # seconds after which a cursor that stands still is compared with the end of the log
BATCH = 5_000  # live events in one transaction
CLOCKS_APART = 5.0  # seconds between this machine's clock and the database's
FENCED_ALARM = 20  # times in a row without progress

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
        duties: Sequence[PeriodicJob] = (),
        linger: float = LINGER,
        client_id: str = "",
    ) -> None:
        self.service, self.store, self.relay, self.clock, self.linger = service, store, relay, clock, linger
        self.reader = LogReader(bootstrap, f"{client_id or service}-log")
        self.topic_ids = TopicIds(bootstrap, f"{client_id or service}-ids")
        self.writing = asyncio.Lock()  # one of the loops at a time: else their transactions only make each other anew
        self.consumer = Consumer(
            service, topics, store, self.reader, clock, self.writing, self.topic_ids.of, projection
        )
        self.timer = Scheduler(service, store, clock, self.writing, duties)
        self.orders = Carrier(store, relay, self.reader, self.topic_ids)
        self.live = ConsumerGroup(
            service,
            topics,
            bootstrap,
            client_id or service,
            resume=self._resume,
            revoked=self.consumer.revoked,
            deliver=self._deliver,
        )
        self.arrived: asyncio.Queue[Any] = asyncio.Queue(2 * BATCH)
        self.ends: Mapping[TopicPartition, int] = {}  # of the log, as the last sweep found them
        self.assigned = False
        self.fenced_in_a_row = 0
        self.paused = ""  # why nothing is consumed until somebody acts and this process is started anew
        self.troubles: dict[str, str] = {}  # loop -> what it waits out
        self.incomplete = ""  # why the store is not whole after a restore
        self.clocks_apart = 0.0

    @property
    def partitions(self) -> frozenset[int]:
        """The numbers of the partitions that this worker owns."""
        return frozenset(tp.partition for tp in self.consumer.owned)

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set or something ends it for good. Raises what ended it."""
        metrics.PARTITIONS.labels(self.service).set(0)  # until it has some: a series that is not there rings no alarm
        try:
            await until_complete(self.store, self.live.topics, self.reader, self.clock, self._say_incomplete, stop)
        except BaseException:
            await self.reader.stop()
            raise
        if stop.is_set():
            await self.reader.stop()
            return
        loops = {
            "consume": self._consume,
            "relay": self._relay,
            "timer": self._timer,
            "sweep": self._sweep,
            "orders": self._orders,
            "observe": self._observe,
        }
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._forever(name, step), name=name) for name, step in loops.items()
        ]
        tasks.append(asyncio.create_task(stop.wait(), name="stop"))
        tasks.append(asyncio.create_task(self._live(), name="live"))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await self.live.stop()
            await cancel_and_wait(*tasks)
            await self.consumer.close()
            await self.reader.stop()
            await asyncio.to_thread(self.relay.close)
            await asyncio.to_thread(self.topic_ids.close)

    async def ready(self) -> list[str]:
        """Why this worker is not ready; empty when it is."""
        reasons = [] if self.assigned else ["no partitions assigned yet"]
        reasons += [self.incomplete] if self.incomplete else []
        reasons += [f"paused: {self.paused}"] if self.paused else []
        by_topic = groupby(sorted(self.consumer.broken.items()), key=lambda each: each[0].topic)
        for (tp, why), *more in (list(broken) for _, broken in by_topic):
            reasons.append(f"log broken: {tp.topic}/{tp.partition}{f' and {len(more)} more' if more else ''}: {why}")
        reasons += [f"{name}: {why}" for name, why in self.troubles.items()]
        if self.clocks_apart > CLOCKS_APART:
            reasons.append(f"this machine's clock and the database's are {self.clocks_apart:.1f} s apart")
        return reasons

    def _say_incomplete(self, why: str) -> None:
        self.incomplete = why

    # What the group tells us

    async def _resume(self, owned: set[TopicPartition]) -> Mapping[TopicPartition, int]:
        for attempt in range(1, 8):
            try:
                live_from = await self.consumer.resume(owned)
                break
            except (Transient, KafkaError, OSError) as e:
                log.warning("assignment_waits", trouble=repr(e))
                await asyncio.sleep(_backoff(attempt))
        else:
            live_from = await self.consumer.resume(owned)
        self._forget()
        self.assigned = True
        self._wake()
        return live_from

    async def _deliver(self, event: Any) -> None:
        await self.arrived.put(event)

    async def _live(self) -> None:
        """Joins the group, which may take as long as Kafka is away, and stays in it. Raises what ended that."""
        joining = asyncio.create_task(self.live.start())
        try:
            while not self.live.crashed:  # faust offers no event for it
                await asyncio.sleep(0.2)
                if joining.done():
                    joining.result()
        finally:
            await cancel_and_wait(joining)
        raise self.live.crashed

    def _forget(self) -> None:
        """What came live before may lie at the same places of a log that is no more; what counts is in the log."""
        while not self.arrived.empty():
            self.arrived.get_nowait()

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
        return 0 if await self.timer.once(self.partitions) else self.linger

    async def _sweep(self) -> float:
        before = self.consumer.cursors
        await asyncio.sleep(SWEEP)
        broken = self.consumer.broken.keys()
        self.ends = await self.consumer.sweep(before)
        if broken - self.consumer.broken.keys():
            self._forget()
        stored = await self.store.cursors(before.keys())
        if any(stored[tp] < at for tp, at in before.items()):
            self.consumer.unsure = True  # set back by an order: a quiet partition would not hear of it
        self._wake()
        self.timer.forget()
        return 0

    async def _orders(self) -> float:
        """Beside everything else: to say again all that was ever said takes its time."""
        return 0 if await self.orders.once(self.live.topics) else SWEEP

    async def _observe(self) -> float:
        """What waits, and how far the clocks are apart; asks nothing of Kafka: it may be Kafka that is away."""
        self.clocks_apart = abs((await self.store.machine_time() - machine_now()).total_seconds())
        metrics.CLOCKS_APART.labels(self.service).set(self.clocks_apart)
        await metrics.observe_worker(self.service, self.store, self.consumer.cursors, self.ends, self.clock().at)
        return SWEEP

    async def _consume(self) -> float:
        if self.paused:
            return SWEEP
        events = [await self.arrived.get()]
        if events[0] is not None:
            await asyncio.sleep(self.linger)
        events += [self.arrived.get_nowait() for _ in range(min(BATCH, self.arrived.qsize()))]
        events = [event for event in events if event is not None]
        try:
            if await self.consumer.take([event.message for event in events]):
                self._wake()
            self.fenced_in_a_row = 0
            metrics.FENCED_IN_A_ROW.labels(self.service).set(0)
            self.troubles.pop("fenced", None)
        except (CircuitOpen, NewerRules) as e:
            self.paused = repr(e)
            metrics.PAUSED.labels(self.service).set(1)
            log.error("paused", why=self.paused)
        except Fenced:
            self.fenced_in_a_row += 1
            metrics.FENCED.labels(self.service).inc()
            metrics.FENCED_IN_A_ROW.labels(self.service).set(self.fenced_in_a_row)
            if self.fenced_in_a_row >= FENCED_ALARM:
                self.troubles["fenced"] = f"{self.fenced_in_a_row} times without progress"
            self._wake()
            return self.linger
        except BaseException:
            self._wake()
            raise
        for event in events:
            event.ack()  # for whoever watches the group's lag; our cursors do not depend on it
        return 0


def _backoff(attempt: int) -> float:
    """Exponential with full jitter: 0.1 to 30 s."""
    return random.uniform(0.1, min(30.0, 0.1 * 2**attempt))
