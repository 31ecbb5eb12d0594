"""Database and broker fail and recover under workers that keep running: they wait, report it, and continue."""

import asyncio
import os
import signal
import subprocess
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
from observability.health import ReadinessReason
from peyvand.local_cluster import workspace
from peyvand.local_cluster.certificates import Certificates
from peyvand.local_cluster.processes import free_ports, kill, start, stop, wait_until
from peyvand.local_cluster.servers import Kafka, Mongod
from tests.support.servers import ADMIN_PASSWORD, BROKER_PASSWORD
from tests.support.small_services import Register, noon
from tests.support.small_workers import Address, SmallSystem

pytestmark = pytest.mark.server


class OwnServers:
    """A Kafka and a MongoDB of the test's own, which it may kill and freeze."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports({"kafka": None, "controller": None, "mongod": None})
        here, certificates = workspace.current_workspace(), Certificates(folder / "certificates")
        passwords = (ADMIN_PASSWORD, BROKER_PASSWORD)
        self.kafka = Kafka(here, folder / "kafka", ports["kafka"], ports["controller"], certificates, *passwords)
        self.mongod = Mongod(here, folder / "mongod", ports["mongod"], certificates, ADMIN_PASSWORD)
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def server(self, name: str) -> Kafka | Mongod:
        """Return a server by its name."""
        return self.kafka if name == "kafka" else self.mongod

    def start(self, *names: str) -> None:
        """Start servers and wait until they respond."""
        for name in names:
            self.server(name).prepare()
            command = self.server(name).command()
            self.running[name] = start(
                command, self.folder / f"{name}.log", os.environ, parent_death_signal=signal.SIGKILL
            )
        for name in names:
            assert wait_until(self.server(name).ready, 60), name

    def kill(self, *names: str) -> None:
        """Kill servers as `kill -9` does."""
        for name in names:
            kill(self.running[name])
            self.running[name].wait()


@pytest.fixture
async def own_servers(tmp_path: Path) -> AsyncIterator[tuple[OwnServers, SmallSystem]]:
    """Prepare the small services on servers of their own."""
    servers = OwnServers(tmp_path)
    try:
        await asyncio.to_thread(servers.start, "kafka", "mongod")
        small_system = SmallSystem(Address(servers.kafka.access, servers.mongod.url()))
        await small_system.prepare()
        yield servers, small_system
        await small_system.close()
    finally:
        for process in servers.running.values():
            kill(process)
            stop(process, 0)


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
                assert "already_registered" in str(e)  # stored, and the response was lost
                break


async def test_a_frozen_broker_does_not_end_the_worker(
    own_servers: tuple[OwnServers, SmallSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither sending to it nor closing the connection blocks for ever; what it did not acknowledge is sent again."""
    monkeypatch.setattr(kernel.kafka.relay, "ACKNOWLEDGEMENT_TIMEOUT", 1)
    servers, small_system = own_servers
    worker = small_system.worker("registration")
    await _register(small_system, 0, 5)
    assert await worker.relay.publish(range(PARTITIONS), worker.writing) == 5
    assert set(await worker.topic_ids.read(small_system.topics.values())) == set(small_system.topics.values())
    await _register(small_system, 5, 5)
    producer: Any = worker.relay.producer
    broker = servers.running["kafka"].pid
    os.kill(broker, signal.SIGSTOP)
    try:
        with pytest.raises(Transient, match="acknowledged 0"):
            while True:
                await worker.relay.publish(range(PARTITIONS), worker.writing)
        await asyncio.to_thread(worker.topic_ids.close)
        assert worker.relay.producer is None and not producer._sender.is_alive(), "its thread would never end"
    finally:
        os.kill(broker, signal.SIGCONT)

    async def published() -> bool:
        with suppress(Transient):
            await worker.relay.publish(range(PARTITIONS), worker.writing)
        return not await worker.store.pending(range(PARTITIONS), 10)

    await small_system.until(published)
    worker.relay.close()


@pytest.mark.parametrize("name", ["mongod", "kafka"])
async def test_a_killed_server_comes_back(own_servers: tuple[OwnServers, SmallSystem], name: str) -> None:
    """The same workers continue; what was accepted before and meanwhile counts once."""
    servers, small_system = own_servers
    workers = [
        small_system.start(small_system.worker(service)) for service in ("registration", "screening", "reporting")
    ]
    await _register(small_system, 0)
    await small_system.settles({"ApplicantRegistered": 50, "CaseOpened": 50})
    for attempt in (1, 2):
        writing = asyncio.create_task(_register(small_system, attempt * 50))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(servers.kill, name)
        await asyncio.sleep(3)
        await asyncio.to_thread(servers.start, name)
        await writing
        total = (attempt + 1) * 50
        await small_system.settles({"ApplicantRegistered": total, "CaseOpened": total}, within=90)

    async def ready() -> bool:
        return [reason for worker in workers for reason in await worker.ready()] == []

    await small_system.until(ready, within=60)


async def test_a_frozen_database_does_not_end_the_workers(own_servers: tuple[OwnServers, SmallSystem]) -> None:
    """Connections are open and silent: no worker hangs for ever, and none ends."""
    servers, small_system = own_servers
    for service in ("registration", "screening", "reporting"):
        small_system.start(small_system.worker(service))
    await _register(small_system, 0)
    servers.running["mongod"].send_signal(signal.SIGSTOP)
    await asyncio.sleep(14)
    servers.running["mongod"].send_signal(signal.SIGCONT)
    await _register(small_system, 50)
    await small_system.settles({"ApplicantRegistered": 100, "CaseOpened": 100}, within=90)


# A client that is closed while it opens a connection leaves this one to the end of the process, which comes next.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_worker_that_lost_the_group_for_ever_ends(
    own_servers: tuple[OwnServers, SmallSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would never be assigned a partition again: a supervisor restarts it. A worker that only waits stays."""
    _, small_system = own_servers
    lost = True

    async def lookup(*_: Any) -> Any:
        assert not lost, "Did we not perform bootstrap?"
        raise GroupCoordinatorNotAvailableError

    monkeypatch.setattr(AIOKafkaClient, "coordinator_lookup", lookup)
    with pytest.raises(KafkaError, match="bootstrap"):
        await asyncio.wait_for(small_system.worker("reporting").run(asyncio.Event()), 90)
    lost = False
    waiting = small_system.start(small_system.worker("reporting"))

    async def waits() -> bool:
        return await waiting.ready() == [ReadinessReason("no_partitions", "no partitions assigned yet")]

    await small_system.until(waits)
    await asyncio.sleep(5)
    assert await waits(), "it neither ends nor hides it"
    await asyncio.wait_for(small_system.stop(waiting), 60)  # it stops, though it never joined the group
