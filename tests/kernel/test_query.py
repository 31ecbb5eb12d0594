"""One query, two interpreters: memory and MongoDB answer the same, whatever is asked."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from kernel.query import EXISTS, Query, at_most, more_than, one_of, starts_with, within
from kernel.record import Record
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore
from tests.support.fixtures import StoreOf
from tests.support.small_services import ReportingRules

RULES: dict[str, Any] = {"applicant": ReportingRules, "lead": ReportingRules}
QUERIES = 400
DAYS = [datetime(2026, 1, n, tzinfo=UTC) for n in range(1, 6)]
SCOPES = ["", "IR-20", "IR-20/2001", "IR-2", "IR-23/2301"]


def random_record(chance: random.Random, n: int) -> Record:
    indexed: dict[str, Any] = {
        "state": chance.choice(["open", "decided", "closed"]),
        "scope": chance.choice(["IR-20/2001", "IR-20/2002", "IR-20", "IR-23/2301", "IR-2/1"]),
        "deadline": chance.choice(DAYS),
        "priority": chance.randrange(3),
        "leads": chance.sample(["lead:a", "lead:b", "lead:c"], chance.randrange(3)),
        "person": chance.choice(["v1:x", "v2:x", "v1.x"]),
    }
    for field in chance.sample(sorted(indexed), chance.randrange(3)):
        del indexed[field]
    subject = f"lead:{n}" if chance.random() < 0.2 else f"p{chance.randrange(10**6)}-{n}"
    return Record(subject=subject, state=ReportingRules.State(), indexed=indexed)


def random_query(chance: random.Random, records: list[Record]) -> Query:
    choices: dict[str, Any] = {
        "state": lambda: chance.choice(["open", one_of(["open", "closed"]), EXISTS]),
        "scope": lambda: within(chance.choice(SCOPES)),
        "deadline": lambda: chance.choice([at_most, more_than])(chance.choice(DAYS)),
        "leads": lambda: chance.choice(["lead:a", one_of(["lead:b", "lead:c"])]),
        "subject": lambda: one_of([r.subject for r in chance.sample(records, 100)]),
        "partition": lambda: one_of(range(chance.randrange(32))),
        "priority": lambda: chance.choice([at_most, more_than])(1),
        "person": lambda: starts_with(chance.choice(["v1:", "v1", "v."])),
    }
    fields = chance.sample(sorted(choices), chance.randrange(4))
    order = tuple(chance.sample(["deadline", "priority"], chance.randrange(3)))
    query = Query(chance.choice(["", "applicant", "lead"]), {f: choices[f]() for f in fields}, order)
    sortable = [r for r in records if all(field in r.indexed for field in order)]
    key = query.sort_key((r := chance.choice(sortable)).indexed, r.subject)
    bounds: dict[str, Any] = chance.choice(
        [{}, {"after": key}, {"before": key}, {"after": key, "limit": chance.randrange(1, 9)}]
    )
    return replace(query, **bounds)


async def fill(stores: Sequence[Any], records: Sequence[Record]) -> None:
    for record in records:
        for store in stores:
            assert await store.swap(replace(record, indexed={}), record)


@pytest.mark.server
async def test_memory_and_mongodb_answer_random_queries_alike(database: Any) -> None:
    chance = random.Random(1404)
    memory, mongodb = stores = MemoryStore("reporting", RULES), MongoStore(database, "reporting", RULES)
    records = [random_record(chance, n) for n in range(400)]
    await fill(stores, records)
    found_some = operators = 0
    for _ in range(QUERIES):
        query = random_query(chance, records)
        subjects = await memory.find_subjects(query)
        assert subjects == await mongodb.find_subjects(query), query
        assert [(r.subject, r.indexed) for r in await memory.find(query)] == [
            (r.subject, r.indexed) for r in await mongodb.find(query)
        ], query
        assert [r.subject for r in await memory.find(query)] == subjects
        assert await memory.count(query) == await mongodb.count(query), query
        by_state = await memory.count_by("state", query)
        assert by_state == await mongodb.count_by("state", query), query
        assert await memory.distinct("state", query) == await mongodb.distinct("state", query) == set(by_state), query
        found_some += bool(subjects)
        operators += len(query.where)
    assert found_some > QUERIES / 2 and operators > QUERIES, "a canary: most queries have conditions and find something"


async def test_the_comparison_notices_a_store_that_lacks_a_record() -> None:
    """A canary: one missing record makes some of the queries differ."""
    chance = random.Random(1404)
    records = [random_record(chance, n) for n in range(400)]
    queries = [random_query(chance, records) for _ in range(QUERIES)]

    async def answers(kept: Sequence[Record]) -> list[list[str]]:
        store = MemoryStore("reporting", RULES)
        await fill([store], kept)
        return [await store.find_subjects(query) for query in queries]

    whole, lacking = await answers(records), await answers(records[1:])
    assert 0 < sum(one != other for one, other in zip(whole, lacking, strict=True)) < QUERIES


@pytest.mark.parametrize("order", [(), ("priority",), ("deadline", "priority")])
async def test_pages_hold_every_record_once_forwards_and_backwards(store_of: StoreOf, order: tuple[str, ...]) -> None:
    """`after` continues behind the last record of a page; `before` ends in front of a record. Many have equal keys."""
    chance, store = random.Random(5), await store_of("reporting")
    records = [replace(random_record(chance, n), subject=f"p{chance.randrange(10**6)}-{n}") for n in range(60)]
    await fill([store], records)
    query = Query("applicant", order=order)
    everything = await store.find(query)
    assert {r.subject for r in everything} == {r.subject for r in records if all(f in r.indexed for f in order)}
    keys = [query.sort_key(r.indexed, r.subject) for r in everything]
    assert keys == sorted(keys) and len(keys) > 30
    seen = list[Record]()
    page = await store.find(replace(query, limit=7))
    while page:
        assert len(page) == 7 or len(seen) + len(page) == len(everything)
        seen += page
        last = query.sort_key(page[-1].indexed, page[-1].subject)
        page = await store.find(replace(query, after=last, limit=7))
    assert [r.subject for r in seen] == [r.subject for r in everything]
    for n in range(0, len(keys), 9):
        before = await store.find_subjects(replace(query, before=keys[n]))
        assert before == [r.subject for r in everything[:n]]
        between = await store.find_subjects(replace(query, after=keys[n // 2], before=keys[n]))
        assert between == [r.subject for r in everything[n // 2 + 1 : n]]


async def test_a_scope_is_a_whole_province_or_county(store_of: StoreOf) -> None:
    """A scope is never a prefix of the name of another area."""
    store = await store_of("reporting")
    areas = ("IR-2/1", "IR-20/2001", "IR-20/20010", "IR-20")
    await fill([store], [Record(subject=s, state=ReportingRules.State(), indexed={"scope": s}) for s in areas])
    found = {s: await store.find_subjects(Query("", {"scope": within(s)})) for s in ("", "IR-2", "IR-20", "IR-20/2001")}
    assert found["IR-2"] == ["IR-2/1"] and found["IR-20/2001"] == ["IR-20/2001"]
    assert found["IR-20"] == ["IR-20", "IR-20/2001", "IR-20/20010"] and len(found[""]) == 4
