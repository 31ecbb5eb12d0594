"""A process is killed before or after what it waits for, on the real Kafka and MongoDB: nothing is lost or twice.

`tests/journeys/test_crash_points.py` is exhaustive, over memory. Here points are drawn: each command to the database
and each word with Kafka is one. Workers are processes, and end as by `kill -9`; who got no answer asks again.
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
from kernel.stores.mongodb import MongoStore
from peyvand.local_cluster.processes import kill, stop
from tests.kernel.test_worker import counted
from tests.recovery.test_completion import exact
from tests.support.crash_injection import Life, Point
from tests.support.servers import Servers
from tests.support.small_services import Decide, Register, noon
from tests.support.small_workers import SmallSystem

pytestmark = pytest.mark.server

POINTS = int(os.environ.get("PEYVAND_REAL_CRASH_POINTS", "30"))
SEED = int(os.environ.get("PEYVAND_REAL_CRASH_SEED", "7"))
WORKERS = ("registration", "screening", "reporting")
OFTEN = 4  # a point is at most so far into what a process waits for again and again
WITHIN = 60.0  # seconds in which a point is come to


class Crash(BaseException):
    """The API's process is gone: no handler of the programme may take it for an error."""


def crash() -> None:
    """Ends the API."""
    raise Crash


class People:
    """Those who register, and what is decided about them, through an API that ends where it is told."""

    def __init__(self, small_system: SmallSystem, points: Sequence[Point] = ()) -> None:
        self.small_system, self.points = small_system, list(points)
        self.names: list[str] = []
        self.decided, self.ended = 0, 0
        self.begin()

    def begin(self) -> None:
        """Another API, with nothing of what the last one had in memory."""
        point = self.points[-1] if self.points else None
        self.life = Life(point, crash)
        self.stores = {s: self.life.store(self.small_system.store(s)) for s in ("registration", "screening")}

    async def come(self, n: int) -> None:
        """So many register, and of those whose case is open as many are decided on."""
        new = [f"p{len(self.names) + each}" for each in range(n)]
        self.names += new
        await asyncio.gather(*(self._ask("registration", person, Register()) for person in new))
        known = (await self.small_system.store("screening").read(self.names)).values()
        for r in [r for r in known if r.state.opened and not r.state.outcome][:n]:
            await self._ask("screening", r.subject, Decide())
            self.decided += 1

    async def _ask(self, service: str, person: str, command: Register | Decide) -> Result:
        """Asked with a key, and again where no answer came."""
        ask = CommandMetadata(key=f"{type(command).__name__}:{person}", fingerprint=b"the same")
        while True:
            api = self.stores[service]
            try:
                return await execute(api, person, command, noon, ask)
            except (Crash, asyncio.CancelledError):  # the second: what it had gathered with others
                if self.stores[service] is api:
                    self.ended += 1
                    self.points = self.points[:-1]
                    self.begin()


async def undisturbed(small_system: SmallSystem) -> Mapping[str, Life]:
    """A life of everybody, in this process, which shows what is waited for."""
    lives = {service: Life() for service in WORKERS}
    workers = [small_system.start(life.worker(small_system, service)) for service, life in lives.items()]
    people = People(small_system)
    while people.decided < 10:
        await people.come(5)
        await asyncio.sleep(0.2)
    await asyncio.sleep(6)  # a sweep
    await small_system.until(small_system.at_end)
    for worker in workers:
        await small_system.stop(worker)
    return {**lives, "api": people.life}


def drawn(lives: Mapping[str, Life], chance: random.Random, n: int) -> dict[str, list[Point]]:
    """Points of all that was waited for, by process."""
    every = [
        (name, Point(what, after, chance.randint(1, min(OFTEN, times))))
        for name, life in lives.items()
        for (what, after), times in sorted(life.known.items())
    ]
    found = defaultdict(list)
    for name, point in [*chance.sample(every, min(n, len(every))), *chance.choices(every, k=max(0, n - len(every)))]:
        found[name].append(point)
    return found


async def test_no_drawn_crash_point_loses_or_doubles(servers: Servers, small_system: SmallSystem) -> None:
    """Whoever died is started anew; the log, the records and the figures agree."""
    model = SmallSystem(servers)
    await model.prepare()
    points = drawn(await undisturbed(model), random.Random(SEED), POINTS)
    await model.close()
    people = People(small_system, points.pop("api", []))
    killed = 0

    async def live(service: str) -> None:
        """Dies at each of its points in turn, and lives on."""
        nonlocal killed
        for point in [*map(str, points[service]), ""]:
            process = small_system.process(service, point)
            deadline = time.monotonic() + WITHIN
            try:
                while process.poll() is None and (point or not resting.is_set()):
                    assert not point or time.monotonic() < deadline, f"{service} does not come to {point}"
                    await asyncio.sleep(0.05)
            finally:
                kill(process) if process.poll() is None and point else stop(process, 10)
            assert process.returncode == (-signal.SIGKILL if point else 0), f"{service} ended by itself"
            killed += bool(point)

    resting = asyncio.Event()
    lives = [asyncio.create_task(live(service)) for service in WORKERS]
    try:
        while killed + people.ended < POINTS:
            await people.come(2)
            for task in lives:
                if task.done():
                    task.result()
        n = len(people.names)
        expected = counted(small_system, ApplicantRegistered=n, CaseOpened=n, CaseDecided=people.decided)
        await small_system.until(expected, within=WITHIN)
        await small_system.until(small_system.at_end)
    finally:
        resting.set()
        await asyncio.gather(*lives, return_exceptions=True)
    for task in lives:
        task.result()
    await exact(small_system, people.names, people.decided)
    for service in WORKERS:
        store: MongoStore = small_system.store(service)
        assert not await store.records.count_documents({"parked": {"$ne": {}}})
