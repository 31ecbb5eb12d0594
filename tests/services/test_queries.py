"""Every query of every service: memory and MongoDB answer the same, and MongoDB answers it from an index.

A find examines at most twice as many keys as it returns, plus 50, and does not sort. A count reads no documents.
"""

import random
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.subjects import kind_of, lead_subject, ledger_subject, round_subject
from kernel.query import Query
from kernel.record import Record
from kernel.service import Service
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore, connect
from kernel.stores.mongodb.documents import document_of
from programme.reference import counties_of, provinces
from tests.support.query_plans import explain, explain_count
from tests.support.servers import Servers

SERVICES = ("registration", "screening", "market")
RECORDS = 6_000
NOON = datetime(2025, 10, 8, 8, 30, tzinfo=UTC)
ALLOWANCE = 50  # keys
Indexed = dict[str, Any]
# Answered by `count`, `count_by` or `distinct` alone, in all services: {service: {name of the example: field}}
COUNTED = {
    "registration": {"waiting": "ledger", "ahead of": "", "unsettled": "ledger", "waiting for": "ledger"},
    "screening": {"count by state": "state", "count by state, of a county": "state", "count up to a deadline": ""},
    "market": {},
}


def area(chance: random.Random) -> Indexed:
    """Half of the applicants in one province, and half of those in one county."""
    province = "IR-20" if chance.random() < 0.5 else chance.choice(list(provinces()))
    counties = [each.code for each in counties_of(province)]
    county = counties[0] if chance.random() < 0.5 else chance.choice(counties)
    return {"province": province, "scope": f"{province}/{county}"}


def registration(chance: random.Random, n: int) -> tuple[str, Indexed]:
    """Applicants of two rounds, most of them withdrawn or rejected; a few wait for seats or checks."""
    if n < 2:
        return round_subject(f"140{4 + n}"), {"round": f"140{4 + n}"}
    if n < 64:
        round_id, province = f"140{4 + n % 2}", list(provinces())[(n - 2) // 2]
        return ledger_subject(round_id, province), {"round": round_id, "available": chance.choice([0, 0, 5])}
    place = area(chance)
    round_id = "1404" if chance.random() < 0.8 else "1405"
    status = chance.choice(["withdrawn"] * 8 + ["admitted", "screening", "waitlisted"])
    indexed = {**place, "round": round_id, "status": status}
    if chance.random() < 0.3:
        indexed["seating"] = chance.choice(["waiting"] * 9 + ["awaiting", "releasing"])
        indexed["ledger"] = ledger_subject(round_id, place["province"])
        indexed["priority"] = chance.randrange(2)
        indexed["registered_at"] = NOON + timedelta(minutes=chance.randrange(10_000) - 5_000)
    if chance.random() < 0.1:
        indexed["check_due"] = NOON + timedelta(minutes=chance.randrange(10_000) - 5_000)
    return identifier(n), indexed


def screening(chance: random.Random, n: int) -> tuple[str, Indexed]:
    """Cases, most of them decided."""
    deadline = NOON + timedelta(hours=chance.randrange(2_000) - 1_000)
    state = chance.choice(["decided"] * 8 + ["open", "awaiting_capacity"])
    return identifier(n), {**area(chance), "state": state, "deadline": deadline}


def market(chance: random.Random, n: int) -> tuple[str, Indexed]:
    """Lead enterprises, and producers, most of whom have ended."""
    if n < 300:
        return lead_subject(identifier(n)), {"province": area(chance)["province"], "lead_name": str(n)}
    indexed = area(chance)
    if chance.random() < 0.7:
        indexed["state"] = chance.choice(["ended"] * 8 + ["ready", "offered"])
        indexed["leads"] = sorted({identifier(90), identifier(chance.randrange(300))})
    return identifier(n), indexed


def identifier(n: int) -> str:
    """Return an id in the form of those in the examples."""
    return f"0199a000-0000-7000-8000-{n:012}"


SAMPLES: dict[str, Callable[[random.Random, int], tuple[str, Indexed]]] = {
    "registration": registration,
    "screening": screening,
    "market": market,
}


def examples() -> Iterator[Any]:
    """Yield each example of each service."""
    for service in SERVICES:
        for name, query in import_module(f"{service}.queries").examples().items():
            yield pytest.param(service, query, COUNTED[service].get(name), id=f"{service}: {name}")


@pytest.fixture(scope="module")
def databases() -> dict[str, tuple[str, MemoryStore]]:
    """The databases that have been filled, with their twins in memory."""
    return {}


async def filled(service: str, client: Any, databases: dict[str, tuple[str, MemoryStore]], name: str) -> Any:
    """Return both stores of a service with the same records."""
    declared: Service[Any] = import_module(f"{service}.service").service
    if service not in databases:
        chance = random.Random(1404)
        memory = MemoryStore(service, declared.rules, declared.unique)
        documents = []
        for n in range(RECORDS):
            subject, indexed = SAMPLES[service](chance, n)
            rules = declared.rules[kind_of(subject)]
            record = Record(subject=subject, state=rules.State(), indexed=indexed)
            memory.records[subject] = replace(record, version=1)
            documents.append(document_of(rules, record))
        await declared.create_indexes(client[name])
        await client[name].records.insert_many(documents)
        databases[service] = name, memory
    name, memory = databases[service]
    return memory, declared.mongo_store(client[name])


@pytest.fixture
async def client(servers: Servers) -> AsyncIterator[Any]:
    client = connect(servers.mongo)
    yield client
    await client.close()


@pytest.mark.server
@pytest.mark.parametrize(("service", "query", "counted"), list(examples()))
async def test_both_stores_answer_the_same_from_an_index(
    service: str, query: Query, counted: str | None, client: Any, servers: Servers, databases: Any
) -> None:
    memory, mongodb = await filled(service, client, databases, servers.database())
    found = await memory.find_subjects(query)
    assert await mongodb.find_subjects(query) == found
    assert await mongodb.count(query) == await memory.count(query)
    assert found or query.where.get("subject") is not None or "subject" in query.where, "the sample has no match"
    if counted is not None:
        if counted:
            assert await mongodb.count_by(counted, query) == await memory.count_by(counted, query)
            assert await mongodb.distinct(counted, query) == await memory.distinct(counted, query)
        plan = await explain_count(mongodb, query, counted)
        assert plan.documents == 0, plan
        assert plan.keys <= await memory.count(query) + ALLOWANCE, plan
        return
    plan = await explain(mongodb, query)
    assert "SORT" not in plan.stages and "COLLSCAN" not in plan.stages, plan
    assert plan.returned == len(found)
    assert plan.keys <= 2 * plan.returned + ALLOWANCE, plan
    assert plan.documents <= 2 * plan.returned + ALLOWANCE, plan


@pytest.mark.server
async def test_a_query_without_an_index_is_noticed(client: Any, servers: Servers, databases: Any) -> None:
    """A canary: this is what the plan of a query without an index looks like."""
    _, mongodb = await filled("screening", client, databases, servers.database())
    plan = await explain(mongodb, Query("applicant", {"deadline": NOON}, limit=50))
    assert plan.keys + plan.documents > 2 * plan.returned + ALLOWANCE
    assert (await explain(mongodb, Query("applicant", {"scope": "IR-20/2001"}, ("deadline",), limit=5))).stages.count(
        "SORT"
    )
    assert isinstance(mongodb, MongoStore)
