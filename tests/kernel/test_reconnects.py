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

import kernel.kafka.relay
from contracts.subjects import PARTITIONS
from kernel.commands import execute
from kernel.errors import Transient
from peyvand.local_cluster import workspace
from peyvand.local_cluster.processes import free_ports, kill, start, stop, wait_until
from peyvand.local_cluster.servers import Kafka, Mongod
from tests.kernel.test_worker import counted
from tests.support.small_services import Register, noon
from tests.support.small_workers import Address, SmallSystem

pytestmark = pytest.mark.server


class Fragile:
    """Parts of one's own, to be broken."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports({"kafka": None, "controller": None, "mongod": None})
        self.kafka = Kafka(workspace.current_workspace(), folder / "kafka", ports["kafka"], ports["controller"])
        self.mongod = Mongod(workspace.current_workspace(), folder / "mongod", ports["mongod"])
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
            self.running[name] = start(command, self.folder / f"{name}.log", os.environ, parent_death_signal=signal.SIGKILL)
        for name in names:
            assert wait_until(self.part(name).ready, 60), name

    def kill(self, *names: str) -> None:
        """kill -9."""
        for name in names:
            kill(self.running[name])
            self.running[name].wait()


@pytest.fixture
async def fragile(tmp_path: Path) -> AsyncIterator[tuple[Fragile, SmallSystem]]:
    """A small country on parts of its own."""
    fragile = Fragile(tmp_path)
    try:
        await asyncio.to_thread(fragile.start, "kafka", "mongod")
        small_system = SmallSystem(Address(fragile.kafka.address, fragile.mongod.url()))
        await small_system.prepare()
        yield fragile, small_system
        await small_system.close()
    finally:
        for process in fragile.running.values():
            kill(process)
            stop(process, 0)
        with warnings.catch_warnings():  # kafka-python leaves sockets that did not connect to the garbage collector
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


async def _register(small_system: SmallSystem, first: int, n: int = 50) -> None:
    store = small_system.store("registration")
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
    fragile: tuple[Fragile, SmallSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what was sent to it nor letting go of it ends the worker."""
    monkeypatch.setattr(kernel.kafka.relay, "ACKNOWLEDGED_WITHIN", 1)
    servers, small_system = fragile
    worker = small_system.worker("registration")
    await _register(small_system, 0, 5)
    assert await worker.relay.once(range(PARTITIONS), worker.writing) == 5
    assert set(await worker.topic_ids.of(small_system.topics.values())) == set(small_system.topics.values())
    await _register(small_system, 5, 5)
    producer: Any = worker.relay.producer
    broker = servers.running["kafka"].pid
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

    await small_system.until(sent)
    worker.relay.close()


@pytest.mark.parametrize("gone", ["mongod", "kafka"])
async def test_a_part_is_killed_and_comes_back(fragile: tuple[Fragile, SmallSystem], gone: str) -> None:
    """The same processes go on; what was accepted meanwhile and before is counted once."""
    servers, small_system = fragile
    workers = [
        small_system.start(small_system.worker(service)) for service in ("registration", "screening", "reporting")
    ]
    await _register(small_system, 0)
    await small_system.until(counted(small_system, ApplicantRegistered=50, CaseOpened=50))
    for turn in (1, 2):
        writing = asyncio.create_task(_register(small_system, turn * 50))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(servers.kill, gone)
        await asyncio.sleep(3)
        await asyncio.to_thread(servers.start, gone)
        await writing
        total = (turn + 1) * 50
        await small_system.until(counted(small_system, ApplicantRegistered=total, CaseOpened=total), within=90)

    async def ready() -> bool:
        return [reason for worker in workers for reason in await worker.ready()] == []

    await small_system.until(ready, within=60)


async def test_a_frozen_database_is_waited_out(fragile: tuple[Fragile, SmallSystem]) -> None:
    """Connections that are open and silent: nobody hangs for ever, nobody ends."""
    servers, small_system = fragile
    for service in ("registration", "screening", "reporting"):
        small_system.start(small_system.worker(service))
    await _register(small_system, 0)
    servers.running["mongod"].send_signal(signal.SIGSTOP)
    await asyncio.sleep(14)
    servers.running["mongod"].send_signal(signal.SIGCONT)
    await _register(small_system, 50)
    await small_system.until(counted(small_system, ApplicantRegistered=100, CaseOpened=100), within=90)


async def test_a_worker_that_fell_out_of_the_group_ends(
    fragile: tuple[Fragile, SmallSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would never be given a partition again: whoever supervises it starts it anew. One that only waits stays."""
    _, small_system = fragile
    fallen = True

    async def lookup(*_: Any) -> Any:
        assert not fallen, "Did we not perform bootstrap?"
        raise GroupCoordinatorNotAvailableError

    monkeypatch.setattr(AIOKafkaClient, "coordinator_lookup", lookup)
    with pytest.raises(KafkaError, match="bootstrap"):
        await asyncio.wait_for(small_system.worker("reporting").run(asyncio.Event()), 30)
    fallen = False
    waits = small_system.start(small_system.worker("reporting"))
    await asyncio.sleep(5)
    assert await waits.ready() == ["no partitions assigned yet"]
    await asyncio.wait_for(small_system.stop(waits), 15)  # SIGTERM is heard, though the group was never joined
