"""The database and the broker go and come back under a worker that stays: it waits, says so, and goes on."""

import asyncio
import gc
import os
import signal
import subprocess
import warnings
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError

import plumbing.relay
from contracts.subjects import PARTITIONS
from peyvand import home
from peyvand.embedded import Kafka, Mongod
from peyvand.processes import free_ports, kill, start, stop, wait_until
from plumbing.store import Transient, execute
from tests.plumbing.country import Register, noon
from tests.plumbing.running import Address, Country
from tests.plumbing.test_worker import counted

pytestmark = pytest.mark.server


class Fragile:
    """Parts of one's own, to be broken."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports({"kafka": None, "controller": None, "mongod": None})
        self.kafka = Kafka(home.here(), folder / "kafka", ports["kafka"], ports["controller"])
        self.mongod = Mongod(home.here(), folder / "mongod", ports["mongod"])
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def part(self, name: str) -> Kafka | Mongod:
        """By its name."""
        return self.kafka if name == "kafka" else self.mongod

    def start(self, *names: str) -> None:
        """Starts, and waits until they answer."""
        for name in names:
            self.part(name).prepare()
            command = self.part(name).command()
            self.running[name] = start(command, self.folder / f"{name}.log", os.environ, if_we_die=signal.SIGKILL)
        for name in names:
            assert wait_until(self.part(name).ready, 60), name

    def kill(self, *names: str) -> None:
        """kill -9."""
        for name in names:
            kill(self.running[name])
            self.running[name].wait()


@pytest.fixture
async def fragile(tmp_path: Path) -> AsyncIterator[tuple[Fragile, Country]]:
    """A small country on parts of its own."""
    fragile = Fragile(tmp_path)
    try:
        await asyncio.to_thread(fragile.start, "kafka", "mongod")
        country = Country(Address(fragile.kafka.address, fragile.mongod.url()))
        await country.prepare()
        yield fragile, country
        await country.close()
    finally:
        for process in fragile.running.values():
            kill(process)
            stop(process, 0)
        with warnings.catch_warnings():  # kafka-python leaves sockets that did not connect to the garbage collector
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


async def _register(country: Country, first: int, n: int = 50) -> None:
    store = country.store("registration")
    for each in range(first, first + n):
        while True:
            try:
                await execute(store, f"p{each}", Register(), noon)
                break
            except Transient:
                await asyncio.sleep(0.2)
            except Exception as e:
                assert "already_registered" in str(e)  # stored, and the answer was lost
                break


async def test_a_broker_that_does_not_answer_is_waited_out(
    fragile: tuple[Fragile, Country], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what was sent to it nor letting go of it ends the worker."""
    monkeypatch.setattr(plumbing.relay, "ACKNOWLEDGED_WITHIN", 1)
    parts, country = fragile
    worker = country.worker("registration")
    await _register(country, 0, 5)
    assert await worker.relay.once(range(PARTITIONS), worker.writing) == 5
    assert set(await worker.topic_ids.of(country.topics.values())) == set(country.topics.values())
    await _register(country, 5, 5)
    producer: Any = worker.relay.producer
    broker = parts.running["kafka"].pid
    os.kill(broker, signal.SIGSTOP)
    try:
        with pytest.raises(Transient, match="acknowledged 0"):
            await worker.relay.once(range(PARTITIONS), worker.writing)
        await asyncio.to_thread(worker.topic_ids.close)
        assert worker.relay.producer is None and not producer._sender.is_alive(), "it would try for ever"
    finally:
        os.kill(broker, signal.SIGCONT)

    async def sent() -> bool:
        with suppress(Transient):
            await worker.relay.once(range(PARTITIONS), worker.writing)
        return not await worker.store.waiting(range(PARTITIONS), 10)

    await country.until(sent)
    worker.relay.close()


@pytest.mark.parametrize("gone", ["mongod", "kafka"])
async def test_a_part_is_killed_and_comes_back(fragile: tuple[Fragile, Country], gone: str) -> None:
    """The same processes go on; what was accepted meanwhile and before is counted once."""
    parts, country = fragile
    workers = [country.start(country.worker(service)) for service in ("registration", "screening", "reporting")]
    await _register(country, 0)
    await country.until(counted(country, ApplicantRegistered=50, CaseOpened=50))
    for turn in (1, 2):
        writing = asyncio.create_task(_register(country, turn * 50))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(parts.kill, gone)
        await asyncio.sleep(3)
        await asyncio.to_thread(parts.start, gone)
        await writing
        total = (turn + 1) * 50
        await country.until(counted(country, ApplicantRegistered=total, CaseOpened=total), within=90)

    async def ready() -> bool:
        return [reason for worker in workers for reason in await worker.ready()] == []

    await country.until(ready, within=60)


async def test_a_frozen_database_is_waited_out(fragile: tuple[Fragile, Country]) -> None:
    """Connections that are open and silent: nobody hangs for ever, nobody ends."""
    parts, country = fragile
    for service in ("registration", "screening", "reporting"):
        country.start(country.worker(service))
    await _register(country, 0)
    parts.running["mongod"].send_signal(signal.SIGSTOP)
    await asyncio.sleep(14)
    parts.running["mongod"].send_signal(signal.SIGCONT)
    await _register(country, 50)
    await country.until(counted(country, ApplicantRegistered=100, CaseOpened=100), within=90)


async def test_a_worker_that_fell_out_of_the_group_ends(
    fragile: tuple[Fragile, Country], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would never be given a partition again: whoever supervises it starts it anew. One that only waits stays."""
    _, country = fragile
    fallen = True

    async def lookup(*_: Any) -> Any:
        assert not fallen, "Did we not perform bootstrap?"
        raise GroupCoordinatorNotAvailableError

    monkeypatch.setattr(AIOKafkaClient, "coordinator_lookup", lookup)
    with pytest.raises(KafkaError, match="bootstrap"):
        await asyncio.wait_for(country.worker("reporting").run(asyncio.Event()), 30)
    fallen = False
    waits = country.start(country.worker("reporting"))
    await asyncio.sleep(5)
    assert await waits.ready() == ["no partitions assigned yet"]
    await asyncio.wait_for(country.stop(waits), 15)  # SIGTERM is heard, though the group was never joined
