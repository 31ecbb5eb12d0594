"""Screening's questions: memory and MongoDB answer the same, and a list of 500 decisions is one quick transaction."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import pytest

from base.clock import Moment
from contracts.envelope import Context, Envelope, encode
from contracts.events import ApplicantRegistered
from kernel.batch import process
from kernel.commands import CommandMetadata, execute, execute_many
from kernel.record import Message
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore, connect
from programme.calendar import day_end, tehran_day
from screening.domain.case import Decide
from screening.store import Cases, MemoryCases, MongoCases, memory_store, mongo_store, place_of, prepare

START = datetime(2025, 9, 27, 6, tzinfo=UTC)
APPROVE = Decide("approved", by="screener:of-1")
PERSON: dict[str, Any] = {"sex": "female", "age_band": "25-34", "work_mode": "independent", "intake_channel": "desk"}
World = tuple[MemoryStore | MongoStore, Cases]


def name(n: int) -> str:
    return f"0199a000-0000-7000-8000-{n:012d}"


def clock() -> Moment:
    return Moment(START + timedelta(days=3), datetime.now(UTC))


@pytest.fixture(params=["memory", pytest.param("mongo", marks=pytest.mark.server)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        store = memory_store()
        yield store, MemoryCases(store)
        return
    servers = request.getfixturevalue("servers")
    client = connect(servers.mongo)
    database = client[servers.database()]
    await prepare(database)
    await prepare(database)  # again: nothing changes
    kept = mongo_store(database)
    yield kept, MongoCases(kept)
    await client.drop_database(database.name)
    await client.close()


async def fill(store: MemoryStore | MongoStore, count: int, provinces: tuple[str, ...] = ("IR-20",)) -> list[str]:
    """Registers so many, three a day, the last first, and every fifth by officer of-5."""
    messages = []
    for n in range(count):
        province = provinces[n % len(provinces)]
        envelope = Envelope(
            source="registration", subject=name(n), sequence=1, time=START - timedelta(days=n // 3),
            event=ApplicantRegistered(**PERSON), actor="registrar:of-5" if n % 5 == 0 else "registrar:of-9",
            context=Context(
                round="1404", province=province, county=f"{province[3:]}0{n % 2 + 1}", field="JF001", policy="1404-1"
            ),
        )  # fmt: skip
        messages.append(Message(envelope, encode(envelope)))
    await process(store, messages, {}, clock)
    return [name(n) for n in range(count)]


async def test_the_queue_is_ordered_and_walked_in_pages(world: World) -> None:
    store, cases = world
    await fill(store, 20, ("IR-20", "IR-23"))
    walked: list[str] = []
    after = None
    while page := await cases.queue("IR-20", "open", 3, after):
        walked += [each.subject for each in page]
        after = place_of(page[-1])
    everybody = await cases.queue("", "open", 100)
    assert [each.subject for each in everybody] == [r.subject for r in sorted(everybody, key=place_of)]
    assert walked == [each.subject for each in everybody if each.indexed["scope"].startswith("IR-20")]
    assert len(await cases.queue("IR-20/2001", "open", 100)) == 10 and not await cases.queue("IR-20/2002", "open", 9)
    assert not await cases.queue("IR-2", "open", 9), "a scope is a place, not the beginning of its name"
    assert not await cases.queue("", "decided", 9)


async def test_counts_agree_with_the_queue(world: World) -> None:
    store, cases = world
    ids = await fill(store, 12)
    await execute_many(store, dict.fromkeys(ids[:3], APPROVE), clock)
    ends = [day_end(tehran_day(START) + timedelta(days=each)) for each in (8, 10, 11)]
    counts = await cases.counts("IR-20", ends)
    assert dict(counts.states) == {"open": 9, "decided": 3}
    assert counts.open_until == tuple([len(await cases.queue("IR-20", "open", 99, until=end)) for end in ends])
    assert counts.open_until[-1] == 9 and (await cases.counts("IR-23", ends)).states == {}


async def test_a_case_is_found_in_its_scope_alone(world: World) -> None:
    store, cases = world
    ids = await fill(store, 2, ("IR-20", "IR-23"))
    assert (await cases.case(ids[0], "IR-20")) and not await cases.case(ids[1], "IR-20")
    assert await cases.inside([*ids, name(77)], "IR-20") == {ids[0]}
    assert [each.event.TYPE for each in await cases.history(ids[0])] == ["ir.peyvand.screening.case.opened.v1"]
    assert await cases.history(name(77)) == []


async def test_what_officers_take_at_once_is_never_the_same(world: World) -> None:
    store, cases = world
    ids = await fill(store, 12)
    taken = await asyncio.gather(*(cases.take("IR-20", f"screener:of-{n % 3}") for n in range(15)))
    got = [each for each in taken if each]
    assert len(set(got)) == len(got) == 12
    assert set(await cases.held(ids)) == set(ids)
    assert await cases.take("IR-20", "screener:of-1") is None


async def test_nobody_is_handed_whom_they_registered(world: World) -> None:
    store, cases = world
    await fill(store, 1)
    assert await cases.take("IR-20", "manager:of-5") is None
    assert await cases.take("IR-20", "screener:of-1") == name(0)


async def test_many_officers_decide_one_case_once(world: World) -> None:
    store, cases = world
    (case,) = await fill(store, 1)
    asked = [execute(store, case, APPROVE, clock, CommandMetadata(actor=f"screener:of-{n}")) for n in range(8)]
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(not isinstance(each, Exception) for each in done) == 1
    assert len(await cases.history(case)) == 2


async def test_500_decisions_are_quick(world: World) -> None:
    store, _ = world
    ids = await fill(store, 500)
    began = perf_counter()
    done = await execute_many(store, dict.fromkeys(ids, APPROVE), clock)
    seconds = perf_counter() - began
    assert len(done) == 500 and not any(isinstance(each, Exception) for each in done.values())
    assert seconds < 5, f"500 decisions took {seconds:.2f} s"  # about 0.3 s where nothing else runs
