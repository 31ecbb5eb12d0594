"""Facts about faust that the consumer group relies on, one test a fact, so that an upgrade that changes one fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient
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


class Group:
    """Members of one group on topics of their own."""

    def __init__(self, servers: Servers, topics: Collection[str]) -> None:
        self.servers, self.topics = servers, sorted(topics)
        self.members: list[Member] = []

    async def join(self, at: Mapping[TopicPartition, int] | None = None, **options: Any) -> "Member":
        """One more, at these offsets or at the beginning."""
        member = Member(self, at or {}, f"m{len(self.members)}", **options)
        self.members.append(member)
        await member.live.start()
        return member

    async def say(self, n: int, topic: int = 0) -> None:
        """That many events into each partition of one topic."""

        def send() -> None:
            producer = connect_producer(self.servers.kafka, "test")()
            for each in range(n):
                for partition in range(PARTITIONS):
                    producer.send(self.topics[topic], key=b"k", value=b"%d" % each, partition=partition)
            producer.flush(30)
            producer.close()

        await asyncio.to_thread(send)

    async def committed(self) -> dict[TopicPartition, int]:
        """What Kafka takes the group's positions for."""
        group = self.members[0].live.app.conf.id

        def ask() -> dict[TopicPartition, int]:
            client = KafkaAdminClient(bootstrap_servers=self.servers.kafka)
            try:
                found = client.list_group_offsets(group)
                found = found.get(group, found)
                return {TopicPartition(tp.topic, tp.partition): at.offset for tp, at in found.items()}
            finally:
                client.close()

        return await asyncio.to_thread(ask)


class Member:
    """One that notes what faust tells it."""

    def __init__(
        self,
        group: Group,
        at: Mapping[TopicPartition, int],
        client_id: str,
        resume: Callable[[set[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]] | None = None,
        ack: bool = True,
    ) -> None:
        self.at, self.ack = at, ack
        self.assigned: list[set[TopicPartition]] = []
        self.revoked: list[set[TopicPartition]] = []
        self.events: list[Any] = []
        self.live = ConsumerGroup(
            group.topics[0],
            group.topics,
            group.servers.kafka,
            client_id,
            resume=resume or self.resume,
            revoked=self.revoked.append,
            deliver=self.deliver,
        )

    async def resume(self, owned: set[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Where it shall stand."""
        self.assigned.append(owned)
        return {tp: self.at.get(tp, 0) for tp in owned}

    async def deliver(self, event: Any) -> None:
        """An event."""
        self.events.append(event)
        if self.ack:
            event.ack()

    @property
    def places(self) -> list[tuple[str, int, int]]:
        """Where the events lay."""
        return [(e.message.topic, e.message.partition, e.message.offset) for e in self.events]


async def until(holds: Callable[[], Any], within: float = 40) -> None:
    """Waits until it holds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, "it does not come to hold"
        await asyncio.sleep(0.05)


@pytest.fixture
async def group(servers: Servers) -> AsyncIterator[Group]:
    """Two topics, nobody listening yet."""
    group = Group(servers, [await servers.topic(partitions=PARTITIONS) for _ in range(2)])
    yield group
    for member in group.members:
        await member.live.stop()


async def test_it_stands_where_we_say_after_an_assignment(group: Group) -> None:
    """`perform_seek` of the transport's consumer is the seam: called after each assignment, and the last word."""
    await group.say(10)
    tps = [TopicPartition(group.topics[0], p) for p in range(PARTITIONS)]
    member = await group.join({tps[0]: 0, tps[1]: 5, tps[2]: 10, tps[3]: 9})
    await until(lambda: len(member.events) >= 16)
    await asyncio.sleep(0.3)
    by = {tp: [o for t, p, o in member.places if (t, p) == tp] for tp in tps}
    assert [by[tp] for tp in tps] == [list(range(10)), list(range(5, 10)), [], [9]]
    assert member.assigned[-1] == {TopicPartition(t, p) for t in group.topics for p in range(PARTITIONS)}


async def test_it_commits_again_after_we_moved_it_forward(group: Group) -> None:
    """Only since `_read_offset`, `_committed_offset`, `_acked` and `_acked_index` are set where we seek."""
    await group.say(10)
    tps = [TopicPartition(group.topics[0], p) for p in range(PARTITIONS)]
    member = await group.join(dict.fromkeys(tps, 7))
    await until(lambda: len(member.events) == 12)
    for _ in range(100):
        if (await group.committed()).get(tps[0]) == 10:
            break
        await asyncio.sleep(0.1)
    found = await group.committed()
    assert [found.get(tp) for tp in tps] == [10] * PARTITIONS


async def test_events_are_not_acked_by_reading_them(group: Group) -> None:
    """`noack().events()`: nothing is committed before we say so."""
    member = await group.join(ack=False)
    await group.say(5)
    await until(lambda: len(member.events) == 20)
    await asyncio.sleep(1.5)
    assert not any(at > 0 for at in (await group.committed()).values())
    assert not any(event.message.acked for event in member.events)


async def test_two_members_share_numbers_and_a_leaver_is_replaced_at_once(group: Group) -> None:
    """The same numbers of all topics; whoever stops leaves the group, and does not wait for a timeout."""
    one = await group.join()
    await until(lambda: one.assigned)
    two = await group.join()
    await until(lambda: two.assigned and two.assigned[-1] and len(one.assigned[-1]) < 2 * PARTITIONS)
    numbers = [{tp.partition for tp in each.assigned[-1]} for each in (one, two)]
    assert not numbers[0] & numbers[1] and numbers[0] | numbers[1] == set(range(PARTITIONS))
    for each, own in zip((one, two), numbers, strict=True):
        assert each.assigned[-1] == {TopicPartition(t, p) for t in group.topics for p in own}
    assert set().union(*one.revoked) >= {TopicPartition(t, p) for t in group.topics for p in numbers[1]}
    left = time.monotonic()
    await two.live.stop()
    await until(lambda: len(one.assigned[-1]) == 2 * PARTITIONS)
    assert time.monotonic() - left < 9  # the session timeout is 10


async def test_what_was_shared_out_anew_while_we_looked_is_asked_for_again(group: Group) -> None:
    """Else the seek to what is another's by then would end the member."""
    looking = asyncio.Event()

    async def slow(owned: set[TopicPartition]) -> Mapping[TopicPartition, int]:
        one.assigned.append(owned)
        if not looking.is_set():
            looking.set()
            with suppress(asyncio.CancelledError):  # faust ends us then, and may come too late
                await until(lambda: len(one.live.app.consumer.assignment()) == PARTITIONS)
        return dict.fromkeys(owned, 0)

    joining = asyncio.create_task(group.join(resume=slow))
    await until(lambda: group.members)
    one = group.members[0]
    await until(looking.is_set)
    two = await group.join()
    await until(lambda: len(one.assigned[-1]) == PARTITIONS and two.assigned and len(two.assigned[-1]) == PARTITIONS)
    assert len(one.assigned[0]) == 2 * PARTITIONS and not one.assigned[-1] & two.assigned[-1]
    await joining
    await group.say(1)
    await until(lambda: len(one.events) + len(two.events) == PARTITIONS)
    assert not one.live.crashed


async def test_trouble_in_our_seam_is_not_swallowed(group: Group) -> None:
    """faust takes an exception there for one more rebalance and then does nothing for ever: we crash it."""

    async def broken(owned: set[TopicPartition]) -> Mapping[TopicPartition, int]:
        raise ZeroDivisionError

    member = await group.join(resume=broken)
    await until(lambda: member.live.crashed)
    assert isinstance(member.live.crashed, ZeroDivisionError)


async def test_a_member_that_fell_out_of_the_group_is_told(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka's coordination ends where a broker that has just begun names no broker; faust never hears of it."""
    look = AIOKafkaClient.coordinator_lookup

    async def lookup(self: Any, kind: Any, name: str) -> Any:
        assert not falls, "Did we not perform bootstrap?"
        return await look(self, kind, name)

    monkeypatch.setattr(AIOKafkaClient, "coordinator_lookup", lookup)
    falls = True
    joining = asyncio.create_task(group.join())
    await until(lambda: group.members and group.members[0].live.crashed)
    member = group.members[0]
    assert "bootstrap" in repr(member.live.crashed) and not member.live.app.crashed and not member.assigned
    assert not joining.done(), "joining ends only with an assignment"
    joining.cancel()
    falls = False
    other = await group.join()
    await until(lambda: other.assigned)
    assert other.live.crashed is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is met again at the end
async def test_a_member_that_looks_at_topics_no_more_is_told(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka's loop that asks for metadata ends with what nobody foresaw, and whoever waits for it waits for ever."""
    member = await group.join()
    await until(lambda: member.assigned)
    assert member.live.crashed is None

    async def broken(*_: Any) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(AIOKafkaClient, "_metadata_update", broken)
    await until(lambda: member.live.crashed)
    assert isinstance(member.live.crashed, ZeroDivisionError) and not member.live.app.crashed


async def test_told_to_end_while_the_group_is_shared_out_it_ends(group: Group) -> None:
    """faust would close aiokafka's connections there, from another thread, and then wait for ever for aiokafka."""
    one = await group.join()
    await until(lambda: one.assigned)
    one.live.app._stopped.set()  # told to end, and before it begins to leave somebody comes
    other = await group.join()
    await until(lambda: other.assigned)
    one.live.app._stopped.clear()
    thread: Any = one.live.app.consumer._thread  # type: ignore[attr-defined]
    assert not thread._consumer._closed and not thread._consumer._client._sync_task.done()
    await one.live.stop()
    assert thread._shutdown.is_set() and not thread._thread.is_alive()
    await until(lambda: len(other.assigned[-1]) == 2 * PARTITIONS)


async def test_a_member_that_cannot_leave_does_not_hold_up_the_process(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread keeps no process alive, and leaving ends after `LEAVING`."""
    monkeypatch.setattr(consumer_group, "LEAVING", 0.5)
    member = await group.join()
    await until(lambda: member.assigned)
    thread: Any = member.live.app.consumer._thread  # type: ignore[attr-defined]
    assert thread._thread.daemon

    honest = thread.on_thread_stop

    async def slow() -> None:
        await asyncio.sleep(2)
        await honest()

    thread.on_thread_stop = slow
    began = time.monotonic()
    await member.live.stop()
    assert time.monotonic() - began < 2 and thread._thread.is_alive()
    await until(lambda: not thread._thread.is_alive())


async def test_it_opens_no_port_and_makes_no_topic(group: Group) -> None:
    """Started from code, without its web server; topics are made by the admin command alone."""
    assert not listening(6066), "somebody else listens there: this test can say nothing"
    member = await group.join()
    await until(lambda: member.assigned)
    assert not listening(6066)
    client = AIOKafkaConsumer(bootstrap_servers=group.servers.kafka)
    await client.start()
    made = [t for t in await client.topics() if member.live.app.conf.id in t]
    await client.stop()
    assert not made


async def test_another_set_of_topics_is_another_group(servers: Servers) -> None:
    """Co-subscribed topics go together only while all members hear the same."""

    async def nothing(_: Any) -> Any:
        return {}

    def id_of(topics: Collection[str]) -> str:
        live = ConsumerGroup(
            "s", topics, servers.kafka, "c", resume=nothing, revoked=lambda gone: None, deliver=nothing
        )
        return str(live.app.conf.id)

    assert id_of(["peyvand.a", "peyvand.b"]) == id_of(["peyvand.b", "peyvand.a"]) == "peyvand.s.a+b"
    assert id_of(["peyvand.a"]) != id_of(["peyvand.a", "peyvand.b"])


def test_the_internals_that_we_set_are_those_it_reads() -> None:
    """Names: a rename would turn our settings into notes that nobody reads."""
    fields = faust_consumer.Consumer.__annotations__
    assert {"_acked", "_acked_index", "_read_offset", "_committed_offset"} <= fields.keys()
    assert driver.Transport.Consumer is driver.Consumer
    assert {"perform_seek", "seek_wait", "assignment"} <= set(dir(driver.Consumer))
