"""What pages and APIs count: equal to a full count, and to the place in the published order."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.subjects import kind_of
from kernel.service import Service
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import connect
from kernel.stores.mongodb.documents import document_of
from programme.calendar import day_end, day_start, tehran_day
from registration import queries as registration
from registration.service import service as registration_service
from screening import queries as screening
from screening.service import service as screening_service
from tests.support.query_samples import NOON, sample

RECORDS = 3_000
Stores = list[Any]


@pytest.fixture(params=["memory", pytest.param("mongodb", marks=pytest.mark.server)])
async def store_with(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Fill the store of a service with a sample; return it with its records."""

    if request.param == "mongodb":
        servers = request.getfixturevalue("servers")
        client, name = connect(servers.mongo), servers.database()

    async def fill(service: Service[Any]) -> tuple[Any, list[Any]]:
        records = [replace(each, version=1) for each in sample(service, RECORDS)]
        if request.param == "memory":
            memory = MemoryStore(service.name, service.rules, service.unique)
            memory.records = {each.subject: each for each in records}
            return memory, records
        database = client[name]
        store = service.mongo_store(database)
        await service.create_indexes(database)
        await database.records.insert_many([document_of(service.rules[kind_of(r.subject)], r) for r in records])
        assert await store.counters.check(correct=True), "the documents were written past the store"
        return store, records

    yield fill
    if request.param == "mongodb":
        await client.drop_database(name)
        await client.close()


@pytest.mark.parametrize("scope", ["", "IR-20", "IR-07", "IR-20/2001"])
async def test_cases_by_state_and_deadline(store_with: Any, scope: str) -> None:
    store, records = await store_with(screening_service)
    inside = [r.indexed for r in records if f"{r.indexed['scope']}/".startswith(f"{scope}/" if scope else "")]
    assert len(inside) > 10
    today = tehran_day(NOON)
    times = (day_start(today), day_end(today), day_end(today + timedelta(4)))
    counts = await screening.count(store, scope, times)
    states = ["open" if each["state"] == "claimed" else each["state"] for each in inside]
    assert counts.by_state == Counter(states)
    open_ = [each["deadline"] for each, state in zip(inside, states, strict=True) if state == "open"]
    assert counts.due_until == tuple(sum(deadline <= until for deadline in open_) for until in times)


async def test_waiting_lists_by_province(store_with: Any) -> None:
    store, records = await store_with(registration_service)
    waiting = [r.indexed for r in records if r.indexed.get("seating") == "waiting" and r.indexed["round"] == "1404"]
    assert await registration.waiting_by_province(store, "1404") == Counter(each["province"] for each in waiting)


async def test_the_place_on_a_waiting_list(store_with: Any) -> None:
    store, records = await store_with(registration_service)
    chance = random.Random(7)
    waiting = [
        r for r in records if r.indexed.get("seating") == "waiting" and r.indexed["ledger"] == "ledger:1404/IR-20"
    ]
    waiting.sort(key=lambda r: (r.indexed["priority"], r.indexed["registered_at"], r.subject))
    assert len(waiting) > 100
    for place in [0, 1, len(waiting) - 1, *chance.sample(range(len(waiting)), 40)]:
        assert await registration.count_ahead(store, waiting[place]) == place


def test_ten_minutes_begin_where_the_query_begins() -> None:
    """Who is in the counter of ten minutes is not counted one by one, and the other way round."""
    for minute, second in ((0, 0), (9, 59), (10, 0), (29, 59), (59, 59)):
        at = datetime(2025, 10, 8, 23, minute, second, 999_000, tzinfo=UTC)
        query = registration.ahead_of("ledger:1404/IR-20", (0, at, "x"))
        assert query.after == (0, at.replace(minute=minute // 10 * 10, second=0, microsecond=0), "")
