"""What screening asks across many cases: the queue by deadline, its counts, and who has a case in hand.

The same questions are answered from MongoDB, and from memory in tests.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError

from base.clock import machine_now
from contracts.envelope import Envelope, decode
from kernel.record import Record
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore, translate_errors, within
from programme.reference import provinces
from screening.domain import applicant
from screening.domain.applicant import OPEN
from screening.domain.case import person_of

SERVICE = "screening"
RULES = {"applicant": applicant}
LEASE = timedelta(minutes=15)  # machine time for which a case that was taken is offered to nobody else
LOOKED_AT = 200  # of the most urgent cases, when one is taken

Place = tuple[datetime, str]  # where a case stands in the queue: its deadline, then its id


class Counts(msgspec.Struct, frozen=True):
    """How many cases there are by state, and how many open ones have a deadline up to each of some instants."""

    states: Mapping[str, int]
    open_until: tuple[int, ...]


class Cases(Protocol):
    """Everything that is asked across cases. A scope keeps each question inside it; "" is the nation."""

    async def queue(
        self, scope: str, state: str, limit: int, after: Place | None = None, until: datetime | None = None
    ) -> list[Record]:
        """Cases in this state, the earliest deadline first."""

    async def case(self, subject: str, scope: str) -> Record | None:
        """One case, or nothing where it is missing or foreign."""

    async def inside(self, subjects: Collection[str], scope: str) -> set[str]:
        """Those of these subjects that lie in the scope."""

    async def history(self, subject: str) -> list[Envelope]:
        """Everything that screening said about one applicant, in order."""

    async def counts(self, scope: str, until: Sequence[datetime]) -> Counts:
        """How much there is to do."""

    async def take(self, scope: str, by: str) -> str | None:
        """The most urgent open case that nobody has in hand and this officer may decide; it is in their hand now."""

    async def held(self, subjects: Collection[str]) -> dict[str, str]:
        """Which of these somebody has in hand, and who."""


def mongo_store(database: AsyncDatabase[dict[str, Any]]) -> MongoStore:
    """Screening's records in this database."""
    return MongoStore(database, SERVICE, RULES)


def memory_store() -> MemoryStore:
    """Screening's records, in memory."""
    return MemoryStore(SERVICE, RULES)


async def prepare(database: AsyncDatabase[dict[str, Any]]) -> None:
    """Makes every index that screening needs; making them again changes nothing."""
    store = mongo_store(database)
    await store.prepare()
    await store.records.create_index(
        [("indexed.province", 1), ("indexed.state", 1), ("indexed.deadline", 1), ("_id", 1)],
        partialFilterExpression={"indexed.state": {"$exists": True}},
    )
    await database.claims.create_index("until", expireAfterSeconds=0)


class MongoCases:
    """The questions, asked of MongoDB. Every one raises Transient when the database is away.

    Who has a case in hand is no event and no part of a record: it is a lease on attention, in machine time, that nobody
    needs to hear of and that may be lost without harm. It has a collection of its own, which empties itself.
    """

    def __init__(self, store: MongoStore) -> None:
        self.store, self.records, self.claims = store, store.records, store.database.claims

    async def queue(
        self, scope: str, state: str, limit: int, after: Place | None = None, until: datetime | None = None
    ) -> list[Record]:
        """Cases in this state, the earliest deadline first."""
        query = {**_inside(scope), "indexed.state": state}
        if until:
            query["indexed.deadline"] = {"$lte": until}
        if after:
            deadline, subject = after
            query["$or"] = [
                {"indexed.deadline": {"$gt": deadline}},
                {"indexed.deadline": deadline, "_id": {"$gt": subject}},
            ]
        async with translate_errors():
            found = self.records.find(query, {"emitted": 0}, limit=limit, sort=[("indexed.deadline", 1), ("_id", 1)])
            return [self.store.record(d) async for d in found]

    async def case(self, subject: str, scope: str) -> Record | None:
        """One case."""
        async with translate_errors():
            found = await self.records.find_one(
                {"_id": subject, "indexed.state": {"$exists": True}, **within(scope)}, {"emitted": 0}
            )
        return self.store.record(found) if found else None

    async def inside(self, subjects: Collection[str], scope: str) -> set[str]:
        """Those that lie in the scope."""
        query = {"_id": {"$in": list(subjects)}, "indexed.state": {"$exists": True}, **within(scope)}
        async with translate_errors():
            return {d["_id"] async for d in self.records.find(query, {"_id": 1})}

    async def history(self, subject: str) -> list[Envelope]:
        """Everything that screening said about one applicant."""
        async with translate_errors():
            found = await self.records.find_one({"_id": subject}, {"emitted": 1})
        return [decode(raw) for raw in found.get("emitted", ())] if found else []

    async def counts(self, scope: str, until: Sequence[datetime]) -> Counts:
        """How much there is to do."""
        mine = {**_inside(scope), "indexed.state": {"$exists": True}}
        due = [{"$and": [{"$eq": ["$indexed.state", OPEN]}, {"$lte": ["$indexed.deadline", end]}]} for end in until]
        sums: dict[str, Any] = {f"until{n}": {"$sum": {"$cond": [each, 1, 0]}} for n, each in enumerate(due)}
        async with translate_errors():
            rows = await self.records.aggregate(
                [{"$match": mine}, {"$group": {"_id": "$indexed.state", "n": {"$sum": 1}, **sums}}]
            )
            found = [d async for d in rows]
        return Counts({d["_id"]: d["n"] for d in found}, tuple(sum(d[n] for d in found) for n in sums))

    async def take(self, scope: str, by: str) -> str | None:
        """The most urgent open case, in this officer's hand."""
        for record in await self.queue(scope, OPEN, LOOKED_AT):
            if not _decidable(record, by):
                continue
            now = machine_now()
            try:
                async with translate_errors():
                    await self.claims.update_one(
                        {"_id": record.subject, "until": {"$lt": now}},
                        {"$set": {"by": by, "until": now + LEASE}},
                        upsert=True,
                    )
            except DuplicateKeyError:  # somebody has it in hand
                continue
            return record.subject
        return None

    async def held(self, subjects: Collection[str]) -> dict[str, str]:
        """Who has which in hand."""
        query = {"_id": {"$in": list(subjects)}, "until": {"$gte": machine_now()}}
        async with translate_errors():
            return {d["_id"]: d["by"] async for d in self.claims.find(query)}


class MemoryCases:
    """The questions, asked of records in memory."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.claims: dict[str, tuple[str, datetime]] = {}

    async def queue(
        self, scope: str, state: str, limit: int, after: Place | None = None, until: datetime | None = None
    ) -> list[Record]:
        """Cases in this state, the earliest deadline first."""
        found = [r for r in self._within(scope) if r.indexed["state"] == state]
        found = [r for r in found if not until or r.indexed["deadline"] <= until]
        return sorted((r for r in found if not after or place_of(r) > after), key=place_of)[:limit]

    async def case(self, subject: str, scope: str) -> Record | None:
        """One case."""
        return next((r for r in self._within(scope) if r.subject == subject), None)

    async def inside(self, subjects: Collection[str], scope: str) -> set[str]:
        """Those that lie in the scope."""
        return {r.subject for r in self._within(scope)} & set(subjects)

    async def history(self, subject: str) -> list[Envelope]:
        """Everything that screening said about one applicant."""
        return [decode(raw) for raw in self.store.emitted.get(subject, ())]

    async def counts(self, scope: str, until: Sequence[datetime]) -> Counts:
        """How much there is to do."""
        found = self._within(scope)
        waiting = [r.indexed["deadline"] for r in found if r.indexed["state"] == OPEN]
        return Counts(
            Counter(r.indexed["state"] for r in found), tuple(sum(each <= end for each in waiting) for end in until)
        )

    async def take(self, scope: str, by: str) -> str | None:
        """The most urgent open case, in this officer's hand."""
        held = await self.held(list(self.claims))
        for record in await self.queue(scope, OPEN, LOOKED_AT):
            if record.subject not in held and _decidable(record, by):
                self.claims[record.subject] = by, machine_now() + LEASE
                return record.subject
        return None

    async def held(self, subjects: Collection[str]) -> dict[str, str]:
        """Who has which in hand."""
        now = machine_now()
        return {s: by for s, (by, until) in self.claims.items() if s in subjects and until >= now}

    def _within(self, scope: str) -> list[Record]:
        return self.store.find(
            lambda i: "state" in i and (not scope or i["scope"] == scope or i["scope"].startswith(f"{scope}/"))
        )


def place_of(record: Record) -> Place:
    """Where a case stands in the queue."""
    return record.indexed["deadline"], record.subject


def _decidable(record: Record, by: str) -> bool:
    """Nobody is handed the case of somebody they registered."""
    return not record.state.registrar or record.state.registrar != person_of(by)


def _inside(scope: str) -> dict[str, Any]:
    """The scope, led by the province, so that the queue's index serves the order as well."""
    return {"indexed.province": {"$in": [scope.partition("/")[0]] if scope else list(provinces())}, **within(scope)}
