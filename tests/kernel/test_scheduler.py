"""The scheduler: the longest overdue subject first, and no unresponsive subject blocks the others."""

import asyncio
from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from base.clock import Moment
from kernel.batch import process
from kernel.errors import Transient
from kernel.record import EVENTS_LIMIT
from kernel.roles.scheduler import TICKS, Scheduler
from kernel.stores.memory import MemoryStore
from tests.support.fixtures import StoreOf
from tests.support.messages import message
from tests.support.small_services import NOON, PERIOD, ScreeningRules, noon

EVERYWHERE = frozenset(range(32))


def later() -> Moment:
    """Return a time at which every case is due."""
    return Moment(NOON + PERIOD, NOON)


class Unresponsive(ScreeningRules):
    """Rules that emit nothing for a tick, or raise, depending on the job field."""

    @staticmethod
    def decide(state: Any, command: Any, at: datetime) -> Any:
        if state.context.field == "nothing":
            return []
        if state.context.field == "raises":
            raise ZeroDivisionError
        return ScreeningRules.decide(state, command, at)


async def store_with_due(rules: Any, **fields: int) -> MemoryStore:
    """Return a store with so many due subjects of each job field; those of the first field are overdue the longest."""
    store = MemoryStore("screening", {"applicant": rules})
    for field, n in fields.items():
        await process(
            store, [message("registration", 1, subject=f"{field}{k}", field=field) for k in range(n)], {}, noon
        )
    return store


def breached(store: MemoryStore) -> int:
    """Return how many subjects have emitted CaseBreached."""
    return sum(len(events) == 2 for events in store.events.values())


def faults() -> float:
    """Return how many faults of the scheduler were counted."""
    return REGISTRY.get_sample_value("peyvand_scheduler_faults_total", {"service": "screening"}) or 0.0


async def test_every_due_subject_gets_one_tick() -> None:
    """Rounds are of bounded size; each returns how much it did."""
    store = await store_with_due(ScreeningRules, honey=TICKS + 50)
    scheduler = Scheduler("screening", store, later, asyncio.Lock())
    assert await scheduler.once(EVERYWHERE) == TICKS
    assert breached(store) == TICKS
    assert await scheduler.once(EVERYWHERE) == 50
    assert breached(store) == TICKS + 50
    assert {len(each) for each in store.events.values()} == {2}


async def test_no_subject_gets_a_tick_before_its_time_or_from_another_owner() -> None:
    """Programme time counts, and only the partitions of this worker."""
    store = await store_with_due(ScreeningRules, honey=9)
    assert not await Scheduler("screening", store, noon, asyncio.Lock()).once(EVERYWHERE)
    assert not await Scheduler("screening", store, later, asyncio.Lock()).once(frozenset())
    assert breached(store) == 0


@pytest.mark.parametrize("field", ["nothing", "raises"])
async def test_unresponsive_subjects_do_not_block_the_others(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are more of them than one round holds, and they are overdue longer than all others."""
    monkeypatch.setattr("kernel.roles.scheduler.TICKS", 10)
    store = await store_with_due(Unresponsive, **{field: 11, "honey": 20})
    scheduler = Scheduler("screening", store, later, asyncio.Lock())
    for _ in range(8):
        await scheduler.once(EVERYWHERE)
    assert breached(store) == 20 and len(scheduler.unresponsive) == 11
    scheduler.retry_unresponsive()
    assert not scheduler.unresponsive  # a new version of the rules may respond


async def test_a_full_subject_counts_as_a_fault_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Its rules do not raise, but its record takes no more events."""
    store, before = await store_with_due(ScreeningRules, honey=3), faults()
    store.records["honey1"] = replace(store.records["honey1"], last_sequence=EVENTS_LIMIT)
    scheduler = Scheduler("screening", store, later, asyncio.Lock())
    await scheduler.once(EVERYWHERE)
    assert breached(store) == 2 and scheduler.unresponsive == {"honey1"}
    assert faults() == before + 1 and "subject='honey1'" in capsys.readouterr().out


async def test_a_periodic_job_that_fails_does_not_stop_the_next_one() -> None:
    """Transient errors are raised, and the loop retries them; other errors are logged."""
    done = []

    async def broken(partitions: frozenset[int]) -> int:
        raise ZeroDivisionError

    async def working(partitions: frozenset[int]) -> int:
        done.append(partitions)
        return TICKS

    async def unreachable(partitions: frozenset[int]) -> int:
        raise Transient

    store = MemoryStore("screening", {"applicant": ScreeningRules})  # type: ignore[dict-item]
    assert await Scheduler("screening", store, later, asyncio.Lock(), [broken, working]).once(EVERYWHERE) == TICKS
    assert done == [EVERYWHERE]
    with pytest.raises(Transient):
        await Scheduler("screening", store, later, asyncio.Lock(), [unreachable]).once(EVERYWHERE)


@pytest.mark.server
@pytest.mark.parametrize("store_of", [pytest.param("mongodb", marks=pytest.mark.server)], indirect=True)
async def test_a_damaged_record_that_is_due_counts_as_a_fault_and_a_newer_one_does_not(store_of: StoreOf) -> None:
    """The newer version's own scheduler sends the tick to the latter."""

    store = await store_of("screening")
    subjects = ["damaged", "healthy", "newer"]
    await process(store, [message("registration", 1, subject=s) for s in subjects], {}, noon)
    await store.records.update_one({"_id": "damaged"}, {"$set": {"state": '{"context": 5}'}})
    await store.records.update_one({"_id": "newer"}, {"$set": {"rules_version": 9}})
    scheduler, before = Scheduler("screening", store, later, asyncio.Lock()), faults()
    for _ in range(2):
        await scheduler.once(EVERYWHERE)
    assert scheduler.unresponsive == {"damaged", "newer"} and faults() == before + 1
    assert (await store.read(["healthy"]))["healthy"].last_sequence == 2
