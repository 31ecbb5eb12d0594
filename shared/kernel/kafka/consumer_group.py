"""The consumer group: faust assigns partitions and delivers the live stream. All use of faust's internals is here.

faust's acknowledgements are never trusted: the cursor is the only position. `tests/kernel/test_faust_facts.py` has one
test per fact relied upon here, so that an upgrade that changes it fails.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any

import faust
import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.threads import WorkerThread

from base.kafka_access import MECHANISM, KafkaAccess
from kernel.kafka.unreadable_batches import skip_unreadable_batches

SESSION_TIMEOUT = 10.0  # seconds after which a dead worker's partitions are reassigned
REBALANCE_TIMEOUT = 12.0  # seconds in which members must join when the group rebalances
METADATA_AGE = 15.0  # seconds after which a recreated topic is assigned again; aiokafka's default is 300
LEAVE_TIMEOUT = 10.0  # seconds in which a member leaves; Kafka notices one that did not after SESSION_TIMEOUT

log = structlog.get_logger(__name__)


class ConsumerGroup:
    """A member of the consumer group of one service: gets partitions assigned and events delivered."""

    def __init__(
        self,
        name: str,
        topics: Collection[str],
        kafka: KafkaAccess,
        client_id: str,
        *,
        resume: Callable[[Callable[[], set[TopicPartition]]], Awaitable[Mapping[TopicPartition, int]]],
        revoked: Callable[[set[TopicPartition]], None],
        deliver: Callable[[Any], Awaitable[None]],
    ) -> None:
        """`name` is that of the service, or of its generation.

        `resume` takes over an assignment, `revoked` gets partitions that were taken away, `deliver` each event.
        `resume` may be called while an earlier call is still running. It gets a function that returns what is assigned
        now, and returns where the live stream starts.
        """
        skip_unreadable_batches()
        self.topics, self.resume, self.revoked, self.deliver = tuple(topics), resume, revoked, deliver
        self.kafka = kafka
        # Topics are assigned together only while all members consume the same ones: another topic is another group.
        # The prefix of the topics is part of the name: two systems on one cluster have groups of their own.
        prefix, producers = self.topics[0].rpartition(".")[0], sorted(t.rpartition(".")[2] for t in self.topics)
        group = f"{prefix}.{name}.{'+'.join(producers)}"
        self.app = faust.App(
            group,
            broker=[f"kafka://{each.strip()}" for each in kafka.bootstrap.split(",")],
            broker_credentials=_credentials(kafka),
            broker_client_id=client_id,
            broker_session_timeout=SESSION_TIMEOUT,
            broker_heartbeat_interval=3.0,
            # The defaults are 60 and 90 s: for so long a silent connection would delay a rebalance.
            broker_rebalance_timeout=REBALANCE_TIMEOUT,
            broker_request_timeout=REBALANCE_TIMEOUT + 3,
            consumer_metadata_max_age_ms=int(METADATA_AGE * 1000),
            topic_allow_declare=False,
            topic_disable_leader=True,
            stream_wait_empty=False,
            web_enabled=False,
            autodiscover=False,
        )
        self.app.transport = self._transport()
        self.app._create_directories = lambda: None  # type: ignore[method-assign]  # for tables, which we do not use
        # Otherwise a member that stops during a rebalance has its connections closed from another thread and never
        # ends: aiokafka waits for metadata for ever.
        self.app._on_rebalance_when_stopped = lambda: None  # type: ignore[method-assign]
        # Otherwise faust gives up where `resume` takes longer than one request, and never resumes an assignment again.
        recovery: Any = self.app.tables.recovery  # type: ignore[attr-defined]
        recovery._wait = lambda coro, timeout=None, wait=recovery._wait: wait(coro)
        self.app.agent(
            self.app.topic(
                *self.topics, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
            ),
            name="live",
        )(self._agent)
        self.app.on_partitions_revoked.connect(self._on_revoked, weak=False)  # type: ignore[arg-type]

    async def start(self) -> None:
        """Join the group; return after the first assignment."""
        self.app.finalize()
        await self.app.start()

    async def stop(self) -> None:
        """Leave the group, so that its partitions are reassigned at once. A member that cannot leave times out."""
        leaving = asyncio.create_task(self.app.stop())
        done, _ = await asyncio.wait({leaving}, timeout=LEAVE_TIMEOUT)
        if not done:
            log.error("consumer group not left: faust did not stop", seconds=LEAVE_TIMEOUT)
        for task in done:
            task.result()

    @property
    def crashed(self) -> BaseException | None:
        """Return what ended faust or this member's participation in the group, if anything did."""
        return self.app.crash_reason if self.app.crashed else self._lost_coordination()

    async def owned_by_broker(self) -> frozenset[TopicPartition] | None:
        """Return what this member owns according to the broker; None while it belongs to no stable group.

        Asked on a connection of its own: what the member itself believes is what is to be checked. Raise KafkaError.
        """
        member: Any = getattr(self._member, "_coordinator", None)
        if member is None or not member.member_id:
            return None
        client = AIOKafkaAdminClient(**self.kafka.options(), request_timeout_ms=5_000)
        try:
            await client.start()
            (response,) = await client.describe_consumer_groups([self.app.conf.id])
        finally:
            await client.close()
        for _, _, state, _, _, members, *_ in response.groups:
            for name, _, _, _, assignment in members:
                if state == "Stable" and name == member.member_id and assignment:
                    return frozenset(ConsumerProtocolMemberAssignment.decode(assignment).partitions())
        return None

    @property
    def _member(self) -> Any:
        return getattr(getattr(self.app._consumer, "_thread", None), "_consumer", None)

    def _lost_coordination(self) -> BaseException | None:
        """Return what ended aiokafka's coordination or metadata task: without them nothing is ever assigned again.

        A broker that has just started may report no brokers, which ends these tasks; faust does not poll a member
        without partitions and so never notices. Seen in a chaos run.
        """
        member = self._member
        coordination = getattr(getattr(member, "_coordinator", None), "_coordination_task", None)
        metadata = getattr(getattr(member, "_client", None), "_sync_task", None)
        ended = [task for task in (coordination, metadata) if task is not None and task.done() and not task.cancelled()]
        return next((task.exception() for task in ended), None)

    async def _agent(self, stream: Any) -> None:
        async for event in stream.noack().events():
            await self.deliver(event)

    async def _on_revoked(self, app: faust.App, revoked: Iterable[TP], **_: Any) -> None:
        self.revoked({TopicPartition(*tp) for tp in revoked})

    async def _resume(self) -> None:
        offsets: Mapping[TopicPartition, int] = {}
        try:
            offsets = await self.resume(self._owned)
            await self._continue_from(offsets)
        except Exception as e:  # faust would take it for another rebalance and then do nothing for ever
            if isinstance(e, IllegalStateError) and not offsets.keys() <= self._owned():
                return  # reassigned meanwhile: this is called again for the new assignment
            await self.app.crash(e)

    def _owned(self) -> set[TopicPartition]:
        return {TopicPartition(*tp) for tp in self.app.consumer.assignment() if tp.topic in self.topics}

    async def _continue_from(self, offsets: Mapping[TopicPartition, int]) -> None:
        consumer: Any = self.app.consumer
        await consumer.seek_wait(offsets)  # `seek` uses the client of another thread
        for tp, offset in offsets.items():
            # otherwise faust never commits after a forward seek, and its list of acks only grows
            consumer._read_offset[tp] = consumer._committed_offset[tp] = offset
            consumer._acked[tp].clear()
            consumer._acked_index[tp].clear()

    def _transport(self) -> driver.Transport:
        """Return faust's transport, which after an assignment seeks to our cursors instead of Kafka's offsets."""
        group = self

        class Daemon(WorkerThread):
            """A daemon thread: it must not keep a process alive that has failed and is to be restarted."""

            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                self.daemon = True

        class AtCursors(driver.Consumer):
            def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
                thread = super()._new_consumer_thread()
                thread.Worker = Daemon
                return thread

            async def perform_seek(self) -> None:
                await group._resume()

        class Transport(driver.Transport):
            Consumer = AtCursors

        return Transport(self.app.conf.broker_consumer, self.app)


def _credentials(kafka: KafkaAccess) -> faust.SASLCredentials | None:
    """Return the access as faust takes it; None for plaintext."""
    if not kafka.user:
        return None
    return faust.SASLCredentials(
        username=kafka.user, password=kafka.password, ssl_context=kafka.tls(), mechanism=MECHANISM
    )
