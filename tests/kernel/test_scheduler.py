"""The clock's calls: the longest overdue first, and no subject that says nothing blocks the rest."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from base.clock import Moment
from kernel.batch import process
from kernel.errors import Transient
from kernel.roles.scheduler import TICKS, Scheduler
from kernel.stores.memory import MemoryStore
from tests.kernel.test_record import message
from tests.support.small_services import NOON, PERIOD, Answering, noon

EVERYWHERE = frozenset(range(32))


def later() -> Moment:
    """When everything is due."""
    return Moment(NOON + PERIOD, NOON)


class Stubborn(Answering):
    """Some of whose subjects say nothing when called, and some meet a bug."""

    @staticmethod
    def decide(state: Any, command: Any, at: datetime) -> Any:
        if state.context.field == "silent":
            return []
        if state.context.field == "bug":
            raise ZeroDivisionError
        return Answering.decide(state, command, at)


async def due(rules: Any, **fields: int) -> MemoryStore:
    """So many subjects of each field, all due; those named first the longest."""
    store = MemoryStore("screening", {"applicant": rules})
    for field, n in fields.items():
        await process(
            store, [message("registration", 1, subject=f"{field}{k}", field=field) for k in range(n)], {}, noon
        )
    return store


def breached(store: MemoryStore) -> int:
    """How many said it."""
    return sum(len(emitted) == 2 for emitted in store.emitted.values())


async def test_everything_due_is_called_once() -> None:
    """In rounds of bounded size; the last one says that nothing is left."""
    store = await due(Answering, honey=TICKS + 50)
    timer = Scheduler("screening", store, later, asyncio.Lock())
    assert await timer.once(EVERYWHERE)
    assert not await timer.once(EVERYWHERE)
    assert breached(store) == TICKS + 50
    assert {len(each) for each in store.emitted.values()} == {2}


async def test_nothing_is_called_before_its_time() -> None:
    """Programme time, and the owner's partitions only."""
    store = await due(Answering, honey=9)
    assert not await Scheduler("screening", store, noon, asyncio.Lock()).once(EVERYWHERE)
    assert not await Scheduler("screening", store, later, asyncio.Lock()).once(frozenset())
    assert breached(store) == 0


@pytest.mark.parametrize("field", ["silent", "bug"])
async def test_those_that_say_nothing_do_not_block_the_rest(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than one round holds, and longer overdue than everybody else."""
    monkeypatch.setattr("kernel.roles.scheduler.TICKS", 10)
    store = await due(Stubborn, **{field: 11, "honey": 20})
    timer = Scheduler("screening", store, later, asyncio.Lock())
    for _ in range(8):
        await timer.once(EVERYWHERE)
    assert breached(store) == 20 and len(timer.silent) == 11
    timer.forget()
    assert not timer.silent  # they are called on again, as their rules may have been mended


async def test_a_duty_that_fails_keeps_nobody_from_theirs() -> None:
    """Passing trouble is waited out by the loop; a bug is told and the next duty has its turn."""
    done = []

    async def broken(partitions: frozenset[int]) -> int:
        raise ZeroDivisionError

    async def well(partitions: frozenset[int]) -> int:
        done.append(partitions)
        return TICKS

    async def away(partitions: frozenset[int]) -> int:
        raise Transient

    store = MemoryStore("screening", {"applicant": Answering})  # type: ignore[dict-item]
    assert await Scheduler("screening", store, later, asyncio.Lock(), [broken, well]).once(EVERYWHERE)
    assert done == [EVERYWHERE]
    with pytest.raises(Transient):
        await Scheduler("screening", store, later, asyncio.Lock(), [away]).once(EVERYWHERE)
