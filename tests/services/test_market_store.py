"""Market over memory and MongoDB: producers, lead enterprises, sustained connections, lists."""

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
from kernel.query import Query
from kernel.record import Message, Private
from kernel.store import Store, due_query
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import connect
from market import queries
from market.domain.connection import Connect
from market.domain.lead import Enlist
from market.domain.offer import MakeOffer
from market.service import service
from tests.support.service_api import subject_of

START = datetime(2025, 11, 1, 6, tzinfo=UTC)
SALE = Connect("cooperative", "cooperative", "E2", role="manager")


def clock() -> Moment:
    return Moment(START, datetime.now(UTC))


@pytest.fixture(params=["memory", pytest.param("mongo", marks=pytest.mark.server)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty store."""
    if request.param == "memory":
        yield MemoryStore(service.name, service.rules, service.unique)
        return
    servers = request.getfixturevalue("servers")
    client = connect(servers.mongo)
    database = client[servers.database()]
    for _ in range(2):  # the second time changes nothing
        await service.create_indexes(database)
    yield service.mongo_store(database)
    await client.drop_database(database.name)
    await client.close()


async def fill(store: Store, count: int) -> list[str]:
    """Ready `count` producers, in IR-20 and IR-23 alternately."""
    messages = []
    for n in range(count):
        province = ("IR-20", "IR-23")[n % 2]
        envelope = Envelope(
            source="screening", subject=subject_of(n), sequence=1, time=START,
            event=CapacityIdentified(
                product_group="handicrafts", unit="piece", monthly_band="10-49", skill_level="skilled"
            ),
            context=Context(
                round="1404", province=province, county=f"{province[3:]}01", field="JF001", policy="1404-1"
            ),
        )  # fmt: skip
        messages.append(Message(envelope, encode(envelope)))
    await process(store, messages, {}, clock)
    return [subject_of(n) for n in range(count)]


async def enlist(store: Store, n: int, province: str, name: str) -> str:
    """Enlist a lead enterprise; return its subject."""
    private = Private(indexed={"lead_name": f"{province}/{name}"}, content={"name": name})
    command, metadata = Enlist(("sale",), ("JF001",), province), CommandMetadata(private=private)
    return (await execute(store, lead_subject(subject_of(n)), command, clock, metadata)).record.subject


async def test_producers_are_found_by_state_and_scope(store: Store) -> None:
    ids, lead = await fill(store, 8), subject_of(90)
    await execute_many(store, dict.fromkeys(ids[:2], SALE), clock)
    await execute(store, ids[3], MakeOffer("direct", lead), clock)
    expected: list[tuple[Query, list[str]]] = [
        (queries.producers("IR-20", "ready", limit=2), [ids[2], ids[4]]),
        (queries.producers("IR-20", "ready", after=ids[4]), [ids[6]]),
        (queries.producers("IR-20/2001", "ready"), [ids[2], ids[4], ids[6]]),
        (queries.producers("IR-20/2002", "ready"), []),
        (queries.producers("IR-2", "ready"), []),
        (queries.producers("", "connected"), ids[:2]),
        (queries.producers("IR-23", "connected"), [ids[1]]),
        (queries.producers("", "offered", lead=lead), [ids[3]]),
        (queries.producers("IR-23", "offered", lead=lead), [ids[3]]),
        (queries.producers("IR-20", "offered", lead=lead), []),
        (queries.producers("", "offered", lead=subject_of(91)), []),
        (queries.selected("IR-23/2301", [*ids, subject_of(77)]), ids[1::2]),
        (queries.selected("", ids), ids),
    ]
    for query, subjects in expected:
        assert await store.find_subjects(query) == subjects, query
    assert await queries.find_producer(store, ids[0], "IR-20")
    assert await queries.find_producer(store, ids[1], "IR-20") is None


async def test_lead_enterprises_are_found_by_province_and_keep_their_name(store: Store) -> None:
    first = await enlist(store, 1, "IR-20", "یکم")
    await enlist(store, 2, "IR-23", "دوم")
    await enlist(store, 3, "IR-20", "سوم")
    with pytest.raises(UniqueViolation) as violation:
        await enlist(store, 4, "IR-20", "یکم")
    assert violation.value.field == "lead_name"
    await enlist(store, 5, "IR-23", "یکم")
    assert await queries.count_leads(store) == {"IR-20": 2, "IR-23": 2}
    names = [each.private.content["name"] for each in await store.find(queries.leads("IR-20"))]
    assert names == ["یکم", "سوم"]
    assert len(await store.find_subjects(queries.leads("", after=first))) == 3
    found = await queries.find_lead(store, subject_of(1))
    assert found and found.private.content == {"name": "یکم"} and found.subject == first
    assert await queries.find_lead(store, subject_of(99)) is None
    assert await queries.find_producer(store, first, "") is None, "a lead enterprise is not a producer"
    assert await store.find_subjects(queries.selected("", [first])) == []


async def test_connections_are_sustained_once_when_due(store: Store) -> None:
    ids = await fill(store, 2)
    await execute_many(store, dict.fromkeys(ids, SALE), clock)
    later = START + timedelta(days=90)
    assert await store.find_subjects(due_query(range(32), later - timedelta(seconds=1), 9)) == []
    due = await store.find_subjects(due_query(range(32), later, 9))
    assert set(due) == set(ids)
    await execute_many(store, dict.fromkeys(due, Tick(later)), lambda: Moment(later, datetime.now(UTC)))
    assert await store.find_subjects(due_query(range(32), later, 9)) == []
    assert set(await store.find_subjects(queries.producers("", "sustained"))) == set(ids)


async def test_refusal_in_a_list_concerns_its_own_subject_only(store: Store) -> None:
    ids = await fill(store, 2)
    outcomes = await execute_many(store, {ids[0]: SALE, subject_of(50): SALE, ids[1]: SALE}, clock)
    assert isinstance(outcomes[subject_of(50)], Refused) and not isinstance(outcomes[ids[1]], Exception)
