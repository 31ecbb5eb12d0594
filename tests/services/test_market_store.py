"""Market's questions: memory and MongoDB answer the same."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from base.clock import Moment
from contracts.commands import Refused, Tick
from contracts.envelope import Context, Envelope, encode
from contracts.events import CapacityIdentified
from contracts.subjects import lead_subject
from kernel.batch import process
from kernel.commands import CommandMetadata, execute, execute_many
from kernel.errors import UniqueViolation
from kernel.record import Message, Private
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore, connect
from market.domain.connection import Connect
from market.domain.lead import Enlist
from market.domain.offer import MakeOffer
from market.store import MemoryQuestions, MongoQuestions, Questions, memory_store, mongo_store, prepare

START = datetime(2025, 11, 1, 6, tzinfo=UTC)
SALE = Connect("cooperative", "cooperative", "E2", role="manager")
World = tuple[MemoryStore | MongoStore, Questions]


def name(n: int) -> str:
    return f"0199a000-0000-7000-8000-{n:012d}"


def clock() -> Moment:
    return Moment(START, datetime.now(UTC))


@pytest.fixture(params=["memory", pytest.param("mongo", marks=pytest.mark.server)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        store = memory_store()
        yield store, MemoryQuestions(store)
        return
    servers = request.getfixturevalue("servers")
    client = connect(servers.mongo)
    database = client[servers.database()]
    await prepare(database)
    await prepare(database)  # again: nothing changes
    kept = mongo_store(database)
    yield kept, MongoQuestions(kept)
    await client.drop_database(database.name)
    await client.close()


async def fill(store: MemoryStore | MongoStore, count: int) -> list[str]:
    """So many ready producers, in IR-20 and IR-23 by turns."""
    messages = []
    for n in range(count):
        province = ("IR-20", "IR-23")[n % 2]
        envelope = Envelope(
            source="screening", subject=name(n), sequence=1, time=START,
            event=CapacityIdentified(
                product_group="handicrafts", unit="piece", monthly_band="10-49", skill_level="skilled"
            ),
            context=Context(
                round="1404", province=province, county=f"{province[3:]}01", field="JF001", policy="1404-1"
            ),
        )  # fmt: skip
        messages.append(Message(envelope, encode(envelope)))
    await process(store, messages, {}, clock)
    return [name(n) for n in range(count)]


async def enlist(store: MemoryStore | MongoStore, n: int, province: str, called: str) -> str:
    private = Private(indexed={"lead_name": f"{province}/{called}"}, content={"name": called})
    command = Enlist(("sale",), ("JF001",), province)
    return (
        await execute(store, lead_subject(name(n)), command, clock, CommandMetadata(private=private))
    ).record.subject


async def test_producers_are_found_by_state_and_scope(world: World) -> None:
    store, questions = world
    ids = await fill(store, 8)
    await execute_many(store, dict.fromkeys(ids[:2], SALE), clock)
    await execute(store, ids[3], MakeOffer("direct", name(90)), clock)
    found = await questions.producers("IR-20", "ready", 2)
    assert [each.subject for each in found] == [ids[2], ids[4]]
    assert [each.subject for each in await questions.producers("IR-20", "ready", 9, ids[4])] == [ids[6]]
    assert [each.subject for each in await questions.producers("", "connected", 9)] == ids[:2]
    assert [each.subject for each in await questions.producers("", "connected", 9, province="IR-23")] == [ids[1]]
    assert [each.subject for each in await questions.producers("", "", 9, lead=name(90))] == [ids[3]]
    assert len(await questions.producers("IR-20", "", 9)) == 4
    assert (await questions.producer(ids[0], "IR-20")) and not await questions.producer(ids[1], "IR-20")
    assert await questions.inside([*ids, name(77)], "IR-23/2301") == set(ids[1::2])
    assert len(await questions.history(ids[0])) == 2 and await questions.history(name(77)) == []


async def test_lead_enterprises_are_found_by_province_and_keep_their_name(world: World) -> None:
    store, questions = world
    first = await enlist(store, 1, "IR-20", "یکم")
    await enlist(store, 2, "IR-23", "دوم")
    await enlist(store, 3, "IR-20", "سوم")
    with pytest.raises(UniqueViolation) as taken:
        await enlist(store, 4, "IR-20", "یکم")
    assert taken.value.field == "lead_name"
    await enlist(store, 5, "IR-23", "یکم")
    assert dict(await questions.leads_by_province()) == {"IR-20": 2, "IR-23": 2}
    assert [each.private.content["name"] for each in await questions.leads("IR-20", 9)] == ["یکم", "سوم"]
    assert len(await questions.leads("", 9, first)) == 3
    found = await questions.lead(first)
    assert found and found.private.content == {"name": "یکم"} and await questions.lead(lead_subject(name(99))) is None
    assert not await questions.producers("", "", 9), "a lead enterprise is no producer"


async def test_what_is_due_is_found_and_told_once(world: World) -> None:
    store, questions = world
    ids = await fill(store, 2)
    await execute_many(store, dict.fromkeys(ids, SALE), clock)
    later = START + timedelta(days=90)
    assert await store.due(range(32), later - timedelta(seconds=1), 9) == []
    due = await store.due(range(32), later, 9)
    assert set(due) == set(ids)
    await execute_many(store, dict.fromkeys(due, Tick(later)), lambda: Moment(later, datetime.now(UTC)))
    assert await store.due(range(32), later, 9) == []
    assert {each.subject for each in await questions.producers("", "sustained", 9)} == set(ids)


async def test_a_list_refuses_for_each_alone(world: World) -> None:
    store, _ = world
    ids = await fill(store, 2)
    done = await execute_many(store, {ids[0]: SALE, name(50): SALE, ids[1]: SALE}, clock)
    assert isinstance(done[name(50)], Refused) and not isinstance(done[ids[1]], Exception)
