"""The primary is lost with writes that only it has: what was acknowledged is kept, and the rest was never published.

A replica set of three. Its secondaries are killed (a frozen one would find in its sockets what it was sent) while
people register, so that the primary alone has what was written. Then it is killed, the others come back and elect one
of them, and the old primary comes back and rolls back what no other member has.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from base.tasks import cancel_and_wait
from contracts.subjects import PARTITIONS
from kernel.commands import execute
from kernel.errors import Transient
from peyvand.local_cluster import workspace
from peyvand.local_cluster.certificates import Certificates
from peyvand.local_cluster.processes import free_ports, kill, start, stop, wait_until
from peyvand.local_cluster.servers import ADMIN, REPLICA_SET, Mongod
from tests.support.servers import ADMIN_PASSWORD, Servers
from tests.support.small_services import Register, noon
from tests.support.small_workers import Address, SmallSystem, exact, log_of

pytestmark = pytest.mark.server

NAMES = ("one", "two", "three")
ELECTION_TIMEOUT = 10_000  # milliseconds without a primary: the writes must be over by then, on a busy machine too
BEFORE, MEANWHILE = 30, 20  # people
WITHIN = 120.0  # seconds for an election, and for what follows from it


class ReplicaSet:
    """Three members, one of them the primary."""

    def __init__(self, folder: Path) -> None:
        self.folder, ports = folder, free_ports(dict.fromkeys(NAMES))
        self.certificates = Certificates(folder / "certificates")
        self.members = {
            name: Mongod(workspace.current_workspace(), folder / name, ports[name], self.certificates, ADMIN_PASSWORD)
            for name in NAMES
        }
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """Return the address for clients."""
        hosts = ",".join(f"127.0.0.1:{m.port}" for m in self.members.values())
        tls = f"tls=true&tlsCAFile={self.certificates.ca}"
        return f"mongodb://{ADMIN}:{ADMIN_PASSWORD}@{hosts}/?replicaSet={REPLICA_SET}&{tls}&authSource=admin"

    def start(self, *names: str) -> None:
        """Start these members."""
        for name in names:
            self.members[name].prepare()
            command = self.members[name].command()
            self.running[name] = start(
                command, self.folder / f"{name}.log", os.environ, parent_death_signal=signal.SIGKILL
            )

    def initiate(self) -> None:
        """Make them a replica set and wait for the first election."""
        members = [{"_id": n, "host": f"127.0.0.1:{m.port}"} for n, m in enumerate(self.members.values())]
        configuration = {
            "_id": REPLICA_SET,
            "members": members,
            "settings": {"electionTimeoutMillis": ELECTION_TIMEOUT},
        }

        def initiated() -> bool:
            try:
                with self.client(NAMES[0]) as client:
                    return bool(client.admin.command("replSetInitiate", configuration)["ok"])
            except PyMongoError:
                return False

        assert wait_until(initiated, WITHIN)
        assert wait_until(lambda: sorted(self.roles()) == ["primary", "secondary", "secondary"], WITHIN), self.roles()
        with self.client(self.primary()) as client:  # the first user may be created from the loopback
            client.admin.command("createUser", ADMIN, pwd=ADMIN_PASSWORD, roles=["root", "__system"])
        with MongoClient[dict[str, Any]](self.url) as client:
            # The keys that sign the cluster's time: rolled back, they would make clients useless that have seen them.
            assert wait_until(lambda: client.admin["system.keys"].count_documents({}) >= 2, WITHIN)

    def client(self, name: str) -> "MongoClient[dict[str, Any]]":
        """Return a client of this member and no other, without a user."""
        options: dict[str, Any] = {"tls": True, "tlsCAFile": str(self.certificates.ca), "directConnection": True}
        port = self.members[name].port
        return MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=2_000, timeoutMS=10_000, **options)

    def role(self, name: str) -> str:
        """Return what a member is now: primary, secondary, or "" if it does not respond."""
        try:
            with self.client(name) as client:
                hello = client.admin.command("hello")
        except PyMongoError:
            return ""
        return "primary" if hello.get("isWritablePrimary") else "secondary" if hello.get("secondary") else ""

    def roles(self) -> list[str]:
        """Return the roles of all running members."""
        return [self.role(name) for name in self.running]

    def primary(self) -> str:
        """Wait for an election and return the name of the primary."""
        assert wait_until(lambda: "primary" in self.roles(), WITHIN)
        return next(name for name in self.running if self.role(name) == "primary")

    def kill(self, *names: str) -> None:
        """Kill members as `kill -9` does."""
        for name in names:
            process = self.running.pop(name)
            kill(process)
            process.wait()

    def replicate(self) -> None:
        """Wait until each member has everything written so far in its journal."""
        with MongoClient[dict[str, Any]](self.url, w=3, journal=True, wTimeoutMS=60_000) as client:
            client.test_markers.replicated.insert_one({})

    def rolled_back(self, times: int) -> bool:
        """Return whether members have rolled back writes so many times."""
        return len(list(self.folder.glob("*/rollback/**/*.bson"))) >= times


@pytest.fixture
async def replica_set(tmp_path: Path) -> AsyncIterator[ReplicaSet]:
    """Start a replica set of this test's own."""
    replica_set = ReplicaSet(tmp_path)
    try:
        await asyncio.to_thread(replica_set.start, *NAMES)
        await asyncio.to_thread(replica_set.initiate)
        yield replica_set
    finally:
        for process in replica_set.running.values():
            kill(process)
            stop(process, 0)


class Clients:
    """Register people until each is acknowledged."""

    def __init__(self, small_system: SmallSystem) -> None:
        self.small_system, self.acknowledged = small_system, set[str]()

    async def register(self, first: int, n: int) -> None:
        """Register n people at once; repeat what gets no response."""
        await asyncio.gather(*(self._one(f"p{each}") for each in range(first, first + n)))

    async def _one(self, subject: str) -> None:
        store = self.small_system.store("registration")
        while subject not in self.acknowledged:
            try:
                await execute(store, subject, Register(), noon)
                self.acknowledged.add(subject)
            except Transient:
                await asyncio.sleep(0.2)
            except Exception as e:
                assert "already_registered" in str(e)  # stored, and the response was lost
                self.acknowledged.add(subject)


async def _write_to_primary_only(replica_set: ReplicaSet, primary: str, write: Callable[[], Awaitable[None]]) -> None:
    """Let the primary write what no other member has, and kill it before it steps down by itself."""
    others = [name for name in NAMES if name != primary]
    await asyncio.to_thread(replica_set.replicate)
    replica_set.kill(*others)
    async with asyncio.timeout(ELECTION_TIMEOUT / 1_000):  # then it steps down, and no write would be lost
        await write()
    replica_set.kill(primary)
    await asyncio.to_thread(replica_set.start, *others)


async def _complete(replica_set: ReplicaSet) -> None:
    def complete() -> bool:
        return sorted(replica_set.roles()) == ["primary", "secondary", "secondary"]

    assert await asyncio.to_thread(wait_until, complete, WITHIN), replica_set.roles()


async def test_writes_that_only_the_lost_primary_had_were_not_acknowledged(
    replica_set: ReplicaSet, servers: Servers
) -> None:
    """Twice, under workers that keep running: each acknowledged registration counts once, and log and records agree."""
    small_system = SmallSystem(Address(servers.kafka, replica_set.url))
    await small_system.prepare()
    clients = Clients(small_system)
    workers = [
        small_system.start(small_system.worker(service)) for service in ("registration", "screening", "reporting")
    ]
    await clients.register(0, BEFORE)
    await small_system.settles({"ApplicantRegistered": BEFORE, "CaseOpened": BEFORE})
    total = BEFORE
    for attempt in (1, 2):
        registering = list[asyncio.Task[None]]()

        async def write(first: int = total, registering: list[asyncio.Task[None]] = registering) -> None:
            registering.append(asyncio.create_task(clients.register(first, MEANWHILE)))
            await asyncio.sleep(1.5)

        primary = await asyncio.to_thread(replica_set.primary)
        await _write_to_primary_only(replica_set, primary, write)
        assert len(clients.acknowledged) == total, "acknowledged before a majority had it"
        await asyncio.to_thread(replica_set.primary)
        await registering[0]
        total += MEANWHILE
        await asyncio.to_thread(replica_set.start, primary)
        await small_system.settles({"ApplicantRegistered": total, "CaseOpened": total}, within=WITHIN)
        rolled_back = await asyncio.to_thread(wait_until, partial(replica_set.rolled_back, attempt), WITHIN)
        assert rolled_back, "a canary: the lost primary had no write of its own"
        await _complete(replica_set)
    assert len(clients.acknowledged) == total

    async def ready() -> bool:
        return [reason for worker in workers for reason in await worker.ready()] == []

    await small_system.until(ready, within=WITHIN)
    await exact(small_system, clients.acknowledged, 0)
    await small_system.close()


@pytest.mark.parametrize("concerns", [{"w": 1, "readConcernLevel": "local"}, {}], ids=["without majority", "as it is"])
async def test_without_majority_concerns_lost_writes_are_acknowledged_and_published(
    replica_set: ReplicaSet, servers: Servers, concerns: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The canary of the test above. With our concerns, the same steps acknowledge and publish nothing."""
    from pymongo import AsyncMongoClient

    from kernel.stores.mongodb import client

    monkeypatch.setattr(
        client, "AsyncMongoClient", lambda url, **options: AsyncMongoClient(url, **{**options, **concerns})
    )
    small_system = SmallSystem(Address(servers.kafka, replica_set.url))
    await small_system.prepare()
    clients, relay = Clients(small_system), small_system.worker("registration").relay
    await clients.register(0, 5)
    assert await relay.publish(range(PARTITIONS), asyncio.Lock()) == 5
    published, registering = list[int](), list[asyncio.Task[None]]()

    async def write() -> None:
        registering.append(asyncio.create_task(clients.register(5, 5)))
        await asyncio.sleep(0.5)
        published.append(await relay.publish(range(PARTITIONS), asyncio.Lock()))

    primary = await asyncio.to_thread(replica_set.primary)
    await _write_to_primary_only(replica_set, primary, write)
    acknowledged = set(clients.acknowledged)
    await cancel_and_wait(*registering)
    await asyncio.to_thread(replica_set.primary)
    log, kept = await log_of(small_system), {d["_id"] async for d in small_system.store("registration").records.find()}
    in_log = {subject for _, subject in log}
    if concerns:
        assert published == [5] and acknowledged - kept and in_log - kept, "no write was lost: the test shows nothing"
    else:
        assert published == [0] and acknowledged <= kept and in_log <= kept
        assert len(acknowledged) == len(in_log) == 5
    relay.close()
    await small_system.close()
