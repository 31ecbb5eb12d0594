"""Processes are killed at crash points on the real Kafka and MongoDB: nothing is lost, nothing happens twice.

`tests/journeys/test_crash_points.py` is exhaustive, over memory. Here points are drawn at random from all commands to
the database and all calls of Kafka. Workers are processes and end as by `kill -9`; a client without a response repeats
its request.
"""

import asyncio
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

import pytest

from kernel.commands import CommandMetadata, Result, execute
from kernel.stores.mongodb.counters import VERSION
from peyvand.local_cluster.processes import kill, stop
from tests.support.crash_injection import CrashingProcess, CrashPoint
from tests.support.servers import Servers
from tests.support.small_services import Decide, Register, noon
from tests.support.small_workers import SmallSystem, exact

pytestmark = pytest.mark.server

POINTS = int(os.environ.get("PEYVAND_REAL_CRASH_POINTS", "20"))
SEED = int(os.environ.get("PEYVAND_REAL_CRASH_SEED", "7"))
WORKERS = ("registration", "screening", "reporting")
NTH_LIMIT = 4  # a crash point is at most the fourth time of a call that is repeated for ever
WITHIN = 120.0  # seconds in which a point is reached
KNOWN = {"records.bulk_write", "counters.bulk_write", "records.update_many", "parked.find_one", "replays.find"}
KNOWN |= {"kafka.send", "log.ends"}  # some of them in a sweep


class Crash(BaseException):
    """The process of the API has ended: no handler may treat this as an error."""


def crash() -> None:
    """End the API."""
    raise Crash


class Clients:
    """Register people and decide on them through an API that ends at crash points; repeat what got no response."""

    def __init__(self, small_system: SmallSystem, points: Sequence[CrashPoint] = ()) -> None:
        self.small_system, self.points = small_system, list(points)
        self.people: list[str] = []
        self.decided, self.crashes = 0, 0
        self.start_api()

    def start_api(self) -> None:
        """Start another API, without anything that the last one had in memory."""
        point = self.points[-1] if self.points else None
        self.api = CrashingProcess(point, crash)
        self.stores = {s: self.api.store(self.small_system.store(s)) for s in ("registration", "screening")}

    async def request(self, n: int) -> None:
        """Register n people and decide on n of those whose case is open."""
        new = [f"p{len(self.people) + each}" for each in range(n)]
        self.people += new
        await asyncio.gather(*(self._execute("registration", person, Register()) for person in new))
        known = (await self.small_system.store("screening").read(self.people)).values()
        for r in [r for r in known if r.state.opened and not r.state.outcome][:n]:
            await self._execute("screening", r.subject, Decide())
            self.decided += 1

    async def _execute(self, service: str, person: str, command: Register | Decide) -> Result:
        """Execute with an idempotency key, and again where no response came."""
        key = f"{type(command).__name__}:{person}"
        metadata = CommandMetadata(idempotency_key=key, fingerprint=b"the same")
        while True:
            store = self.stores[service]
            try:
                return await execute(store, person, command, noon, metadata)
            except (Crash, asyncio.CancelledError):  # the second: it was in a group commit with the one that crashed
                if self.stores[service] is store:
                    self.crashes += 1
                    self.points = self.points[:-1]
                    self.start_api()


async def run_without_crashes(small_system: SmallSystem) -> Mapping[str, CrashingProcess]:
    """Run everything in this process; return what each process has passed."""
    processes = {service: CrashingProcess() for service in WORKERS}
    workers = [small_system.start(process.worker(small_system, service)) for service, process in processes.items()]
    clients = Clients(small_system)
    while clients.decided < 10:
        await clients.request(5)
        await asyncio.sleep(0.2)

    async def swept() -> bool:
        return {what for process in (*processes.values(), clients.api) for what, _ in process.passed} >= KNOWN

    await small_system.until(swept)
    n = len(clients.people)
    await small_system.settles({"ApplicantRegistered": n, "CaseOpened": n, "CaseDecided": clients.decided})
    for worker in workers:
        await small_system.stop(worker)
    return {**processes, "api": clients.api}


async def forget_rules_of_counters(small_system: SmallSystem, service: str) -> None:
    """Have the next process count in full, as after a new version of the rules: otherwise only the first one does."""
    counters = small_system.store(service).counters.counters
    await counters.update_one({"_id": VERSION}, {"$set": {"version": "another"}})


def draw(processes: Mapping[str, CrashingProcess], chance: random.Random, n: int) -> dict[str, list[CrashPoint]]:
    """Return n crash points by process, drawn from everything that was passed."""
    every = [
        (name, CrashPoint(what, after, chance.randint(1, min(NTH_LIMIT, times))))
        for name, process in processes.items()
        for (what, after), times in sorted(process.passed.items())
    ]
    found = defaultdict(list)
    for name, point in [*chance.sample(every, min(n, len(every))), *chance.choices(every, k=max(0, n - len(every)))]:
        found[name].append(point)
    return found


async def test_no_drawn_crash_point_loses_or_repeats_an_effect(servers: Servers, small_system: SmallSystem) -> None:
    """Each process that ended is started again; afterwards log, records and tallies agree."""
    model = SmallSystem(servers)
    await model.prepare()
    passed = await run_without_crashes(model)
    await model.close()
    calls = {what for process in passed.values() for what, _ in process.passed}
    assert calls >= KNOWN | {"commit"}
    points = draw(passed, random.Random(SEED), POINTS)
    clients = Clients(small_system, points.pop("api", []))
    killed = 0

    async def supervise(service: str) -> None:
        """Run a worker up to each of its crash points in turn, and then without one."""
        nonlocal killed
        for point in [*map(str, points[service]), ""]:
            await forget_rules_of_counters(small_system, service)
            process = small_system.process(service, point)
            deadline = time.monotonic() + WITHIN
            try:
                while process.poll() is None and (point or not done.is_set()):
                    assert not point or time.monotonic() < deadline, f"{service} does not reach {point}"
                    await asyncio.sleep(0.05)
            finally:
                kill(process) if process.poll() is None and point else stop(process, 60)
            assert process.returncode == (-signal.SIGKILL if point else 0), f"{service} ended by itself"
            killed += bool(point)

    done = asyncio.Event()
    supervisors = [asyncio.create_task(supervise(service)) for service in WORKERS]
    try:
        while killed + clients.crashes < POINTS:
            await clients.request(2)
            for task in supervisors:
                if task.done():
                    task.result()
        n = len(clients.people)
        expected = {"ApplicantRegistered": n, "CaseOpened": n, "CaseDecided": clients.decided}
        await small_system.settles(expected, services=WORKERS, within=WITHIN)
    finally:
        done.set()
        await asyncio.gather(*supervisors, return_exceptions=True)
    for task in supervisors:
        task.result()
    await exact(small_system, clients.people, clients.decided)
    for service in WORKERS:
        assert not await small_system.store(service).parked.collection.count_documents({})
