"""The relay publishes events in order per subject, and again whatever Kafka did not acknowledge."""

import asyncio
import gc
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError

import kernel.kafka.relay as relay_module
from base.kafka_access import KafkaAccess
from contracts.envelope import decode
from contracts.subjects import partition_of
from kernel.commands import execute
from kernel.errors import Transient
from kernel.kafka.failed_connections import close_failed_connections
from kernel.kafka.relay import Relay
from kernel.stores.memory import MemoryStore
from peyvand.local_cluster.certificates import Certificates
from tests.support.small_services import Register, RegistrationRules, Withdraw, noon

EVERYWHERE = range(32)
RULES: Any = {"applicant": RegistrationRules}


class Broker:
    """Accepts `accepts` messages, acknowledges the first `acknowledges` of them, and none in leaderless partitions."""

    def __init__(self, accepts: int = 1_000, acknowledges: int = 1_000) -> None:
        self.accepts, self.acknowledges = accepts, acknowledges
        self.leaderless: set[int] = set()
        self.log: list[dict[str, Any]] = []
        self.under_way: list[Acknowledgement] = []
        self.connections = self.closed = 0

    def connect(self) -> "Broker":
        self.connections += 1
        return self

    def send(self, topic: str, **message: Any) -> Any:
        if len(self.log) >= self.accepts:
            raise ConnectionError("unreachable")
        acknowledgement = Acknowledgement(len(self.log) < self.acknowledges)
        if message["partition"] in self.leaderless:
            acknowledgement.is_done = False
            self.under_way.append(acknowledgement)
        else:
            self.log.append({"topic": topic, **message})
        return acknowledgement

    def close(self, *, timeout: float) -> None:
        self.closed += 1


class Acknowledgement:
    """A future that resolves, or times out."""

    def __init__(self, arrives: bool) -> None:
        self.arrives, self.is_done = arrives, True

    def get(self, timeout: float) -> None:
        if not (self.arrives and self.is_done):
            raise TimeoutError("no acknowledgement")


async def store_with_events(*people: str) -> MemoryStore:
    """Return a store in which each of these has registered and withdrawn."""
    store = MemoryStore("registration", RULES)
    for each in people:
        await execute(store, each, Register(), noon)
        await execute(store, each, Withdraw(), noon)
    return store


async def test_each_event_is_published_once_to_the_partition_of_its_subject() -> None:
    """Events are in order, with the subject as their key, and marked as published."""
    store, broker = await store_with_events("p", "q"), Broker()
    relay = Relay(store, broker.connect, "peyvand.registration")
    assert await relay.publish(EVERYWHERE, asyncio.Lock()) == 4
    assert await relay.publish(EVERYWHERE, asyncio.Lock()) == 0
    assert [(m["key"], m["partition"], decode(m["value"]).sequence) for m in broker.log] == [
        (s.encode(), partition_of(s), n) for s in ("p", "q") for n in (1, 2)
    ]
    assert broker.connections == 1 and {m["topic"] for m in broker.log} == {"peyvand.registration"}


@pytest.mark.parametrize(("accepts", "acknowledges", "marked"), [(3, 9, 3), (9, 1, 1), (0, 0, 0)])
async def test_unacknowledged_events_are_published_again(accepts: int, acknowledges: int, marked: int) -> None:
    """A new connection is used; no mark passes what Kafka has, subject by subject."""
    store, broker = await store_with_events("p", "q"), Broker(accepts, acknowledges)
    relay = Relay(store, broker.connect, "t")
    with pytest.raises(Transient):
        await relay.publish(EVERYWHERE, asyncio.Lock())
    assert sum(store.published.values()) == marked and broker.closed == 1
    recovered = Broker()
    relay.connect = recovered.connect
    passes = [
        await relay.publish(EVERYWHERE, asyncio.Lock()) for _ in range(2)
    ]  # where none succeeded, each is tried with one event first
    assert sum(passes) == 4 - marked and not relay.failing
    sequences = [(m["key"], decode(m["value"]).sequence) for m in broker.log[:acknowledges] + recovered.log]
    assert set(sequences) == {(s, n) for s in (b"p", b"q") for n in (1, 2)}


async def test_a_partition_without_leader_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not sent to while its events are under way, then one event at a time; the producer stays."""
    monkeypatch.setattr(relay_module, "PASS_TIMEOUT", 0.0)
    monkeypatch.setattr(relay_module, "LIMIT", 4)
    people = [f"p{n}" for n in range(40)]
    dead = partition_of(people[0])
    store, broker = await store_with_events(*people), Broker()
    broker.leaderless.add(dead)
    relay = Relay(store, broker.connect, "t")
    others = [each for each in people if partition_of(each) != dead]
    while sum(store.published.values()) < 2 * len(others):
        await relay.publish(EVERYWHERE, asyncio.Lock())
    sent = len(broker.under_way)
    assert await relay.publish(EVERYWHERE, asyncio.Lock()) == 0 and len(broker.under_way) == sent

    def give_up() -> None:
        for each in broker.under_way:
            each.arrives, each.is_done = False, True

    give_up()
    await execute(store, "q", Register(), noon)
    assert await relay.publish(EVERYWHERE, asyncio.Lock()) == 1 and relay.failing.keys() == {dead}
    await relay.publish(EVERYWHERE, asyncio.Lock())
    assert len(broker.under_way) == sent + 1, "one event tries it"
    broker.leaderless.clear()
    broker.under_way[-1].is_done = True
    while await relay.publish(EVERYWHERE, asyncio.Lock()):
        pass
    assert not relay.failing and not await store.pending(EVERYWHERE, 9) and broker.connections == 1
    assert not broker.closed


async def test_a_partition_that_was_taken_away_fails_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a worker would never be ready again for what another one publishes."""
    monkeypatch.setattr(relay_module, "PASS_TIMEOUT", 0.0)
    store, broker = await store_with_events("p", "q"), Broker()
    broker.leaderless.add(partition_of("p"))
    relay = Relay(store, broker.connect, "t")
    await relay.publish(EVERYWHERE, asyncio.Lock())
    for each in broker.under_way:
        each.arrives, each.is_done = False, True
    await execute(store, "q", Register(), noon)
    await relay.publish(EVERYWHERE, asyncio.Lock())
    assert relay.failing.keys() == {partition_of("p")}
    await relay.publish([partition_of("q")], asyncio.Lock())
    assert not relay.failing


async def test_only_the_given_partitions_are_published() -> None:
    store, broker = await store_with_events("p", "q"), Broker()
    assert partition_of("p") != partition_of("q")
    await Relay(store, broker.connect, "t").publish([partition_of("q")], asyncio.Lock())
    assert {m["key"] for m in broker.log} == {b"q"}


async def test_without_pending_events_no_connection_is_opened() -> None:
    """Reporting has no topic."""
    broker = Broker()
    relay = Relay(MemoryStore("registration", RULES), broker.connect, "")
    assert await relay.publish(EVERYWHERE, asyncio.Lock()) == 0
    relay.close()
    assert broker.connections == broker.closed == 0


async def test_republished_events_are_not_marked() -> None:
    store, broker = await store_with_events("p"), Broker()
    relay = Relay(store, broker.connect, "t")
    await relay.republish(await store.pending(EVERYWHERE, 10))
    assert [decode(m["value"]).sequence for m in broker.log] == [1, 2] and not store.published
    broker.accepts = 0
    with pytest.raises(Transient, match="acknowledged 0 republished"):
        await relay.republish(await store.pending(EVERYWHERE, 10))


@contextmanager
def nothing_stays_open() -> Iterator[None]:
    """Assert that neither file descriptors nor threads become more, garbage included."""
    close_failed_connections()
    gc.collect()
    gc.disable()
    try:
        before = len(os.listdir("/proc/self/fd")), threading.active_count()
        yield
        assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
    finally:
        gc.enable()


@pytest.mark.parametrize("client", [KafkaProducer, KafkaAdminClient])
def test_a_broker_that_is_away_costs_no_file_descriptor_and_no_thread(client: Any) -> None:
    """kafka-python leaves sockets that did not connect open, and the thread of a client that was not made running."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # refuses connections, and no other process can listen there
        access = KafkaAccess(f"127.0.0.1:{closed.getsockname()[1]}")
        with nothing_stays_open(), pytest.raises(KafkaError):
            client(**access.options(), bootstrap_timeout_ms=1_000, reconnect_backoff_max_ms=100)


@pytest.mark.parametrize("client", [KafkaProducer, KafkaAdminClient])
def test_a_broker_that_ends_during_the_handshake_costs_no_file_descriptor(client: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close_all() -> None:
            with suppress(OSError):
                while True:
                    server.accept()[0].close()

        closing = threading.Thread(target=close_all)
        closing.start()
        try:
            ca = Certificates(tmp_path / "certificates").prepare().ca
            access = KafkaAccess(f"127.0.0.1:{server.getsockname()[1]}", "market", "secret", str(ca))
            with nothing_stays_open(), pytest.raises(KafkaError):
                client(**access.options(), bootstrap_timeout_ms=1_000, reconnect_backoff_max_ms=100)
        finally:
            server.shutdown(socket.SHUT_RDWR)
            closing.join()
