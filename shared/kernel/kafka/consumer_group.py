"""What is live, and who owns which partition: faust, and every one of its internals that we rely on.

faust's acknowledgements are never trusted: a batch's cursor is the only position. `tests/kernel/test_faust_facts.py`
holds one test per fact used here, so that an upgrade that changes it fails.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any

import faust
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.threads import WorkerThread

SESSION_TIMEOUT = 10.0  # seconds after which a dead worker's partitions go to another

REBALANCE_TIMEOUT = 12.0  # seconds that members have to come when the group is shared out anew

TOPICS_AGE = 15.0  # seconds after which a topic that was deleted and made anew is shared out again; aiokafka's: 300

LEAVING = 10.0  # seconds in which a member leaves the group; Kafka notices one that did not after `SESSION_TIMEOUT`

log = structlog.get_logger(__name__)


class ConsumerGroup:
    """The consumer group of one service: it shares out the partitions and brings what is new."""

    def __init__(
        self,
        service: str,
        topics: Collection[str],
        bootstrap: str,
        client_id: str,
        *,
        resume: Callable[[set[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]],
        revoked: Callable[[set[TopicPartition]], None],
        deliver: Callable[[Any], Awaitable[None]],
    ) -> None:
        """`resume` gets all we own after an assignment and says from where it is live; `deliver` gets each event."""
        self.topics, self.resume, self.revoked, self.deliver = tuple(topics), resume, revoked, deliver
        # Co-subscribed topics go together only while all members hear the same: to hear another is another group.
        # Named after the country as well: two of them on one cluster must not wait for each other's members.
        country, heard = self.topics[0].rpartition(".")[0], sorted(t.rpartition(".")[2] for t in self.topics)
        group = f"{country}.{service}.{'+'.join(heard)}"
        self.app = faust.App(
            group,
            broker=f"kafka://{bootstrap}",
            broker_client_id=client_id,
            broker_session_timeout=SESSION_TIMEOUT,
            broker_heartbeat_interval=3.0,
            # 60 and 90 s: as long would a connection that stays silent for ever hold up a rebalance.
            broker_rebalance_timeout=REBALANCE_TIMEOUT,
            broker_request_timeout=REBALANCE_TIMEOUT + 3,
            consumer_metadata_max_age_ms=int(TOPICS_AGE * 1000),
            topic_allow_declare=False,
            topic_disable_leader=True,
            stream_wait_empty=False,
            web_enabled=False,
            autodiscover=False,
        )
        self.app.transport = self._transport()
        self.app._create_directories = lambda: None  # type: ignore[method-assign]  # of tables, which we have none of
        # Else a member that is told to end while the group is shared out has its connections closed under it, from
        # another thread, and never ends: aiokafka waits for what nobody brings any more.
        self.app._on_rebalance_when_stopped = lambda: None  # type: ignore[method-assign]
        self.app.agent(
            self.app.topic(
                *self.topics, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
            ),
            name="live",
        )(self._agent)
        self.app.on_partitions_revoked.connect(self._on_revoked, weak=False)  # type: ignore[arg-type]

    async def start(self) -> None:
        """Joins the group; returns after the first assignment."""
        self.app.finalize()
        await self.app.start()

    async def stop(self) -> None:
        """Leaves the group, so that its partitions go to others at once; one that cannot is left to its time-out."""
        leaving = asyncio.create_task(self.app.stop())
        done, _ = await asyncio.wait({leaving}, timeout=LEAVING)
        if not done:
            log.error("not_left", why=f"faust did not end within {LEAVING} s")
        for task in done:
            task.result()

    @property
    def crashed(self) -> BaseException | None:
        """What ended faust, or this member's part in the group, if something did."""
        reason: BaseException | None = self.app.crash_reason if self.app.crashed else self._fallen_out()
        return reason

    def _fallen_out(self) -> BaseException | None:
        """What ended aiokafka's coordination, or its looking at topics: nothing is ever assigned again without them.

        A broker that has just begun may know no broker: aiokafka takes it for a mistake of ours, and faust asks a
        member without partitions for no events and so never hears of it. Seen in a storm.
        """
        member: Any = getattr(getattr(self.app._consumer, "_thread", None), "_consumer", None)
        coordinating = getattr(getattr(member, "_coordinator", None), "_coordination_task", None)
        looking = getattr(getattr(member, "_client", None), "_sync_task", None)
        ended = [task for task in (coordinating, looking) if task is not None and task.done() and not task.cancelled()]
        return next((task.exception() for task in ended), None)

    async def _agent(self, stream: Any) -> None:
        async for event in stream.noack().events():
            await self.deliver(event)

    async def _on_revoked(self, app: faust.App, revoked: Iterable[TP], **_: Any) -> None:
        self.revoked({TopicPartition(*tp) for tp in revoked})

    async def _resume(self) -> None:
        owned: set[TopicPartition] = set()
        try:
            owned = self._owned()
            await self._continue_from(await self.resume(owned))
        except Exception as e:  # faust would take it for one more rebalance, and do nothing for ever
            if isinstance(e, IllegalStateError) and owned != self._owned():
                return  # shared out anew while we looked: we are asked again, for what is ours by then
            await self.app.crash(e)

    def _owned(self) -> set[TopicPartition]:
        return {TopicPartition(*tp) for tp in self.app.consumer.assignment() if tp.topic in self.topics}

    async def _continue_from(self, offsets: Mapping[TopicPartition, int]) -> None:
        consumer: Any = self.app.consumer
        await consumer.seek_wait(offsets)  # `seek` reaches into the consumer thread's client from this one
        for tp, offset in offsets.items():
            # else faust never commits after a forward seek, and its list of acks only grows
            consumer._read_offset[tp] = consumer._committed_offset[tp] = offset
            consumer._acked[tp].clear()
            consumer._acked_index[tp].clear()

    def _transport(self) -> driver.Transport:
        """faust's own, but for where it stands after an assignment: at our cursors, not at Kafka's offsets."""
        live = self

        class Daemon(WorkerThread):
            """It keeps no process alive that has ended: whoever is not gone is not started anew."""

            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                self.daemon = True

        class AtCursors(driver.Consumer):
            def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
                thread = super()._new_consumer_thread()
                thread.Worker = Daemon
                return thread

            async def perform_seek(self) -> None:
                await live._resume()

        class Transport(driver.Transport):
            Consumer = AtCursors

        return Transport(self.app.conf.broker_consumer, self.app)
