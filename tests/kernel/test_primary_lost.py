"""The primary is lost with what only it had: whoever was told "stored" finds it, and Kafka never heard of the rest.

A replica set of three. Its secondaries are killed (a frozen one would find in its sockets what it was sent) while
people register, so that the primary alone has what was written; then it is killed, the others come back and elect one
of them, and the old one comes back and takes back what nobody else has.
"""

import asyncio
import os
import signal
import subprocess
import time
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
from peyvand.local_cluster.processes import free_ports, kill, start, stop, wait_until
from peyvand.local_cluster.servers import REPLICA_SET, Mongod
from tests.kernel.test_worker import counted
from tests.recovery.test_completion import exact, log_of
from tests.support.servers import Servers
from tests.support.small_services import Register, noon
from tests.support.small_workers import Address, SmallSystem

pytestmark = pytest.mark.server

NAMES = ("one", "two", "three")
ELECTED_AFTER = 3_000  # milliseconds without a primary
BEFORE, MEANWHILE = 30, 20  # people


class Set:
    """Three members, one of them the primary."""

    def __init__(self, folder: Path) -> None:
        self.folder, ports = folder, free_ports(dict.fromkeys(NAMES))
        self.members = {name: Mongod(workspace.current_workspace(), folder / name, ports[name]) for name in NAMES}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """Where clients connect."""
        hosts = ",".join(f"127.0.0.1:{m.port}" for m in self.members.values())
        return f"mongodb://{hosts}/?replicaSet={REPLICA_SET}"

    def start(self, *names: str) -> None:
        """Starts these."""
        for name in names:
            self.members[name].prepare()
            command = self.members[name].command()
            self.running[name] = start(command, self.folder / f"{name}.log", os.environ, parent_death_signal=signal.SIGKILL)

    def found(self) -> None:
        """Makes them a set."""
        members = [{"_id": n, "host": f"127.0.0.1:{m.port}"} for n, m in enumerate(self.members.values())]
        told = {"_id": REPLICA_SET, "members": members, "settings": {"electionTimeoutMillis": ELECTED_AFTER}}

        def done() -> bool:
            try:
                with self.client(NAMES[0]) as client:
                    return bool(client.admin.command("replSetInitiate", told)["ok"])
            except PyMongoError:
                return False

        assert wait_until(done, 60)
        assert wait_until(lambda: sorted(self.roles()) == ["primary", "secondary", "secondary"], 60), self.roles()

    def client(self, name: str) -> "MongoClient[dict[str, Any]]":
        """To this member and no other."""
        port = self.members[name].port
        return MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=500, timeoutMS=2_000)

    def role(self, name: str) -> str:
        """What a member is now: primary, secondary, or nothing."""
        try:
            with self.client(name) as client:
                told = client.admin.command("hello")
        except PyMongoError:
            return ""
        return "primary" if told.get("isWritablePrimary") else "secondary" if told.get("secondary") else ""

    def roles(self) -> list[str]:
        """Of all that run."""
        return [self.role(name) for name in self.running]

    def primary(self) -> str:
        """Its name; waits for an election."""
        assert wait_until(lambda: "primary" in self.roles(), 60)
        return next(name for name in self.running if self.role(name) == "primary")

    def kill(self, *names: str) -> None:
        """kill -9."""
        for name in names:
            process = self.running.pop(name)
            kill(process)
            process.wait()

    def everywhere(self) -> None:
        """Waits until each member has what was written so far, in its journal."""
        with MongoClient[dict[str, Any]](self.url, w=3, journal=True, wTimeoutMS=30_000) as client:
            client.apart.everywhere.insert_one({})

    def took_back(self, times: int) -> bool:
        """Whether members, when they came back, put aside so often what the set never had."""
        return len(list(self.folder.glob("*/rollback/**/*.bson"))) >= times


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[Set]:
    """A replica set of this test's own."""
    three = Set(tmp_path)
    try:
        await asyncio.to_thread(three.start, *NAMES)
        await asyncio.to_thread(three.found)
        yield three
    finally:
        for process in three.running.values():
            kill(process)
            stop(process, 0)


class People:
    """Who asks until they are told; `told` are the acknowledged."""

    def __init__(self, small_system: SmallSystem) -> None:
        self.small_system, self.told = small_system, set[str]()

    async def register(self, first: int, n: int) -> None:
        """These at once; whoever gets no answer asks again."""
        await asyncio.gather(*(self._one(f"p{each}") for each in range(first, first + n)))

    async def _one(self, subject: str) -> None:
        store = self.small_system.store("registration")
        while subject not in self.told:
            try:
                await execute(store, subject, Register(), noon)
                self.told.add(subject)
            except Transient:
                await asyncio.sleep(0.2)
            except Exception as e:
                assert "already_registered" in str(e)  # stored, and the answer was lost
                self.told.add(subject)


async def _alone(three: Set, primary: str, writes: Callable[[], Awaitable[None]]) -> None:
    """The primary writes for a moment what no other has, and is gone before it steps down by itself."""
    others = [name for name in NAMES if name != primary]
    await asyncio.to_thread(three.everywhere)
    three.kill(*others)
    began = time.monotonic()
    await writes()
    assert time.monotonic() - began < ELECTED_AFTER / 1_000, "it has stepped down: nothing would be lost with it"
    three.kill(primary)
    await asyncio.to_thread(three.start, *others)


async def _whole(three: Set) -> None:
    def again() -> bool:
        return sorted(three.roles()) == ["primary", "secondary", "secondary"]

    assert await asyncio.to_thread(wait_until, again, 60), three.roles()


async def test_what_only_the_lost_primary_had_was_never_told(three: Set, servers: Servers) -> None:
    """Twice, under workers that stay: each who was told is counted once, and what the log says is what records say."""
    small_system = SmallSystem(Address(servers.kafka, three.url))
    await small_system.prepare()
    people = People(small_system)
    workers = [
        small_system.start(small_system.worker(service)) for service in ("registration", "screening", "reporting")
    ]
    await people.register(0, BEFORE)
    await small_system.until(counted(small_system, ApplicantRegistered=BEFORE, CaseOpened=BEFORE))
    total = BEFORE
    for turn in (1, 2):
        asking = list[asyncio.Task[None]]()

        async def ask(first: int = total, asking: list[asyncio.Task[None]] = asking) -> None:
            asking.append(asyncio.create_task(people.register(first, MEANWHILE)))
            await asyncio.sleep(1.5)

        primary = await asyncio.to_thread(three.primary)
        await _alone(three, primary, ask)
        assert len(people.told) == total, "told before a majority had it"
        await asyncio.to_thread(three.primary)
        await asking[0]
        total += MEANWHILE
        await asyncio.to_thread(three.start, primary)
        await small_system.until(counted(small_system, ApplicantRegistered=total, CaseOpened=total), within=90)
        kept = await asyncio.to_thread(wait_until, partial(three.took_back, turn), 60)
        assert kept, "the lost primary had nothing of its own: nothing was shown"
        await _whole(three)
    assert len(people.told) == total

    async def ready() -> bool:
        return [reason for worker in workers for reason in await worker.ready()] == []

    await small_system.until(ready, within=60)
    await exact(small_system, people.told, 0)
    await small_system.close()


@pytest.mark.parametrize("careless", [{"w": 1, "readConcernLevel": "local"}, {}], ids=["careless", "as it is"])
async def test_whoever_reads_what_a_majority_lacks_tells_what_never_was(
    three: Set, servers: Servers, careless: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard taken away: told, sent and forgotten. With it, by the same steps: nobody was told and nothing sent."""
    from pymongo import AsyncMongoClient

    from kernel.stores import mongodb

    monkeypatch.setattr(mongodb, "AsyncMongoClient", lambda url, **ours: AsyncMongoClient(url, **{**ours, **careless}))
    small_system = SmallSystem(Address(servers.kafka, three.url))
    await small_system.prepare()
    people, relay = People(small_system), small_system.worker("registration").relay
    await people.register(0, 5)
    assert await relay.once(range(PARTITIONS), asyncio.Lock()) == 5
    sent, asking = list[int](), list[asyncio.Task[None]]()

    async def ask() -> None:
        asking.append(asyncio.create_task(people.register(5, 5)))
        await asyncio.sleep(0.5)
        sent.append(await relay.once(range(PARTITIONS), asyncio.Lock()))

    primary = await asyncio.to_thread(three.primary)
    await _alone(three, primary, ask)
    told = set(people.told)
    await cancel_and_wait(*asking)
    await asyncio.to_thread(three.primary)
    log, kept = await log_of(small_system), {d["_id"] async for d in small_system.store("registration").records.find()}
    heard = {subject for _, subject in log}
    if careless:
        assert sent == [5] and told - kept and heard - kept, "nothing was forgotten: the guard guards nothing"
    else:
        assert sent == [0] and told <= kept and heard <= kept and len(told) == len(heard) == 5
    relay.close()
    await small_system.close()
