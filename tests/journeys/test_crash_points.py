"""A process dies before or after every single thing it waits for, or meets trouble there: nothing is lost or twice."""

import ast
import asyncio
import inspect
import math
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from msgspec.structs import replace

from contracts.envelope import Context
from contracts.subjects import kind_of, partition_of
from kernel import batch, record, store
from kernel.commands import CommandMetadata, Result, execute_many
from kernel.errors import CircuitOpen, Conflict, Fenced, Transient
from kernel.kafka import relay
from kernel.kafka.relay import Relay
from kernel.record import LogPosition, Message, Private, retry
from kernel.roles import consumer, scheduler
from kernel.roles.consumer import Consumer
from kernel.roles.scheduler import Scheduler
from kernel.store import Pending
from kernel.stores.memory import MemoryStore
from peyvand.local_cluster.workspace import ROOT
from programme.policies import CURRENT
from registration.consumer import seats
from registration.consumer.seats import Allocator
from registration.domain.applicant import Register
from tests.journeys.in_process_platform import ALL, FIELD, HEARS, PROVINCES, ROUND, Nation
from tests.journeys.log_reader import Reader
from tests.journeys.test_platform import SERVICES, check

PAIRS = int(os.environ.get("PEYVAND_CRASH_PAIRS", "30"))  # drawn pairs of crash points
CHANCE = 103  # of a life with a sale that lasts
AWAITING = (relay, store, batch, scheduler, consumer, seats)  # whose every `await` is struck
ELSEWHERE = (  # their parts are struck; asks Kafka itself
    *("await asyncio.gather(", "await ahead", "await ended(", "await self.close()"),
    "await asyncio.to_thread(self._ask",
)
FILES = {str(module.__file__) for module in AWAITING}
Way = tuple[tuple[str, int], ...]  # the file and line of whatever waits, innermost first


class Crash(BaseException):
    """The process is gone: no handler of the programme may take it for an error."""


class Bug(Exception):
    """Something that nobody foresaw."""


Points = Mapping[tuple[int, bool], type[BaseException]]


class Fate:
    """Counts what is waited for; strikes at the chosen points: (n, False) before the n-th, (n, True) after."""

    def __init__(self, points: Points) -> None:
        self.points = points
        self.seen, self.crashes, self.over = 0, 0, False
        self.ways: dict[Way, int] = {}  # the first point reached this way
        self.struck: set[tuple[str, int, bool]] = set()  # file, line, after it

    def fragile(self, do: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The same, mortal."""

        async def done(*args: Any, **options: Any) -> Any:
            self.seen += not self.over
            n = 0 if self.over else self.seen
            self.strike(n, after=False, several=bool(args and isinstance(args[0], Collection) and len(args[0]) > 1))
            try:
                result = await do(*args, **options)
            except Exception:
                self.strike(n, after=True)
                raise
            self.strike(n, after=True)
            return result

        return done

    def all_of(self, what: Any) -> Any:
        """The same object, of which everything that is waited for is mortal."""
        for name, method in inspect.getmembers(what, inspect.iscoroutinefunction):
            if not name.startswith("_"):
                vars(what)[name] = self.fragile(method)
        return what

    def strike(self, n: int, *, after: bool, several: bool = False) -> None:
        """Ends the process, or fails, if this is its hour."""
        if n and not after:
            self.ways.setdefault((*tuple(dict.fromkeys(_way()))[:3], ("several", several)), n)
        if (n, after) in self.points:
            self.crashes += 1
            self.struck |= {(file, line, after) for file, line in _way()}
            raise self.points[n, after]("struck")


def _way() -> Way:
    found, frame = [], sys._getframe(2).f_back
    while frame is not None:
        if frame.f_code.co_filename in FILES:
            found.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)


class Lock(asyncio.Lock):
    """Taking it is waiting as well."""

    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self.taken = fate.fragile(super().acquire)

    async def acquire(self) -> Any:
        """Takes it, if the process lives that long; a process that dies holds nothing."""
        try:
            return await self.taken()
        except BaseException:
            if self.locked():
                self.release()
            raise


class Broker:
    """What the relay sends to: it has every message at once, and so it may have what the relay never heard of."""

    def __init__(self, nation: Nation, service: str, fate: Fate) -> None:
        self.nation, self.service, self.fate = nation, service, fate

    def send(self, topic: str, **message: Any) -> Any:
        """The process may die before or after each message; an acknowledgement has come already."""
        fate = self.fate
        fate.seen, n = fate.seen + (not fate.over), 0 if fate.over else fate.seen + 1
        fate.strike(n, after=False)
        self.nation._write(self.service, self.nation.logs[self.service], [message["value"]])
        fate.strike(n, after=True)
        return SimpleNamespace(get=lambda _: None)

    def close(self, *, timeout: float) -> None:
        """Nothing is on its way."""


class Process:
    """A service's worker: what it holds in memory is gone when it dies."""

    def __init__(self, nation: Nation, service: str, fate: Fate) -> None:
        self.nation, self.service, self.fate = nation, service, fate
        self.begin()

    def begin(self) -> None:
        """With nothing but what was stored."""
        nation, name, fate, lock = self.nation, self.service, self.fate, Lock(self.fate)
        store_: Any = nation.stores[name]
        self.store, self.lock, self.owned = store_, lock, False
        ids = fate.fragile(_ids)
        projection = nation.tallies.move if name == "reporting" else None
        self.reader = fate.all_of(Reader(nation))
        self.consumer = Consumer(name, HEARS[name], store_, self.reader, nation.clock, lock, ids, projection)
        self.allocator = Allocator(store_, nation.allocator.questions, nation.clock)
        self.relay = Relay(store_, partial(Broker, nation, name, fate), name)
        self.timer = Scheduler(name, store_, nation.clock, lock, [self.allocator] if name == "registration" else [])

    async def send(self) -> None:
        """One pass of the relay; and of what was sent, the first is sent again, as after a loss of the log."""
        await self.relay.once(ALL, self.lock)
        emitted, sent = self.store.emitted, self.store.relayed
        said = [Pending(s, partition_of(s), 0, emitted[s][:n]) for s, n in sent.items()]
        await self.relay.repeat(said[: not self.fate.over])

    async def consume(self) -> None:
        """Some of what is new comes live, the rest is caught up with, and a sweep finds nothing more."""
        if not self.owned:
            await self.consumer.resume([TopicPartition(t, p) for t in HEARS[self.service] for p in ALL])
            self.owned = True
        before = self.consumer.cursors
        live = [r for tp, at in before.items() for r in self.reader.records(tp, at, at + 2)]
        while await self.consumer.take(live):
            live = []
        self.consumer._break(dict.fromkeys(list(before)[:1], "truncated"))  # and a person has said from where to go on
        await self.consumer.sweep(before)
        while await self.consumer.take([]):
            pass

    async def call(self) -> None:
        """What is due, and seats."""
        self.allocator.looked = -math.inf
        self.timer.forget()
        await self.timer.once(ALL)


async def _ids(topics: Mapping[str, str] | Collection[str]) -> dict[str, str]:
    return dict.fromkeys(topics, "id")


async def _inline(do: Callable[..., Any], *args: Any) -> Any:
    return do(*args)


def _disorder(nation: Nation, done: dict[tuple[str, int], int]) -> None:
    """What nobody has read yet lies in the log the other way round, and something unreadable among it."""
    for topic, log in nation.logs.items():
        for p, messages in log.items():
            read = done.get((topic, p), 0)
            if tail := messages[read:]:
                turned = [*tail[::-1], Message(tail[0].envelope, b"nonsense")]
                messages[read:] = [
                    Message(m.envelope, m.raw, LogPosition(topic, p, i)) for i, m in enumerate(turned, read)
                ]
                done[topic, p] = len(messages)


async def _list(nation: Nation, attempts: list[str]) -> None:
    """A list of three people with keys, one of whom has registered already; ids are made anew at each attempt."""
    place = Context(round=ROUND, province=PROVINCES[0], county="2001", field=FIELD, policy=CURRENT)
    command = Register(place=place, sex="female", age_band="25-34", work_mode="independent", intake_channel="web")
    attempts.append("")
    people = {f"applicant-list-{len(attempts)}-{n}": n for n in (0, 5, 6)}
    asks = {
        s: CommandMetadata("clerk:", f"list-{n}", b"", Private({"person": f"{ROUND}/{n}", "tracking": f"l-{n}"}))
        for s, n in people.items()
    }
    outcomes = await execute_many(nation.stores["registration"], dict.fromkeys(people, command), nation.clock, asks)
    first, *others = (outcomes[s] for s in people)
    assert isinstance(first, Exception), first
    for each in others:
        assert isinstance(each, Result), each
        nation.acknowledged.add(each.record.subject)


async def _mend(nation: Nation) -> None:
    """An operator tries again what a bug parked."""
    for name, at in nation.stores.items():
        projection = nation.tallies.move if name == "reporting" else None
        for subject, kept in list(at.kept.items()):
            for source in [s for s, parked in kept.parked.items() if parked.fault]:
                await at.transact([subject], partial(_tried_again, nation, at, subject, source), None, projection)


def _tried_again(nation: Nation, at: MemoryStore, subject: str, source: str, known: store.Known) -> store.Changes:
    before = known[subject]
    after = retry(before, at.rules[kind_of(subject)], at.service, source, nation.clock())
    return [(before, replace(after, version=before.version + 1))]


async def _life(fate: Fate) -> Nation:
    """People on one seat, from registration to a sustained connection and a withdrawal, every step mortal."""
    nation = Nation(Random(CHANCE), trouble=0.0)
    await nation.open((1, 0, 0))
    for each in nation.stores.values():
        vars(each)["topic_ids"] = fate.fragile(_ids)
        fate.all_of(each)
    fate.all_of(nation.allocator.questions)
    disordered: dict[tuple[str, int], int] = {}
    processes = {name: Process(nation, name, fate) for name in SERVICES}

    async def survive(step: Callable[[], Awaitable[Any]], process: Process | None = None) -> None:
        """Does it until it is done: whoever died begins anew, a client asks again with the same key."""
        asked = nation.asked
        while True:
            try:
                await step()
                return
            except (Crash, Transient, Fenced, CircuitOpen, Bug) as struck:
                nation.asked = asked
                if process and not isinstance(struck, Transient | Fenced):
                    await process.consumer.close()  # what was on its way died with it
                    process.begin()

    async def work() -> None:
        for process in processes.values():
            await survive(lambda: process.send(), process)  # noqa: B023  begun anew, it is another
            _disorder(nation, disordered)
            await survive(lambda: process.consume(), process)  # noqa: B023
            await survive(lambda: process.call(), process)  # noqa: B023

    for turn in range(7):
        for person in range(2):
            await survive(partial(nation.advance, person, 0))
        if turn == 1:
            await survive(partial(_list, nation, []))
        await work()
        nation.at += timedelta(days=95 if turn == 5 else 4)
    await survive(partial(nation.withdraw, 0))
    await work()
    fate.over = True
    await _mend(nation)
    for _ in range(30):
        await work()
        if await nation._quiet():
            return nation
    raise AssertionError("the country does not come to rest")


async def lives(*crashes: tuple[int, bool], points: Points | None = None) -> Fate:
    """A life that is struck at these points, and goes on; what must hold at its end does."""
    fate = Fate(points or dict.fromkeys(crashes, Crash))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "PARKED_EVENTS", 0)  # what is early is kept as its place, and fetched
        patch.setattr(asyncio, "to_thread", _inline)
        patch.setattr(consumer, "FEW", 1)  # a partition in a stride: the next is read meanwhile
        nation = await _life(fate)
    await check(nation)
    return fate


@pytest.mark.long
def test_no_crash_point_loses_or_doubles() -> None:
    """Exhaustively: before and after everything that the undisturbed life waits for."""
    whole = asyncio.run(lives()).seen
    assert f"each of the {whole:,} things" in (ROOT / "docs" / "reliability.md").read_text()
    for n in range(1, whole + 1):
        for after in (False, True):
            assert asyncio.run(lives((n, after))).crashes == 1, (n, after)


@pytest.mark.long
def test_no_way_to_wait_loses_or_doubles() -> None:
    """A crash, a conflict, a bug at each different way to wait, and at those they lead to; no `await` is left out."""
    struck: set[tuple[str, int, bool]] = set()
    known: set[Way] = set()
    lived: list[Points] = [{}]
    for points in lived:
        fate = asyncio.run(lives(points=points))
        assert fate.crashes == len(points), points
        struck |= fate.struck
        for way in fate.ways.keys() - known if len(points) < 3 else ():
            for after in (False, True):
                lived += [{**points, (fate.ways[way], after): with_} for with_ in (Crash, Conflict, Bug)]
        known |= fate.ways.keys()
    left = [
        f"{file}:{first}"
        for file, first, last in _awaits()
        for after in (False, True)
        if not any((file, line, after) in struck for line in range(first, last + 1))
    ]
    assert not left, sorted(set(left))


def _awaits() -> Iterator[tuple[str, int, int]]:
    """File, first and last line of every `await` and `async with` of the modules."""
    for file in FILES:
        for node in ast.walk(ast.parse(Path(file).read_text())):
            if ast.unparse(node).startswith(ELSEWHERE):
                continue
            if isinstance(node, ast.AsyncWith | ast.Await):
                last = node.items[-1].context_expr if isinstance(node, ast.AsyncWith) else node
                yield file, node.lineno, last.end_lineno or 0


def test_no_pair_of_crash_points_loses_or_doubles() -> None:
    """Drawn pairs: the second often strikes while the first is being made good."""
    chance, whole = Random(11), asyncio.run(lives()).seen
    for _ in range(PAIRS):
        first = chance.randint(1, whole)
        pair = (first, chance.random() < 0.5), (first + chance.randint(1, 12), chance.random() < 0.5)
        assert asyncio.run(lives(*pair)).crashes, pair


def test_a_position_before_its_effect_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A canary: with the cursor moved first, some crash point loses what the batch said."""
    honest = MemoryStore.transact

    async def early(self: MemoryStore, subjects: Any, change: Any, ranges: Any = None, projection: Any = None) -> None:
        self.positions.update({tp: after for tp, (_, after) in (ranges or {}).items()})
        await self.read(())  # the moment in which the process dies
        await honest(self, subjects, change, None, projection)

    monkeypatch.setattr(MemoryStore, "transact", early)
    with pytest.raises(AssertionError):
        for n in range(1, asyncio.run(lives()).seen + 1):
            asyncio.run(lives((n, False)))
