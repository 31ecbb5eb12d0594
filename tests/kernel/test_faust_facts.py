"""Facts about faust that the consumer group relies on: one test per fact, so that an upgrade that changes it fails."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
from faust.exceptions import AlreadyConfiguredWarning
from faust.transport import consumer as faust_consumer
from faust.transport.drivers import aiokafka as driver
from kafka import KafkaAdminClient

from kernel.kafka import consumer_group
from kernel.kafka.consumer_group import ConsumerGroup
from kernel.kafka.relay import connect_producer
from peyvand.local_cluster.processes import listening
from tests.support.servers import Servers

pytestmark = pytest.mark.server
PARTITIONS = 4


Assigned = Callable[[], set[TopicPartition]]


class Group:
    """A consumer group with topics of its own."""

    def __init__(self, servers: Servers, topics: Collection[str]) -> None:
        self.servers, self.topics = servers, sorted(topics)
        self.members: list[Member] = []

    async def join(self, at: Mapping[TopicPartition, int] | None = None, **options: Any) -> "Member":
        """Start one more member, at these offsets or at the beginning."""
        member = Member(self, at or {}, f"m{len(self.members)}", **options)
        self.members.append(member)
        await member.consumer_group.start()
        return member

    async def publish(self, n: int, topic: int = 0) -> None:
        """Publish n records to each partition of one topic."""

        def send() -> None:
            producer = connect_producer(self.servers.kafka, "test")()
            for each in range(n):
                for partition in range(PARTITIONS):
                    producer.send(self.topics[topic], key=b"k", value=b"%d" % each, partition=partition)
            producer.flush(30)
            producer.close()

        await asyncio.to_thread(send)

    async def committed(self) -> dict[TopicPartition, int]:
        """Return the offsets that the group has committed to Kafka."""
        group = self.members[0].consumer_group.app.conf.id

        def read() -> dict[TopicPartition, int]:
            client = KafkaAdminClient(**self.servers.kafka.options())
            try:
                found = client.list_group_offsets(group)
                found = found.get(group, found)
                return {TopicPartition(tp.topic, tp.partition): at.offset for tp, at in found.items()}
            finally:
                client.close()

        return await asyncio.to_thread(read)

    async def size(self) -> int:
        """Return how many members the broker counts."""
        group = self.members[0].consumer_group.app.conf.id

        def read() -> int:
            client = KafkaAdminClient(**self.servers.kafka.options())
            try:
                return len(client.describe_groups([group])[group]["members"])
            finally:
                client.close()

        return await asyncio.to_thread(read)


class Member:
    """A member that records its assignments and events."""

    def __init__(
        self,
        group: Group,
        at: Mapping[TopicPartition, int],
        client_id: str,
        resume: Callable[[Assigned], Awaitable[Mapping[TopicPartition, int]]] | None = None,
        ack: bool = True,
    ) -> None:
        self.at, self.ack = at, ack
        self.assigned: list[set[TopicPartition]] = []
        self.revoked: list[set[TopicPartition]] = []
        self.events: list[Any] = []
        self.consumer_group = ConsumerGroup(
            group.topics[0],
            group.topics,
            group.servers.kafka,
            client_id,
            resume=resume or self.resume,
            revoked=self.revoked.append,
            deliver=self.deliver,
        )

    async def resume(self, assigned: Assigned) -> Mapping[TopicPartition, int]:
        """Return the offsets from which to continue."""
        self.assigned.append(owned := assigned())
        return {tp: self.at.get(tp, 0) for tp in owned}

    async def deliver(self, event: Any) -> None:
        """Record an event."""
        self.events.append(event)
        if self.ack:
            event.ack()

    @property
    def positions(self) -> list[tuple[str, int, int]]:
        """Return topic, partition and offset of each event."""
        return [(e.message.topic, e.message.partition, e.message.offset) for e in self.events]


async def until(holds: Callable[[], Any], within: float = 90) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"the condition does not hold within {within:.0f} s"
        await asyncio.sleep(0.05)


@pytest.fixture
async def group(servers: Servers) -> AsyncIterator[Group]:
    """Create a group with two topics and no members."""
    group = Group(servers, [await servers.topic(partitions=PARTITIONS) for _ in range(2)])
    yield group
    for member in group.members:
        await member.consumer_group.stop()


async def test_consuming_starts_at_our_offsets_after_an_assignment(group: Group) -> None:
    """`perform_seek` of the transport's consumer is called after each assignment; nothing seeks after it."""
    await group.publish(10)
    tps = [TopicPartition(group.topics[0], p) for p in range(PARTITIONS)]
    member = await group.join({tps[0]: 0, tps[1]: 5, tps[2]: 10, tps[3]: 9})
    await until(lambda: len(member.events) >= 16)
    await asyncio.sleep(0.3)
    by = {tp: [o for t, p, o in member.positions if (t, p) == tp] for tp in tps}
    assert [by[tp] for tp in tps] == [list(range(10)), list(range(5, 10)), [], [9]]
    assert member.assigned[-1] == {TopicPartition(t, p) for t in group.topics for p in range(PARTITIONS)}


async def test_offsets_are_committed_after_a_forward_seek(group: Group) -> None:
    """Only because `_read_offset`, `_committed_offset`, `_acked` and `_acked_index` are set when we seek."""
    await group.publish(10)
    tps = [TopicPartition(group.topics[0], p) for p in range(PARTITIONS)]
    member = await group.join(dict.fromkeys(tps, 7))
    await until(lambda: len(member.events) == 12)
    for _ in range(600):
        if [(await group.committed()).get(tp) for tp in tps] == [10] * PARTITIONS:
            break
        await asyncio.sleep(0.1)
    found = await group.committed()
    assert [found.get(tp) for tp in tps] == [10] * PARTITIONS


async def test_reading_events_does_not_acknowledge_them(group: Group) -> None:
    """`noack().events()`: nothing is committed before `ack`."""
    member = await group.join(ack=False)
    await group.publish(5)
    await until(lambda: len(member.events) == 20)
    await asyncio.sleep(1.5)
    assert not any(at > 0 for at in (await group.committed()).values())
    assert not any(event.message.acked for event in member.events)


async def test_members_share_partition_numbers_and_a_leaving_one_is_replaced_at_once(group: Group) -> None:
    """A member has the same numbers of all topics; one that stops leaves the group without waiting for a timeout."""
    one = await group.join()
    await until(lambda: one.assigned)
    two = await group.join()
    await until(lambda: two.assigned and two.assigned[-1] and len(one.assigned[-1]) < 2 * PARTITIONS)
    numbers = [{tp.partition for tp in each.assigned[-1]} for each in (one, two)]
    assert not numbers[0] & numbers[1] and numbers[0] | numbers[1] == set(range(PARTITIONS))
    for each, own in zip((one, two), numbers, strict=True):
        assert each.assigned[-1] == {TopicPartition(t, p) for t in group.topics for p in own}
    assert set().union(*one.revoked) >= {TopicPartition(t, p) for t in group.topics for p in numbers[1]}
    assert await group.size() == 2
    await two.consumer_group.stop()
    assert await group.size() == 1, "a member that the broker misses is one of the group until its session ends"
    await until(lambda: len(one.assigned[-1]) == 2 * PARTITIONS)


async def test_a_rebalance_during_resume_calls_it_again(group: Group) -> None:
    """Otherwise a seek in partitions that are revoked by then would end the member."""
    resuming = asyncio.Event()

    async def slow(assigned: Assigned) -> Mapping[TopicPartition, int]:
        one.assigned.append(owned := assigned())
        if not resuming.is_set():
            resuming.set()
            with suppress(asyncio.CancelledError):  # faust cancels us then, maybe too late
                await until(lambda: len(one.consumer_group.app.consumer.assignment()) == PARTITIONS)
        return dict.fromkeys(owned, 0)

    joining = asyncio.create_task(group.join(resume=slow))
    await until(lambda: group.members)
    one = group.members[0]
    await until(resuming.is_set)
    two = await group.join()
    await until(lambda: len(one.assigned[-1]) == PARTITIONS and two.assigned and len(two.assigned[-1]) == PARTITIONS)
    assert len(one.assigned[0]) == 2 * PARTITIONS and not one.assigned[-1] & two.assigned[-1]
    await joining
    await group.publish(1)
    await until(lambda: len(one.events) + len(two.events) == PARTITIONS)
    assert not one.consumer_group.crashed


async def test_a_resume_may_take_longer_than_a_request(group: Group) -> None:
    """Otherwise faust would give up after one request's time-out and never resume any later assignment."""
    slow = asyncio.Event()

    async def resume(assigned: Assigned) -> Mapping[TopicPartition, int]:
        if slow.is_set():
            await asyncio.sleep(2)
        return dict.fromkeys(assigned(), 0)

    first = await group.join(resume=resume)
    with pytest.warns(AlreadyConfiguredWarning):
        first.consumer_group.app.conf.broker_request_timeout = 0.5
    slow.set()
    second = await group.join()
    await until(lambda: second.assigned)
    await asyncio.sleep(4)
    await group.publish(1)
    await until(lambda: {p for _, p, _ in first.positions + second.positions} == set(range(PARTITIONS)))
    slow.clear()
    group.members.remove(second)
    await second.consumer_group.stop()
    await group.publish(1)
    await until(lambda: {p for _, p, offset in first.positions if offset == 1} == set(range(PARTITIONS)))


async def test_an_error_in_resume_crashes_the_member(group: Group) -> None:
    """faust would take the exception for another rebalance and then do nothing for ever."""

    async def broken(assigned: Assigned) -> Mapping[TopicPartition, int]:
        raise ZeroDivisionError

    member = await group.join(resume=broken)
    await until(lambda: member.consumer_group.crashed)
    assert isinstance(member.consumer_group.crashed, ZeroDivisionError)


async def test_a_member_whose_coordination_ended_is_reported(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka's coordination ends if a broker that has just started lists no brokers; faust does not notice."""
    look = AIOKafkaClient.coordinator_lookup

    async def lookup(self: Any, kind: Any, name: str) -> Any:
        assert not ended, "Did we not perform bootstrap?"
        return await look(self, kind, name)

    monkeypatch.setattr(AIOKafkaClient, "coordinator_lookup", lookup)
    ended = True
    joining = asyncio.create_task(group.join())
    await until(lambda: group.members and group.members[0].consumer_group.crashed)
    member = group.members[0]
    assert (
        "bootstrap" in repr(member.consumer_group.crashed)
        and not member.consumer_group.app.crashed
        and not member.assigned
    )
    assert not joining.done(), "joining ends only with an assignment"
    joining.cancel()
    ended = False
    other = await group.join()
    await until(lambda: other.assigned)
    assert other.consumer_group.crashed is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # raised again at the end
async def test_a_member_whose_metadata_task_ended_is_reported(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error ends aiokafka's loop that fetches metadata; what waits for it then waits for ever."""
    member = await group.join()
    await until(lambda: member.assigned)
    assert member.consumer_group.crashed is None

    async def broken(*_: Any) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(AIOKafkaClient, "_metadata_update", broken)
    await until(lambda: member.consumer_group.crashed)
    assert isinstance(member.consumer_group.crashed, ZeroDivisionError) and not member.consumer_group.app.crashed


async def test_a_member_that_is_stopped_during_a_rebalance_ends(group: Group) -> None:
    """faust would close aiokafka's connections from another thread, and then wait for aiokafka for ever."""
    one = await group.join()
    await until(lambda: one.assigned)
    one.consumer_group.app._stopped.set()  # stopped, and before it leaves another member joins
    other = await group.join()
    await until(lambda: other.assigned)
    one.consumer_group.app._stopped.clear()
    thread: Any = one.consumer_group.app.consumer._thread  # type: ignore[attr-defined]
    assert not thread._consumer._closed and not thread._consumer._client._sync_task.done()
    await one.consumer_group.stop()
    assert thread._shutdown.is_set() and not thread._thread.is_alive()
    await until(lambda: len(other.assigned[-1]) == 2 * PARTITIONS)


async def test_a_member_that_cannot_leave_does_not_delay_the_process(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread does not keep the process alive, and leaving ends after LEAVE_TIMEOUT."""
    monkeypatch.setattr(consumer_group, "LEAVE_TIMEOUT", 0.5)
    member = await group.join()
    await until(lambda: member.assigned)
    thread: Any = member.consumer_group.app.consumer._thread  # type: ignore[attr-defined]
    assert thread._thread.daemon

    original, may_stop = thread.on_thread_stop, threading.Event()

    async def slow() -> None:
        while not may_stop.is_set():  # noqa: ASYNC110  it belongs to another thread
            await asyncio.sleep(0.05)
        await original()

    thread.on_thread_stop = slow
    await asyncio.wait_for(member.consumer_group.stop(), 60)
    assert thread._thread.is_alive()
    may_stop.set()
    await until(lambda: not thread._thread.is_alive())


async def test_no_port_is_opened_and_no_topic_is_created(group: Group) -> None:
    """faust's web server is not started; only the admin command creates topics."""
    assert not listening(6066), "the port is in use: this test would show nothing"
    member = await group.join()
    await until(lambda: member.assigned)
    assert not listening(6066)
    client = AIOKafkaConsumer(**group.servers.kafka.options())
    await client.start()
    created = [t for t in await client.topics() if member.consumer_group.app.conf.id in t]
    await client.stop()
    assert not created


async def test_another_set_of_topics_has_another_group(servers: Servers) -> None:
    """Topics are assigned together only while all members consume the same ones."""

    async def nothing(_: Any) -> Any:
        return {}

    def id_of(topics: Collection[str]) -> str:
        consumer_group = ConsumerGroup(
            "s", topics, servers.kafka, "c", resume=nothing, revoked=lambda gone: None, deliver=nothing
        )
        return str(consumer_group.app.conf.id)

    assert id_of(["peyvand.a", "peyvand.b"]) == id_of(["peyvand.b", "peyvand.a"]) == "peyvand.s.a+b"
    assert id_of(["peyvand.a"]) != id_of(["peyvand.a", "peyvand.b"])


def test_the_internals_that_we_set_exist() -> None:
    """If one was renamed, what we set would have no effect."""
    fields = faust_consumer.Consumer.__annotations__
    assert {"_acked", "_acked_index", "_read_offset", "_committed_offset"} <= fields.keys()
    assert driver.Transport.Consumer is driver.Consumer
    assert {"perform_seek", "seek_wait", "assignment"} <= set(dir(driver.Consumer))
