"""Counters: at any moment what a full count would find, and no writer waits for others."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.commands import Refused
from contracts.subjects import PARTITIONS, partition_of
from kernel.batch import process
from kernel.commands import execute, execute_many
from kernel.errors import Transient
from kernel.record import Message
from kernel.store import Change
from kernel.stores.mongodb import MongoStore
from kernel.stores.mongodb.counters import DAY, INTERVAL, MongoCounters
from tests.support.crash_injection import CrashingProcess, CrashPoint
from tests.support.fixtures import StoreOf
from tests.support.messages import message
from tests.support.small_services import NOON, Decide, ScreeningRules, noon
from tests.support.small_workers import SmallSystem, counted_exactly

PEOPLE = 120
TOPIC = "peyvand.registration"
EVERYWHERE = frozenset(range(PARTITIONS))


class OtherRules(ScreeningRules):
    """A version that counts something else."""

    COUNTED = 2

    @staticmethod
    def counted(indexed: Any) -> list[tuple[str, str]]:
        return [("all", "cases")]


class Crash(BaseException):
    """The process has ended: no handler may treat this as an error."""


def crash() -> None:
    """End the process."""
    raise Crash


async def consume(store: Any, subjects: Sequence[str], projection: Any = None) -> None:
    """Open a case for each of these people, a partition at a time, as the owner of the partitions does."""
    by_partition: dict[int, list[Message]] = {}
    for subject in subjects:
        by_partition.setdefault(partition_of(subject), []).append(message("registration", 1, subject=subject))
    for partition, messages in by_partition.items():
        tp = TOPIC, partition
        start = (await store.cursors([tp]))[tp]
        await process(store, messages, {tp: (start, start + len(messages))}, noon, projection)


async def count_marked(store: MongoStore) -> int:
    """Run the job until every record is counted; return how many were not."""
    done = 0
    while True:
        store.counters.looked_at = float("-inf")
        if not (n := await store.counters(EVERYWHERE)):
            return done
        done += n


async def test_events_and_commands_are_counted(store_of: StoreOf) -> None:
    store = await store_of("screening")
    await consume(store, [f"p{n}" for n in range(10)])
    assert await store.counts(["cases", "none"]) == {"cases": {"due": 10}, "none": {}}
    await execute(store, "p0", Decide(), noon)
    await execute(store, "p0", Decide("rejected"), noon)
    await execute_many(store, {"p1": Decide(), "p2": Decide()}, noon)
    assert await store.counts(["cases"]) == {"cases": {"due": 7, "not due": 3}}


@pytest.mark.server
async def test_marked_records_are_counted_once_by_the_owner(small_system: SmallSystem) -> None:
    store = small_system.store("screening")
    await consume(store, [f"p{n}" for n in range(10)])
    assert await count_marked(store) == 0, "the owner counts what it consumes at once"
    for n in range(4):
        await execute(store, f"p{n}", Decide(), noon)
    before = (await store.read(["p0"]))["p0"]
    others = [small_system.store("screening") for _ in range(3)]
    assert sum(await asyncio.gather(*map(count_marked, [store, *others]))) == 4
    assert (await store.read(["p0"]))["p0"].version == before.version, "counting is no change of the record"
    await counted_exactly(small_system)


@pytest.mark.server
async def test_a_record_that_was_counted_since_it_was_read_is_read_again(small_system: SmallSystem) -> None:
    """Otherwise it would be marked with what it was counted as before."""
    store = small_system.store("screening")
    await consume(store, ["p0"])
    await execute(store, "p0", Decide(), noon)
    before = (await store.read(["p0"]))["p0"]
    assert await count_marked(store) == 1
    assert await store.swap(before, replace(before, indexed={"due": NOON})) is None
    now = (await store.read(["p0"]))["p0"]
    assert await store.swap(now, replace(now, indexed={"due": NOON}))
    await counted_exactly(small_system)


@pytest.mark.server
async def test_counters_are_exact_while_everything_happens_at_once(small_system: SmallSystem) -> None:
    """Batches, commands, lists of commands and two owners; a reader finds everyone exactly once at any time."""
    store, chance = small_system.store("screening"), random.Random(7)
    people = [f"p{n}" for n in range(PEOPLE)]
    await consume(store, people[: PEOPLE // 2])
    consumed, stop = PEOPLE // 2, asyncio.Event()

    async def decide() -> None:
        api = small_system.store("screening")
        for _ in range(60):
            with suppress(Refused):
                await execute(api, chance.choice(people), Decide(chance.choice(["approved", "rejected"])), noon)

    async def decide_many() -> None:
        api = small_system.store("screening")
        for _ in range(6):
            await execute_many(api, dict.fromkeys(chance.sample(people, 20), Decide()), noon)

    async def own() -> None:
        owner = small_system.store("screening")
        while not stop.is_set():
            await count_marked(owner)

    async def read() -> None:
        reader = small_system.store("screening")
        while not stop.is_set():
            low = consumed
            found = (await reader.counts(["cases"]))["cases"]
            assert low <= sum(found.values()) <= PEOPLE
            assert await reader.counters.check() == {}

    background = [asyncio.create_task(each()) for each in (own, own, read)]
    deciding = [asyncio.create_task(each()) for each in (decide, decide, decide_many)]
    for n in range(PEOPLE // 2, PEOPLE):
        await consume(store, [people[n]])
        consumed = n + 1
    await asyncio.gather(*deciding)
    stop.set()
    await asyncio.gather(*background)
    await counted_exactly(small_system)
    await count_marked(store)
    await counted_exactly(small_system)


@pytest.mark.server
async def test_a_command_does_not_wait_for_a_batch_nor_stop_it(small_system: SmallSystem) -> None:
    """A decision about someone of the same partition, while a batch that moves the same counters is under way."""
    store, attempts = small_system.store("screening"), 0
    first = "p0"
    other = next(f"p{n}" for n in range(1, 999) if partition_of(f"p{n}") == partition_of(first))
    await consume(store, [first])

    async def projection(changes: Sequence[Change], session: Any) -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.wait_for(execute(small_system.store("screening"), first, Decide(), noon), 5)

    await consume(store, [other], projection)
    assert attempts == 1
    assert await store.counts(["cases"]) == {"cases": {"due": 1, "not due": 1}}


@pytest.mark.server
async def test_a_process_that_ends_anywhere_counts_nothing_twice(small_system: SmallSystem) -> None:
    """Before and after each call of the database in a batch, a command and the owner's count; then all of it again."""

    async def work(process: CrashingProcess, n: int) -> None:
        store = process.store(small_system.store("screening"))
        await consume(store, [f"p{n}"])
        await execute(store, f"p{n}", Decide(), noon)
        await count_marked(store)

    model, ended = CrashingProcess(), 0
    await work(model, 0)
    passed = {what for what, _ in model.passed}
    assert {"counters.bulk_write", "records.update_one", "records.update_many", "commit"} <= passed
    points = [CrashPoint(*where, nth + 1) for where, times in sorted(model.passed.items()) for nth in range(times)]
    for n, point in enumerate(points, 1):
        try:
            await work(CrashingProcess(point, crash), n)
        except Crash:
            ended += 1
        await counted_exactly(small_system)
        await work(CrashingProcess(), n)
        await counted_exactly(small_system)
    assert ended > len(points) / 2, "some calls are made once in a database"


@pytest.mark.server
async def test_what_counters_lack_is_found_and_added_once(small_system: SmallSystem) -> None:
    store = small_system.store("screening")
    await consume(store, [f"p{n}" for n in range(20)])
    await execute(store, "p0", Decide(), noon)
    await store.counters.counters.update_one({"group": "cases"}, {"$set": {"n.due": 50, "n.wrong": 3}})
    lacking = await store.counters.check()
    assert lacking["cases", "wrong"] == -3 and lacking["cases", "due"] < 0
    assert await store.counters.check() == lacking, "finding changes nothing"
    workers = [small_system.store("screening").counters.check(correct=True) for _ in range(3)]
    await asyncio.gather(*workers, execute(store, "p1", Decide(), noon))
    await counted_exactly(small_system)


@pytest.mark.server
async def test_a_count_that_outlives_its_snapshot_is_done_in_parts(
    small_system: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MongoDB keeps a snapshot for a minute, in which ten million records cannot be counted."""
    store, whole, parts = small_system.store("screening"), MongoCounters._check, list[int]()
    await consume(store, [f"p{n}" for n in range(40)])
    await store.counters.counters.update_many({"group": "cases"}, {"$inc": {"n.wrong": 3}})
    lacking = await store.counters.check()

    async def too_old(self: MongoCounters, partitions: range, correct: bool) -> Any:
        parts.append(len(partitions))
        if len(partitions) > most:
            raise Transient("SnapshotTooOld")
        return await whole(self, partitions, correct)

    monkeypatch.setattr(MongoCounters, "_check", too_old)
    most = 4
    assert await store.counters.check(correct=True) == lacking
    assert (parts.count(32), parts.count(4), min(parts)) == (1, 8, 4)
    most = 32
    await counted_exactly(small_system)
    most = 0
    with pytest.raises(Transient):
        await store.counters.check()


@pytest.mark.server
async def test_a_version_that_counts_otherwise_corrects_the_counters(small_system: SmallSystem) -> None:
    store, newer = small_system.store("screening"), small_system.store("screening", OtherRules)
    await consume(store, [f"p{n}" for n in range(20)])
    await count_marked(store)
    await execute(newer, "p0", Decide(), noon)
    await count_marked(newer)
    assert await newer.counts(["all", "cases"]) == {"all": {"cases": 20}, "cases": {}}
    assert await newer.counters.check() == {}


@pytest.mark.server
async def test_a_counter_that_returns_to_zero_takes_no_space(small_system: SmallSystem) -> None:
    store = small_system.store("screening")
    await consume(store, ["p0"])
    await execute(store, "p0", Decide(), noon)
    await count_marked(store)
    store.counters.cleaned_at -= 2 * DAY
    store.counters.looked_at -= INTERVAL
    await store.counters(EVERYWHERE)
    assert (await store.counters.counters.find_one({"group": "cases"}))["n"] == {"not due": 1}  # type: ignore[index]


@pytest.mark.server
async def test_a_record_that_cannot_be_counted_stops_no_other(small_system: SmallSystem) -> None:
    """Neither who reads the counts, nor the owner who counts, nor a correction; marked or not, damaged or newer."""
    store = small_system.store("screening")
    await consume(store, [f"p{n}" for n in range(10)])
    assert await count_marked(store) == 0
    for n in range(4):
        await execute(store, f"p{n}", Decide(), noon)
    poisons = {"p0": {"counted_as": "x"}, "p1": {"indexed": 7}, "p2": {"kind": "newer"}, "p9": {"indexed": None}}
    poisons["p8"] = {"partition": "x"}
    for subject, poison in poisons.items():
        await store.records.update_one({"_id": subject}, {"$set": poison})
    before = [d async for d in store.records.find({"_id": {"$in": list(poisons)}})]
    assert await store.counts(["cases"]) == {"cases": {"due": 9, "not due": 1}}
    assert await count_marked(store) == 1, "p3"
    assert await store.counts(["cases"]) == {"cases": {"due": 9, "not due": 1}}
    await store.counters.check(correct=True)
    assert await store.counts(["cases"]) == {"cases": {"due": 4, "not due": 1}}
    assert [d async for d in store.records.find({"_id": {"$in": list(poisons)}})] == before, "left as they are"
