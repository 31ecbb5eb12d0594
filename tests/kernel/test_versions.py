"""A deploy in the middle of the work: a service begins to hear one more topic; two versions of rules side by side."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition
from msgspec.structs import replace

from base.tasks import cancel_and_wait
from contracts.envelope import Envelope
from contracts.subjects import PARTITIONS
from kernel.roles.worker import Worker
from kernel.stores.mongodb import MongoStore
from tests.kernel.test_record import message
from tests.kernel.test_worker import counted
from tests.support.small_services import Counting
from tests.support.small_workers import SmallSystem

pytestmark = pytest.mark.server
PEOPLE = 100


class Feed:
    """Keeps saying the next event about everybody, for as long as it is wanted."""

    def __init__(self, small_system: SmallSystem, source: str) -> None:
        self.small_system, self.source, self.said = small_system, source, 0

    async def once(self) -> None:
        """One more about each."""
        self.said += 1
        await self.small_system.say(
            self.source, *(message(self.source, self.said, subject=f"p{n}") for n in range(PEOPLE))
        )

    async def go_on(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.once()
            await asyncio.sleep(0.05)

    @property
    def total(self) -> int:
        """How many events it said."""
        return self.said * PEOPLE


async def cursors(small_system: SmallSystem, source: str) -> Mapping[tuple[str, int], int]:
    """Where reporting stands on one topic."""
    return await small_system.store("reporting").cursors(
        [TopicPartition(small_system.topics[source], p) for p in range(PARTITIONS)]
    )


class Trail:
    """Looks at the cursors again and again: they never go back."""

    def __init__(self, small_system: SmallSystem) -> None:
        self.small_system, self.last, self.looks = small_system, dict[Any, int](), 0

    async def go_on(self) -> None:
        """Until it is cancelled."""
        while True:
            now = {**await cursors(self.small_system, "registration"), **await cursors(self.small_system, "screening")}
            assert all(now[tp] >= at for tp, at in self.last.items())
            self.last, self.looks = dict(now), self.looks + 1
            await asyncio.sleep(0.05)


async def test_a_service_begins_to_hear_one_more_topic(small_system: SmallSystem) -> None:
    """Old workers that hear one topic and new ones that hear two, both at work: each event counts once, none is missed.

    They are two groups, and each has all partitions: what keeps them apart is the cursor alone.
    """
    heard = small_system.hears["reporting"]

    def old() -> Worker:
        small_system.hears["reporting"] = [small_system.topics["registration"]]
        return small_system.start(small_system.worker("reporting"))

    def new() -> Worker:
        small_system.hears["reporting"] = heard
        return small_system.start(small_system.worker("reporting"))

    feed, history, trail = Feed(small_system, "registration"), Feed(small_system, "screening"), Trail(small_system)
    for _ in range(3):
        await history.once()  # said before anybody hears it
    olds = [old(), old()]
    beside = [asyncio.create_task(feed.go_on()), asyncio.create_task(trail.go_on())]

    async def moved(by: int) -> None:
        """Progress: so many more events of what is being said."""
        wanted = sum((await cursors(small_system, "registration")).values()) + by

        async def holds() -> bool:
            return sum((await cursors(small_system, "registration")).values()) >= wanted

        await small_system.until(holds)

    await moved(2 * PEOPLE)
    news = [new()]
    await moved(3 * PEOPLE)  # all three at once
    await small_system.stop(olds.pop())
    news.append(new())
    await moved(3 * PEOPLE)
    await small_system.stop(olds.pop())
    await moved(2 * PEOPLE)
    assert not any(each.done() for each in beside)
    await cancel_and_wait(*beside)
    await small_system.until(small_system.at_end)
    assert trail.looks > 10
    assert await counted(small_system, ApplicantRegistered=feed.total, CaseOpened=history.total)()

    async def all_ready() -> bool:
        return [await each.ready() for each in news] == [[], []]

    await small_system.until(all_ready)  # the end of the log may be reached before the second has its share


class Next(Counting):
    """The next version: it remembers one thing more, and its states are not read by the one before."""

    VERSION = 2

    class State(Counting.State, frozen=True, omit_defaults=True):
        sources: tuple[str, ...] = ()

    @staticmethod
    def evolve(state: Any, envelope: Envelope) -> Any:
        known = Counting.evolve(state, envelope)
        return replace(known, sources=tuple(sorted({*state.sources, envelope.source})))


def of_version(small_system: SmallSystem, rules: Any) -> Worker:
    """A worker of reporting by these rules."""
    store = MongoStore(small_system.client[f"{small_system.name}_reporting"], "reporting", {"applicant": rules})
    return small_system.start(small_system.worker("reporting", store=store))


async def test_two_versions_of_the_rules_side_by_side(small_system: SmallSystem) -> None:
    """The old one pauses where it meets what the new one wrote, and touches nothing; once it is gone all is counted."""
    feed = Feed(small_system, "registration")
    old = of_version(small_system, Counting)
    await feed.once()
    await small_system.until(counted(small_system, ApplicantRegistered=PEOPLE))
    new = of_version(small_system, Next)
    beside = asyncio.create_task(feed.go_on())

    async def both() -> bool:
        written = await small_system.store("reporting").records.distinct("rules")
        return written == [1, 2] and bool(new.partitions) and bool(old.partitions)

    await small_system.until(both)
    await small_system.stop(new)  # its partitions go to the old one, which meets their records

    async def paused() -> bool:
        return bool(old.paused)

    await small_system.until(paused)
    await cancel_and_wait(beside)
    assert "NewerRules" in old.paused and any("paused" in each for each in await old.ready())
    stood = await cursors(small_system, "registration")
    await asyncio.sleep(0.5)
    assert await cursors(small_system, "registration") == stood  # it waits, and skips nothing
    newer = of_version(small_system, Next)
    await small_system.stop(old)
    await small_system.until(counted(small_system, ApplicantRegistered=feed.total))
    await small_system.until(small_system.at_end)
    assert await newer.ready() == []
    one = await small_system.store("reporting").records.find_one({"rules": 2})
    assert one and msgspec.json.decode(one["state"], type=Next.State).sources == ("registration",)
