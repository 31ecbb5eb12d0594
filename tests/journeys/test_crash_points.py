"""A process dies before or after every single thing it waits for: nothing is lost, nothing doubled."""

import asyncio
import math
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

import pytest

from plumbing.memory import MemoryStore
from plumbing.relay import Relay
from plumbing.timer import Timer
from registration.consumer.seats import Allocator
from tests.journeys.nation import ALL, Nation
from tests.journeys.test_country import SERVICES, check

AWAITED = ("read", "swap", "transact", "cursors", "due", "waiting", "mark_relayed", "holder", "holders", "stranded")
PAIRS = int(os.environ.get("PEYVAND_CRASH_PAIRS", "30"))  # drawn pairs of crash points


class Crash(BaseException):
    """The process is gone: no handler of the programme may take it for an error."""


class Fate:
    """Counts what is waited for; ends the process at the chosen points: (n, False) before the n-th, (n, True) after."""

    def __init__(self, *points: tuple[int, bool]) -> None:
        self.points, self.seen, self.crashes, self.over = set(points), 0, 0, False

    def fragile(self, do: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The same, mortal."""

        async def done(*args: Any, **options: Any) -> Any:
            self.seen += not self.over
            n = 0 if self.over else self.seen
            self.strike(n, after=False)
            result = await do(*args, **options)
            self.strike(n, after=True)
            return result

        return done

    def strike(self, n: int, *, after: bool) -> None:
        """Ends the process if this is its hour."""
        if (n, after) in self.points:
            self.crashes += 1
            raise Crash


class Acknowledged:
    """The broker has it."""

    def get(self, timeout: float) -> None:
        """At once."""


class Broker:
    """What the relay sends to: it has every message at once, and so it may have what the relay never heard of."""

    def __init__(self, nation: Nation, service: str) -> None:
        self.nation, self.service = nation, service

    def send(self, topic: str, **message: Any) -> Any:
        """An acknowledgement that has come already."""
        self.nation._write(self.service, self.nation.logs[self.service], [message["value"]])
        return Acknowledged()

    def close(self, *, timeout: float) -> None:
        """Nothing is on its way."""


async def _life(fate: Fate) -> Nation:
    """Two people on one seat, from registration to a sustained connection and a withdrawal, every step mortal."""
    nation = Nation(Random(7), trouble=0.0)
    await nation.open((1, 0, 0))
    for store in nation.stores.values():
        for name in AWAITED:
            if hasattr(store, name):
                vars(store)[name] = fate.fragile(getattr(store, name))

    async def survive(step: Callable[[], Awaitable[Any]]) -> None:
        """Does it; whoever died does it again, with nothing but what was stored (a client: with the same key)."""
        asked = nation.asked
        while True:
            try:
                await step()
                return
            except Crash:
                nation.asked = asked
                _restart(nation)

    async def work() -> None:
        for service in SERVICES:
            relay = Relay(nation.stores[service], partial(Broker, nation, service), service)
            await survive(partial(relay.once, ALL, asyncio.Lock()))
            await survive(partial(nation.consume, service))
            await survive(partial(nation.call, service))

    for turn in range(8):
        for person in range(2):
            await survive(partial(nation.advance, person, 0))
        await work()
        nation.at += timedelta(days=95 if turn == 6 else 4)
    await survive(partial(nation.withdraw, 0))
    await work()
    fate.over = True
    await nation.settle()
    return nation


def _restart(nation: Nation) -> None:
    """What a process held in memory is gone."""
    office = nation.stores["registration"]
    nation.allocator = Allocator(office, nation.allocator.questions, nation.clock)
    nation.allocator.looked = -math.inf
    for name, store in nation.stores.items():
        nation.timers[name] = Timer(name, store, nation.clock, asyncio.Lock())


async def lives(*points: tuple[int, bool]) -> Fate:
    """A life that ends at these points, and goes on; what must hold at its end does."""
    fate = Fate(*points)
    await check(await _life(fate))
    return fate


@pytest.mark.long
def test_no_crash_point_loses_or_doubles() -> None:
    """Exhaustively: before and after everything that the undisturbed life waits for."""
    whole = asyncio.run(lives()).seen
    assert whole > 150
    for n in range(1, whole + 1):
        for after in (False, True):
            assert asyncio.run(lives((n, after))).crashes == 1, (n, after)


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
