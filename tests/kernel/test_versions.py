"""Rolling deployments: one more topic, two versions of the rules, and an event type that only new consumers know."""

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition
from msgspec.structs import replace

from base.tasks import cancel_and_wait
from contracts.envelope import Envelope
from contracts.subjects import PARTITIONS
from kernel.record import BLOCKED, Message
from kernel.roles.worker import Worker
from peyvand.local_cluster.processes import kill, stop
from tests.support.messages import message, unknown
from tests.support.small_services import ReportingRules
from tests.support.small_workers import SmallSystem

pytestmark = pytest.mark.server
PEOPLE = 100


class Feed:
    """Publishes one event after the other about each of PEOPLE subjects."""

    def __init__(self, small_system: SmallSystem, source: str) -> None:
        self.small_system, self.source, self.rounds = small_system, source, 0

    async def once(self) -> None:
        """Publish the next event about each subject."""
        self.rounds += 1
        events = [message(self.source, self.rounds, subject=f"p{n}") for n in range(PEOPLE)]
        await self.small_system.publish(self.source, *events)

    async def forever(self) -> None:
        """Publish until cancelled."""
        while True:
            await self.once()
            await asyncio.sleep(0.05)

    @property
    def total(self) -> int:
        """Return how many events were published."""
        return self.rounds * PEOPLE


async def cursors(small_system: SmallSystem, source: str) -> Mapping[tuple[str, int], int]:
    """Return the cursors of reporting in one topic."""
    return await small_system.store("reporting").cursors(
        [TopicPartition(small_system.topics[source], p) for p in range(PARTITIONS)]
    )


class CursorMonitor:
    """Reads the cursors again and again, and raises if one has moved back."""

    def __init__(self, small_system: SmallSystem) -> None:
        self.small_system, self.last, self.reads = small_system, dict[Any, int](), 0

    async def forever(self) -> None:
        """Read until cancelled."""
        while True:
            now = {**await cursors(self.small_system, "registration"), **await cursors(self.small_system, "screening")}
            assert all(now[tp] >= at for tp, at in self.last.items())
            self.last, self.reads = dict(now), self.reads + 1
            await asyncio.sleep(0.05)


# One more topic


async def test_a_service_consumes_one_more_topic(small_system: SmallSystem) -> None:
    """Old workers consume one topic, new ones two, both at the same time: each event counts once, none is missed.

    They are two consumer groups, each of which is assigned all partitions: the cursor alone keeps them apart.
    """
    both_topics = small_system.consumes["reporting"]

    def start(topics: list[str]) -> Worker:
        small_system.consumes["reporting"] = topics
        worker = small_system.start(small_system.worker("reporting"))
        small_system.consumes["reporting"] = both_topics
        return worker

    def start_old() -> Worker:
        return start([small_system.topics["registration"]])

    def start_new() -> Worker:
        return start(both_topics)

    feed, history = Feed(small_system, "registration"), Feed(small_system, "screening")
    monitor = CursorMonitor(small_system)
    for _ in range(3):
        await history.once()  # published before any worker consumes it
    old = [start_old(), start_old()]
    background = [asyncio.create_task(feed.forever()), asyncio.create_task(monitor.forever())]

    async def progress(events: int) -> None:
        """Wait until so many more events are consumed."""
        wanted = sum((await cursors(small_system, "registration")).values()) + events

        async def holds() -> bool:
            return sum((await cursors(small_system, "registration")).values()) >= wanted

        await small_system.until(holds)

    await progress(2 * PEOPLE)
    new = [start_new()]
    await progress(3 * PEOPLE)  # with all three
    await small_system.stop(old.pop())
    new.append(start_new())
    await progress(3 * PEOPLE)
    await small_system.stop(old.pop())
    await progress(2 * PEOPLE)
    assert not any(each.done() for each in background)
    await cancel_and_wait(*background)
    await small_system.settles({"ApplicantRegistered": feed.total, "CaseOpened": history.total})
    assert monitor.reads > 10

    async def all_ready() -> bool:
        return [await each.ready() for each in new] == [[], []]

    await small_system.until(all_ready)  # the second may get its partitions only after the end is reached


# Two versions of the rules


class NewerRules(ReportingRules):
    """The next version: it also remembers the sources, and version 1 cannot read its states."""

    VERSION = 2

    class State(ReportingRules.State, frozen=True, omit_defaults=True):
        sources: tuple[str, ...] = ()

    @staticmethod
    def evolve(state: Any, envelope: Envelope) -> Any:
        evolved = ReportingRules.evolve(state, envelope)
        return replace(evolved, sources=tuple(sorted({*state.sources, envelope.source})))


def start_with(small_system: SmallSystem, rules: Any) -> Worker:
    """Start a worker of reporting with these rules."""
    return small_system.start(small_system.worker("reporting", store=small_system.store("reporting", rules)))


async def test_two_versions_of_the_rules_side_by_side(small_system: SmallSystem) -> None:
    """The old worker parks the events of subjects that newer rules have written, and leaves their records alone.

    Other subjects flow, no worker stops, and the new version drains what is parked.
    """
    feed, records = Feed(small_system, "registration"), small_system.store("reporting").records
    old = start_with(small_system, ReportingRules)
    await feed.once()
    await small_system.settles({"ApplicantRegistered": PEOPLE})
    new = start_with(small_system, NewerRules)
    feeding = asyncio.create_task(feed.forever())

    async def both_write() -> bool:
        written = await records.distinct("rules_version")
        return written == [1, 2] and bool(new.consumer.partitions) and bool(old.consumer.partitions)

    await small_system.until(both_write)
    await small_system.stop(new)  # its partitions go to the old worker, with records that this one cannot read
    newer = {d["_id"]: d async for d in records.find({"rules_version": 2})}
    assert 0 < len(newer) < PEOPLE

    async def all_newer_are_parked() -> bool:
        heads = await old.store.parked.heads(["newer_rules"])
        return {each.subject for each in heads} == newer.keys()

    await small_system.until(all_newer_are_parked)
    await cancel_and_wait(feeding)
    await feed.once()
    await small_system.until(small_system.at_end)
    assert not old.paused and await old.ready() == []
    assert {d["_id"]: d async for d in records.find({"rules_version": 2})} == newer, "the old worker wrote to them"
    flowing = [d["inbox"]["registration"] async for d in records.find({"rules_version": 1})]
    assert set(flowing) == {feed.rounds}, "other subjects do not wait"
    newest = start_with(small_system, NewerRules)
    await small_system.stop(old)
    await small_system.settles({"ApplicantRegistered": feed.total}, within=60)
    assert not await newest.store.parked.collection.count_documents({})
    assert await newest.ready() == [] and not await small_system.store("reporting").undecodable.count_documents({})
    one = await records.find_one({"rules_version": 2})
    assert one and msgspec.json.decode(one["state"], type=NewerRules.State).sources == ("registration",)


# A new type of event


KNOWN = [f"p{n}" for n in range(50)]  # only events of known types are about these
PHOTOGRAPHED = [f"u{n}" for n in range(20)]  # some events about these are of the new type


def events(*sequences: int, new_type: Sequence[int] = ()) -> list[Message]:
    """Return events about all subjects; those in `new_type` are of the new type for PHOTOGRAPHED."""
    found = [message("registration", n, subject=s) for n in sequences for s in KNOWN]
    return found + [
        unknown(n, s) if n in new_type else message("registration", n, subject=s)
        for n in sequences
        for s in PHOTOGRAPHED
    ]


async def heads(small_system: SmallSystem, service: str) -> dict[str, tuple[str, int, int]]:
    """Return the heads of blocked events by subject: reason, sequence, number of events behind."""
    found = await small_system.store(service).parked.heads(BLOCKED)
    return {each.subject: (each.reason, each.sequence, each.behind) for each in found}


async def test_a_new_producer_beside_old_consumers(small_system: SmallSystem) -> None:
    """Events of a type that the consumers do not know wait alone; new consumers drain them without an operator."""
    services = ("screening", "reporting")
    old = [small_system.start(small_system.worker(service)) for service in services]
    await small_system.publish("registration", *events(1, 2, 3, new_type=[2]))
    handled = 3 * len(KNOWN) + len(PHOTOGRAPHED)
    await small_system.settles({"ApplicantRegistered": handled, "CaseOpened": handled})
    for service, worker in zip(services, old, strict=True):
        assert await heads(small_system, service) == dict.fromkeys(PHOTOGRAPHED, ("unknown_type", 2, 1))
        assert not await worker.store.undecodable.count_documents({})
        assert await worker.ready() == []
    newer_contracts = {"PEYVAND_TEST_NEWER_CONTRACTS": "1"}
    new = [small_system.process(service, environment=newer_contracts) for service in services]
    try:
        await _joined(small_system, old)
        await small_system.publish("registration", *events(4, 5, new_type=[4]))  # the old ones still park theirs
        for worker in old:
            await small_system.stop(worker)
        registered = 5 * len(KNOWN) + 3 * len(PHOTOGRAPHED)
        expected = {"ApplicantRegistered": registered, "CaseOpened": registered}
        expected["ApplicantPhotographed"] = 2 * len(PHOTOGRAPHED)
        await small_system.settles(expected, services=services, within=60, quiet=2)
        for service in services:
            assert not await small_system.store(service).parked.collection.count_documents({})
            assert not await small_system.store(service).undecodable.count_documents({})
        assert [process.poll() for process in new] == [None, None]
    finally:
        _end(new)


async def _joined(small_system: SmallSystem, old: Sequence[Worker]) -> None:
    """Wait until new workers have taken some partitions from each of the old ones."""

    async def holds() -> bool:
        return all(0 < len(worker.consumer.partitions) < PARTITIONS for worker in old)

    await small_system.until(holds, within=60)


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        kill(process)
        stop(process, 0)
