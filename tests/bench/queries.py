"""Every query of every service over generated records: times, and what MongoDB examines for them."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from contracts.subjects import kind_of
from kernel.query import Query
from kernel.record import Record
from kernel.service import Service
from kernel.stores.mongodb import MongoStore, connect
from kernel.stores.mongodb.documents import document_of
from peyvand.performance_report import Measured, Verdict
from registration import queries as registration
from screening import queries as screening
from tests.bench.support.meter import millis, quantile
from tests.support.query_plans import Plan, explain, explain_count
from tests.support.query_samples import NOON, sample
from tests.support.servers import started

SERVICES = ("registration", "screening", "market", "reporting")
CHUNK = 5_000  # records in one insert
SNAPSHOTS = 300  # seconds, as MongoDB keeps them by default
MARKED = 100  # records that are not counted yet
OF_JOBS = {  # asked by jobs of the worker only, by name: no page and no API waits for them
    *("unsettled", "seated", "releasing", "with free seats", "waiting for", "every ledger", "every unidentified"),
    *("erasing", "erased", "indexed before", "indexed before, counted", "every indexed", "every indexed, next page"),
    *("versions of indexes", "unchecked"),
}
FINDS = ("find", "find_subjects")


class _Timed(msgspec.Struct):
    service: str
    name: str
    counts: bool
    seconds: list[float]
    plan: Plan

    @property
    def excess(self) -> int:
        """Return the keys and documents beyond twice what is returned; those of a count are what it counts."""
        return 0 if self.counts else max(self.plan.keys, self.plan.documents) - 2 * self.plan.returned


async def run(folder: Path, quick: bool) -> Measured:
    """Fill and ask one service at a time."""
    records, times = (100_000, 50) if quick else (10_000_000, 200)
    timed: list[_Timed] = []
    with started(folder) as servers:
        for name in SERVICES:
            service: Service[Any] = import_module(f"{name}.service").service
            async with _filled(service, servers.mongo, records) as store:
                timed += await _count(store, name, times)
                for query, (method, *field, asked) in import_module(f"{name}.queries").examples().items():
                    timed.append(await _ask(store, name, query, method, field, asked, times))
    asked = [each for each in timed if each.name not in OF_JOBS]
    slowest = max(asked, key=lambda each: quantile(each.seconds, 0.99))
    widest = max(timed, key=lambda each: each.excess)
    slow = f"slowest p99 of {len(asked)} for pages and APIs, {records:,} records: {slowest.service}, {slowest.name}"
    return Measured(
        rows=[_row(each) for each in sorted(timed, key=lambda each: -quantile(each.seconds, 0.99))],
        verdicts=[
            Verdict(slow, quantile(slowest.seconds, 0.99) * 1e3, 50, at_most=True, digits=1, unit=" ms"),
            Verdict(f"keys beyond 2 x returned, most: {widest.service}, {widest.name}", widest.excess, 50, True, 0),
        ],
    )


@asynccontextmanager
async def _filled(service: Service[Any], url: str, records: int) -> AsyncIterator[MongoStore]:
    client = connect(url)
    database = client[f"queries_{service.name}"]
    try:
        await client.admin.command({"setParameter": 1, "minSnapshotHistoryWindowInSeconds": SNAPSHOTS})
        generated = sample(service, records)
        while chunk := list(islice(generated, CHUNK)):
            documents = [document_of(service.rules[kind_of(each.subject)], each) for each in chunk]
            await database.records.insert_many(documents, ordered=False)
        await service.create_indexes(database)  # of what is there: one sorted pass instead of random inserts
        store = service.mongo_store(database)
        await store.counters.check(correct=True)
        yield store
    finally:
        await client.drop_database(database)
        await client.close()


async def _ask(
    store: MongoStore, service: str, name: str, method: str, field: list[str], query: Query, times: int
) -> _Timed:
    ask, seconds = getattr(store, method), []
    for _ in range(times):
        began = time.perf_counter()
        await ask(*field, query)
        seconds.append(time.perf_counter() - began)
    found = await explain(store, query) if method in FINDS else await explain_count(store, method, query, *field)
    return _Timed(service, name, method not in FINDS, seconds, found)


async def _count(store: MongoStore, service: str, times: int) -> list[_Timed]:
    """Ask what the counters answer, with a hundred decisions that are not counted yet."""
    timed = []
    for name, ask in (await _counts(store, service)).items():
        seconds = []
        for _ in range(times):
            began = time.perf_counter()
            await ask()
            seconds.append(time.perf_counter() - began)
        timed.append(_Timed(service, name, True, seconds, Plan((), 0, 0, 0)))
    return timed


async def _counts(store: MongoStore, service: str) -> dict[str, Callable[[], Awaitable[Any]]]:
    if not store.counters.kinds:
        return {}
    known = await store.records.find({"kind": "applicant"}, {"_id": 1}, limit=MARKED).to_list()
    marks: dict[str, Any] = {"$set": {"counted_as": []}}
    await store.records.update_many({"_id": {"$in": [each["_id"] for each in known]}}, marks)
    if service == "screening":
        due = [NOON + timedelta(days=n) for n in range(3)]
        areas = {"all provinces": "", "a province": "IR-20", "a county": "IR-20/2001"}
        return {f"counts of {name}": partial(screening.count, store, area, due) for name, area in areas.items()}
    indexed = {"ledger": "ledger:1404/IR-20", "priority": 1, "registered_at": NOON, "seating": "waiting"}
    last = Record(subject="0199a000", state=None, indexed=indexed)
    return {
        "lengths of the waiting lists": partial(registration.waiting_by_province, store, "1404"),
        "place on a waiting list": partial(registration.count_ahead, store, last),
    }


def _row(each: _Timed) -> list[str]:
    plan = each.plan
    times = (millis(quantile(each.seconds, 0.5)), millis(quantile(each.seconds, 0.99)))
    return [each.service, each.name, *times, f"{plan.keys:,}", f"{plan.documents:,}", f"{plan.returned:,}"]
