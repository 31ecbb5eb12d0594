"""What records emitted, to Kafka: in order per subject; whatever fails on the way is sent again."""

import asyncio
from typing import Any

import pytest

from contracts.envelope import decode
from contracts.subjects import partition_of
from kernel.commands import execute
from kernel.errors import Transient
from kernel.kafka.relay import Relay
from kernel.stores.memory import MemoryStore
from tests.support.small_services import Asking, Register, Withdraw, noon

EVERYWHERE = range(32)
RULES: Any = {"applicant": Asking}


class Broker:
    """Takes what is sent until it has had enough."""

    def __init__(self, takes: int = 1_000, acknowledges: int = 1_000) -> None:
        self.takes, self.acknowledges = takes, acknowledges
        self.log: list[dict[str, Any]] = []
        self.connections = self.closed = 0

    def connect(self) -> "Broker":
        self.connections += 1
        return self

    def send(self, topic: str, **message: Any) -> Any:
        if len(self.log) >= self.takes:
            raise ConnectionError("away")
        self.log.append({"topic": topic, **message})
        return Future(len(self.log) <= self.acknowledges)

    def close(self, *, timeout: float) -> None:
        self.closed += 1


class Future:
    """Of an acknowledgement."""

    def __init__(self, came: bool) -> None:
        self.came = came

    def get(self, timeout: float) -> None:
        if not self.came:
            raise TimeoutError("no acknowledgement")


async def emitted(*people: str) -> MemoryStore:
    """A store in which each of these registered and withdrew."""
    store = MemoryStore("registration", RULES)
    for each in people:
        await execute(store, each, Register(), noon)
        await execute(store, each, Withdraw(), noon)
    return store


async def test_each_event_goes_to_the_partition_of_its_subject_once() -> None:
    """In order, with its key, and marked."""
    store, broker = await emitted("p", "q"), Broker()
    relay = Relay(store, broker.connect, "peyvand.registration")
    assert await relay.once(EVERYWHERE, asyncio.Lock()) == 4
    assert await relay.once(EVERYWHERE, asyncio.Lock()) == 0
    assert [(m["key"], m["partition"], decode(m["value"]).sequence) for m in broker.log] == [
        (s.encode(), partition_of(s), n) for s in ("p", "q") for n in (1, 2)
    ]
    assert broker.connections == 1 and {m["topic"] for m in broker.log} == {"peyvand.registration"}


@pytest.mark.parametrize(("takes", "acknowledges", "marked"), [(3, 9, 3), (9, 1, 1), (0, 0, 0), (4, 2, 2)])
async def test_what_is_not_acknowledged_is_sent_again(takes: int, acknowledges: int, marked: int) -> None:
    """Over a new connection; the mark never passes what Kafka has, subject by subject."""
    store, broker = await emitted("p", "q"), Broker(takes, acknowledges)
    relay = Relay(store, broker.connect, "t")
    with pytest.raises(Transient):
        await relay.once(EVERYWHERE, asyncio.Lock())
    assert sum(store.relayed.values()) == marked and broker.closed == 1
    well = Broker()
    relay.connect = well.connect
    assert await relay.once(EVERYWHERE, asyncio.Lock()) == 4 - marked
    sequences = [(m["key"], decode(m["value"]).sequence) for m in broker.log[:acknowledges] + well.log]
    assert set(sequences) == {(s, n) for s in (b"p", b"q") for n in (1, 2)}


async def test_only_the_partitions_asked_for() -> None:
    """Another's are another's."""
    store, broker = await emitted("p", "q"), Broker()
    assert partition_of("p") != partition_of("q")
    await Relay(store, broker.connect, "t").once([partition_of("q")], asyncio.Lock())
    assert {m["key"] for m in broker.log} == {b"q"}


async def test_nothing_to_send_connects_to_nobody() -> None:
    """Reporting has no topic."""
    broker = Broker()
    relay = Relay(MemoryStore("registration", RULES), broker.connect, "")
    assert await relay.once(EVERYWHERE, asyncio.Lock()) == 0
    relay.close()
    assert broker.connections == broker.closed == 0
