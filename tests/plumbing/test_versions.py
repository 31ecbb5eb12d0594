"""A deploy in the middle of the work: a service begins to hear one more topic; two versions of rules side by side."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition
from msgspec.structs import replace

from contracts.envelope import Envelope
from contracts.subjects import PARTITIONS
from plumbing.mongo import MongoStore
from plumbing.tasks import ended
from plumbing.worker import Worker
from tests.plumbing.country import Counting
from tests.plumbing.running import Country
from tests.plumbing.test_record import message
from tests.plumbing.test_worker import counted

pytestmark = pytest.mark.server
PEOPLE = 100


class Feed:
    """Keeps saying the next event about everybody, for as long as it is wanted."""

    def __init__(self, country: Country, source: str) -> None:
        self.country, self.source, self.said = country, source, 0

    async def once(self) -> None:
        """One more about each."""
        self.said += 1
        await self.country.say(self.source, *(message(self.source, self.said, subject=f"p{n}") for n in range(PEOPLE)))

    async def go_on(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.once()
            await asyncio.sleep(0.05)

    @property
    def total(self) -> int:
        """How many events it said."""
        return self.said * PEOPLE


async def cursors(country: Country, source: str) -> Mapping[tuple[str, int], int]:
    """Where reporting stands on one topic."""
    return await country.store("reporting").cursors(
        [TopicPartition(country.topics[source], p) for p in range(PARTITIONS)]
    )


class Trail:
    """Looks at the cursors again and again: they never go back."""

    def __init__(self, country: Country) -> None:
        self.country, self.last, self.looks = country, dict[Any, int](), 0

    async def go_on(self) -> None:
        """Until it is cancelled."""
        while True:
            now = {**await cursors(self.country, "registration"), **await cursors(self.country, "screening")}
            assert all(now[tp] >= at for tp, at in self.last.items())
            self.last, self.looks = dict(now), self.looks + 1
            await asyncio.sleep(0.05)


async def test_a_service_begins_to_hear_one_more_topic(country: Country) -> None:
    """Old workers that hear one topic and new ones that hear two, both at work: each event counts once, none is missed.

    They are two groups, and each has all partitions: what keeps them apart is the cursor alone.
    """
    heard = country.hears["reporting"]

    def old() -> Worker:
        country.hears["reporting"] = [country.topics["registration"]]
        return country.start(country.worker("reporting"))

    def new() -> Worker:
        country.hears["reporting"] = heard
        return country.start(country.worker("reporting"))

    feed, history, trail = Feed(country, "registration"), Feed(country, "screening"), Trail(country)
    for _ in range(3):
        await history.once()  # said before anybody hears it
    olds = [old(), old()]
    beside = [asyncio.create_task(feed.go_on()), asyncio.create_task(trail.go_on())]

    async def moved(by: int) -> None:
        """Progress: so many more events of what is being said."""
        wanted = sum((await cursors(country, "registration")).values()) + by

        async def holds() -> bool:
            return sum((await cursors(country, "registration")).values()) >= wanted

        await country.until(holds)

    await moved(2 * PEOPLE)
    news = [new()]
    await moved(3 * PEOPLE)  # all three at once
    await country.stop(olds.pop())
    news.append(new())
    await moved(3 * PEOPLE)
    await country.stop(olds.pop())
    await moved(2 * PEOPLE)
    assert not any(each.done() for each in beside)
    await ended(*beside)
    await country.until(country.at_end)
    assert trail.looks > 10
    assert await counted(country, ApplicantRegistered=feed.total, CaseOpened=history.total)()

    async def all_ready() -> bool:
        return [await each.ready() for each in news] == [[], []]

    await country.until(all_ready)  # the end of the log may be reached before the second has its share


class Next(Counting):
    """The next version: it remembers one thing more, and its states are not read by the one before."""

    VERSION = 2

    class State(Counting.State, frozen=True, omit_defaults=True):
        sources: tuple[str, ...] = ()

    @staticmethod
    def evolve(state: Any, envelope: Envelope) -> Any:
        known = Counting.evolve(state, envelope)
        return replace(known, sources=tuple(sorted({*state.sources, envelope.source})))


def of_version(country: Country, rules: Any) -> Worker:
    """A worker of reporting by these rules."""
    store = MongoStore(country.client[f"{country.name}_reporting"], "reporting", {"applicant": rules})
    return country.start(country.worker("reporting", store=store))


async def test_two_versions_of_the_rules_side_by_side(country: Country) -> None:
    """The old one pauses where it meets what the new one wrote, and touches nothing; once it is gone all is counted."""
    feed = Feed(country, "registration")
    old = of_version(country, Counting)
    await feed.once()
    await country.until(counted(country, ApplicantRegistered=PEOPLE))
    new = of_version(country, Next)
    beside = asyncio.create_task(feed.go_on())

    async def both() -> bool:
        written = await country.store("reporting").records.distinct("rules")
        return written == [1, 2] and bool(new.partitions) and bool(old.partitions)

    await country.until(both)
    await country.stop(new)  # its partitions go to the old one, which meets their records

    async def paused() -> bool:
        return bool(old.paused)

    await country.until(paused)
    await ended(beside)
    assert "NewerRules" in old.paused and any("paused" in each for each in await old.ready())
    stood = await cursors(country, "registration")
    await asyncio.sleep(0.5)
    assert await cursors(country, "registration") == stood  # it waits, and skips nothing
    newer = of_version(country, Next)
    await country.stop(old)
    await country.until(counted(country, ApplicantRegistered=feed.total))
    await country.until(country.at_end)
    assert await newer.ready() == []
    one = await country.store("reporting").records.find_one({"rules": 2})
    assert one and msgspec.json.decode(one["state"], type=Next.State).sources == ("registration",)
