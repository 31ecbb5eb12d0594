"""A simulation in which every await of the workers and of the database may be the last one of its process.

The undisturbed run is counted once; then it is repeated with a crash, a conflict or a bug at chosen points.
"""

import asyncio
import inspect
import math
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from base import bisection
from contracts.envelope import Context
from contracts.subjects import kind_of, partition_of
from contracts.topics import topic_of
from kernel import batch, store
from kernel.commands import CommandMetadata, Result, execute_many
from kernel.errors import CircuitOpen, Fenced, Transient
from kernel.kafka import relay
from kernel.kafka.relay import Relay
from kernel.record import LogPosition, Message, Private
from kernel.roles import consumer, scheduler
from kernel.roles.consumer import Consumer
from kernel.roles.scheduler import Scheduler
from kernel.store import Pending
from programme.policies import CURRENT
from recovery import parked_events
from registration.domain.applicant import Register
from registration.jobs import seat_allocation
from registration.jobs.seat_allocation import Allocator
from tests.journeys.in_process_platform import (
    ALL,
    CONSUMED,
    FIELDS,
    PROFILE,
    PROVINCES,
    QUIET_ROUNDS,
    ROUND,
    SERVICES,
    InProcessPlatform,
    people_key,
)
from tests.journeys.invariants import check
from tests.journeys.log_reader import InProcessLogReader

SEED = 103  # of a run with a sale that lasts
DEPTH = 5  # functions by which paths to an await differ: from the store up to `bisect`
MODULES = (relay, store, batch, bisection, scheduler, consumer, seat_allocation)  # whose awaits are struck
FILES = {str(module.__file__) for module in MODULES}
Path = tuple[tuple[str, int], ...]  # file and line of each function that awaits, innermost first
Points = Mapping[tuple[int, bool], type[BaseException]]  # (n, after it) -> what is raised there


class Crash(BaseException):
    """The process has ended: no handler of the code may take it for an error."""


class Bug(Exception):
    """An exception that nothing expects."""


class CrashPoints:
    """Counts awaits, and raises at the chosen ones: (n, False) before the n-th, (n, True) after it."""

    def __init__(self, points: Points) -> None:
        self.points = points
        self.count, self.raised, self.finished = 0, 0, False
        self.paths: dict[Path, int] = {}  # the first await that was reached on this path
        self.struck: set[tuple[str, int, bool]] = set()  # file, line, after it

    def wrap(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Return the function with a point before and one after it."""

        async def run(*args: Any, **options: Any) -> Any:
            self.count += not self.finished
            n = 0 if self.finished else self.count
            self.reach(n, after=False, several=bool(args and isinstance(args[0], Collection) and len(args[0]) > 1))
            try:
                result = await function(*args, **options)
            except Exception:
                self.reach(n, after=True)
                raise
            self.reach(n, after=True)
            return result

        return run

    def wrap_all(self, what: Any) -> Any:
        """Wrap every public coroutine function of an object; return it."""
        for name, method in inspect.getmembers(what, inspect.iscoroutinefunction):
            if not name.startswith("_"):
                vars(what)[name] = self.wrap(method)
        return what

    def reach(self, n: int, *, after: bool, several: bool = False) -> None:
        """Raise if this point was chosen."""
        if n and not after:
            self.paths.setdefault((*tuple(dict.fromkeys(_path()))[:DEPTH], ("several", several)), n)
        if (n, after) in self.points:
            self.raised += 1
            self.struck |= {(file, line, after) for file, line in _path()}
            raise self.points[n, after]("struck")


def _path() -> Path:
    found, frame = [], sys._getframe(2).f_back
    while frame is not None:
        if frame.f_code.co_filename in FILES:
            found.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)


class Lock(asyncio.Lock):
    """A lock whose `acquire` is a point as well. A process that ends holds nothing."""

    def __init__(self, points: CrashPoints) -> None:
        super().__init__()
        self.take = points.wrap(super().acquire)

    async def acquire(self) -> Any:
        """Take the lock; release it if the process ends at this moment."""
        try:
            return await self.take()
        except BaseException:
            if self.locked():
                self.release()
            raise


class Broker:
    """The relay's producer. The log has a message at once, even if the relay never gets its acknowledgement."""

    def __init__(self, platform: InProcessPlatform, service: str, points: CrashPoints) -> None:
        self.platform, self.service, self.points = platform, service, points

    def send(self, topic: str, **message: Any) -> Any:
        """Write a message, with a point before and after it."""
        points = self.points
        points.count, n = points.count + (not points.finished), 0 if points.finished else points.count + 1
        points.reach(n, after=False)
        self.platform.append(self.service, [message["value"]])
        points.reach(n, after=True)
        return SimpleNamespace(get=lambda _: None, is_done=True)

    def close(self, *, timeout: float) -> None:
        """Do nothing: no message is in flight."""


class Process:
    """The worker of a service. What it holds in memory is lost when it ends."""

    def __init__(self, platform: InProcessPlatform, service: str, points: CrashPoints) -> None:
        self.platform, self.service, self.points = platform, service, points
        self.start()

    def start(self) -> None:
        """Start with nothing but what is stored."""
        platform, name, points, lock = self.platform, self.service, self.points, Lock(self.points)
        stored: Any = platform.stores[name]
        self.store, self.lock, self.assigned = stored, lock, False
        ids = points.wrap(_topic_ids)
        projection = points.wrap(platform.tallies.move) if name == "reporting" else None
        self.reader: Any = points.wrap_all(InProcessLogReader(platform))
        self.consumer = Consumer(name, CONSUMED[name], stored, self.reader, platform.clock, lock, ids, projection)
        self.allocator = Allocator(stored, platform.clock)
        self.relay = Relay(stored, partial(Broker, platform, name, points), topic_of(name))
        own_jobs = [self.allocator] if name == "registration" else []
        self.scheduler = Scheduler(name, stored, platform.clock, lock, own_jobs)

    async def publish(self) -> None:
        """Run the relay once, and republish what was published, as after a loss of the log."""
        await self.relay.publish(ALL, self.lock)
        events, published = self.store.events, self.store.published
        again = [Pending(s, partition_of(s), 0, events[s][:n]) for s, n in published.items()]
        await self.relay.republish(again[: not self.points.finished])

    async def consume(self) -> None:
        """Get some new events live, catch up with the rest, and sweep; a broken partition is recovered."""
        if not self.assigned:
            await self.consumer.resume(lambda: {TopicPartition(t, p) for t in CONSUMED[self.service] for p in ALL})
            self.assigned = True
        before = self.consumer.cursors
        live = [r for tp, at in before.items() for r in self.reader.records(tp, at, at + 2)]
        while await self.consumer.step(live):
            live = []
        self.consumer._break(dict.fromkeys(list(before)[:1], "truncated"))  # and an operator has reset its cursor
        await self.consumer.sweep(before)
        while await self.consumer.step([]):
            pass

    async def run_jobs(self) -> None:
        """Run the scheduler and the jobs once."""
        self.allocator.promotions_at = -math.inf
        self.allocator.faults.reported.clear()
        self.scheduler.retry_unresponsive()
        await self.scheduler.once(ALL)

    async def operate(self) -> None:
        """Insert the next event of a partition as an operator does, and discard one that blocks nothing."""
        for topic in CONSUMED[self.service]:
            for (_, partition), cursor in (await self.store.cursors([(topic, p) for p in ALL])).items():
                for message in self.platform.logs[topic][partition][cursor : cursor + 1]:
                    if message.raw == b"nonsense":
                        continue
                    clock, source = self.platform.clock, (message.envelope.subject, message.envelope.source)
                    if kind_of(source[0]) in self.store.rules:
                        await parked_events.insert_parked(self.store, message, clock)
                        await parked_events.discard_one(self.store, source, 0, "none", "operator:o", clock, None)
                    return


async def _topic_ids(topics: Mapping[str, str] | Collection[str]) -> dict[str, str]:
    return dict.fromkeys(topics, "id")


async def _inline(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _disorder(platform: InProcessPlatform, done: dict[tuple[str, int], int]) -> None:
    """Reverse what is new in each log, and add something undecodable."""
    for topic, log in platform.logs.items():
        for p, messages in log.items():
            known = done.get((topic, p), 0)
            if tail := messages[known:]:
                reversed_tail = [*tail[::-1], Message(tail[0].envelope, b"nonsense")]
                messages[known:] = [
                    Message(m.envelope, m.raw, LogPosition(topic, p, i)) for i, m in enumerate(reversed_tail, known)
                ]
                done[topic, p] = len(messages)


async def _register_list(platform: InProcessPlatform, attempts: list[str]) -> None:
    """Register a list of three people with keys, one of whom is registered; the ids are new in each attempt."""
    context = Context(round=ROUND, province=PROVINCES[0], county="2001", field=FIELDS[0], policy=CURRENT)
    command = Register(context=context, profile=PROFILE, intake_channel="web")
    attempts.append("")
    people = {f"{len(attempts):08x}-0000-7000-9000-{n:012x}": n for n in (0, 5, 6)}
    metadata = {
        s: CommandMetadata("clerk:", f"list-{n}", b"", Private({"person": people_key(n), "tracking": f"l-{n}"}))
        for s, n in people.items()
    }
    registration = platform.stores["registration"]
    outcomes = await execute_many(registration, dict.fromkeys(people, command), platform.clock, metadata)
    first, *others = (outcomes[s] for s in people)
    assert isinstance(first, Exception), first
    for each in others:
        assert isinstance(each, Result), each
        platform.acknowledged.add(each.record.subject)


async def _retry_faults(platform: InProcessPlatform) -> None:
    """Let the workers try again what a bug parked, as an operator does."""
    for each in platform.stores.values():
        await each.parked.release(["fault"])
    platform.faults.clear()


class Simulation:
    """One run: people on one seat, from registration to a sustained connection and a withdrawal."""

    def __init__(self, points: CrashPoints) -> None:
        self.points = points
        self.platform = InProcessPlatform(Random(SEED), error_rate=0.0)
        self.disordered: dict[tuple[str, int], int] = {}
        self.processes: Mapping[str, Process] = {}

    async def run(self) -> InProcessPlatform:
        """Take all steps through all points; then settle without them."""
        platform, points = self.platform, self.points
        await platform.open_round((1, 0, 0))
        for each in platform.stores.values():
            vars(each)["topic_ids"] = points.wrap(_topic_ids)
            points.wrap_all(each)
            points.wrap_all(each.parked)
        self.processes = {name: Process(platform, name, points) for name in SERVICES}
        for cycle in range(7):
            for person in range(2):
                await self.survive(partial(platform.advance, person, 0))
            if cycle == 1:
                await self.survive(partial(_register_list, platform, []))
            await self.work()
            platform.now += timedelta(days=95 if cycle == 5 else 4)
        await self.survive(partial(platform.withdraw, 0))
        await self.work()
        points.finished = True
        await _retry_faults(platform)
        await self.settle()
        return platform

    async def survive(self, step: Callable[[], Awaitable[Any]], process: Process | None = None) -> None:
        """Repeat a step until it succeeds: a process that ended starts again, a client repeats with the same key."""
        requests = self.platform.requests
        while True:
            try:
                await step()
                return
            except (Crash, Transient, Fenced, CircuitOpen, Bug) as error:
                self.platform.requests = requests
                if process and not isinstance(error, Transient | Fenced):
                    await process.consumer.close()  # what was in flight is lost
                    process.start()

    async def work(self) -> None:
        """Run every worker once."""
        for process in self.processes.values():
            await self.survive(lambda: process.publish(), process)  # noqa: B023  after a start it is another method
            _disorder(self.platform, self.disordered)
            await self.survive(process.operate)
            await self.survive(lambda: process.consume(), process)  # noqa: B023
            await self.survive(lambda: process.run_jobs(), process)  # noqa: B023

    async def settle(self) -> None:
        """Work until the platform is quiet, and check that it stays so."""
        for _ in range(30):
            await self.work()
            if await self.platform.is_quiet():
                break
        else:
            raise AssertionError("the platform does not come to rest")
        versions = self.platform.versions()
        for _ in range(QUIET_ROUNDS):
            await self.work()
        assert await self.platform.is_quiet() and self.platform.versions() == versions, "it was quiet for a moment only"


async def simulate(*crashes: tuple[int, bool], points: Points | None = None) -> CrashPoints:
    """Run with these points, and check the invariants at the end."""
    struck = CrashPoints(points or dict.fromkeys(crashes, Crash))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "to_thread", _inline)
        patch.setattr(seat_allocation, "monotonic", lambda: 0.0)  # or the number of awaits depends on the machine
        patch.setattr(batch, "SOURCES", 2)
        patch.setattr(batch, "CHUNK", 2)  # parked events in a transaction: the rest gets a new head
        patch.setattr(consumer, "SHARED_CHUNK", 1)  # a partition in a chunk: the next one is read meanwhile
        platform = await Simulation(struck).run()
    await check(platform)
    return struck
