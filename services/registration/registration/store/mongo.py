"""The questions, asked of MongoDB, and the indexes that answer them."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from pymongo.asynchronous.database import AsyncDatabase

from kernel.record import Record
from kernel.stores.mongodb import MongoStore, translate_errors, within
from registration.store.questions import RULES, SERVICE, UNIQUE

Query = Mapping[str, Any]
SEATED_BY = [("indexed.seating", 1), ("indexed.ledger", 1), ("indexed.priority", 1), ("indexed.registered_at", 1)]


def mongo_store(database: AsyncDatabase[dict[str, Any]]) -> MongoStore:
    """Registration's records in this database."""
    return MongoStore(database, SERVICE, RULES, UNIQUE)


class MongoQuestions:
    """Questions, asked of the records in MongoDB. Every one raises Transient when the database is away."""

    def __init__(self, store: MongoStore) -> None:
        self.store, self.records = store, store.records

    async def prepare(self) -> None:
        """Makes the indexes; making them again changes nothing."""
        seating = {"indexed.seating": {"$exists": True}}
        await self.records.create_index([*SEATED_BY, ("_id", 1)], partialFilterExpression=seating)
        due = {"indexed.check_due": {"$exists": True}}
        await self.records.create_index([("partition", 1), ("indexed.check_due", 1)], partialFilterExpression=due)
        free = {"indexed.available": {"$exists": True}}
        await self.records.create_index([("indexed.available", 1)], partialFilterExpression=free)
        await self.records.create_index([("kind", 1), ("indexed.round", 1), ("_id", 1)])
        await self.records.create_index([("kind", 1), ("indexed.round", 1), ("indexed.scope", 1), ("_id", 1)])

    async def rounds(self) -> list[Record]:
        """Every round."""
        return await self._records({"kind": "round"}, 0)

    async def ledgers(self, round_id: str) -> list[Record]:
        """The seat ledgers of a round."""
        return await self._records({"kind": "ledger", "indexed.round": round_id}, 0)

    async def waiting(self, round_id: str) -> dict[str, int]:
        """How many wait for a seat, by ledger."""
        mine = {"indexed.seating": "waiting", "indexed.ledger": {"$regex": f"^ledger:{round_id}/"}}
        async with translate_errors():
            found = await self.records.aggregate(
                [{"$match": mine}, {"$group": {"_id": "$indexed.ledger", "n": {"$sum": 1}}}]
            )
            return {d["_id"]: d["n"] async for d in found}

    async def applications(self, round_id: str, scope: str, status: str, after: str, limit: int) -> list[Record]:
        """Applicants of a round within a scope."""
        query = {"kind": "applicant", "indexed.round": round_id, **within(scope), "_id": {"$gt": after}}
        return await self._records({**query, **({"indexed.status": status} if status else {})}, limit)

    async def unseated(self) -> set[str]:
        """Ledgers of which somebody awaits a seat or gives one back."""
        return await self._ledgers_of({"indexed.seating": {"$in": ["awaiting", "releasing"]}})

    async def promotable(self) -> set[str]:
        """Ledgers with a seat to give and somebody on the waiting list."""
        async with translate_errors():
            free = [d["_id"] async for d in self.records.find({"indexed.available": {"$gt": 0}}, {"_id": 1})]
        return (
            await self._ledgers_of({"indexed.seating": "waiting", "indexed.ledger": {"$in": free}}) if free else set()
        )

    async def line(self, ledger: str, seating: str, limit: int) -> list[str]:
        """The first in the published order."""
        query = {"indexed.seating": seating, "indexed.ledger": ledger}
        async with translate_errors():
            found = self.records.find(query, {"_id": 1}, limit=limit, sort=[*SEATED_BY, ("_id", 1)])
            return [d["_id"] async for d in found]

    async def ahead(self, record: Record) -> int:
        """How many stand before this applicant on the waiting list."""
        mine = record.indexed
        at, priority = mine["registered_at"], mine["priority"]
        before = [
            {"indexed.priority": {"$lt": priority}},
            {"indexed.priority": priority, "indexed.registered_at": {"$lt": at}},
            {"indexed.priority": priority, "indexed.registered_at": at, "_id": {"$lt": record.subject}},
        ]
        query = {"indexed.seating": "waiting", "indexed.ledger": mine["ledger"], "$or": before}
        async with translate_errors():
            return await self.records.count_documents(query)

    async def unchecked(self, partitions: Collection[int], now: datetime, limit: int) -> list[str]:
        """Applicants whose identity is to be asked for."""
        query = {"partition": {"$in": list(partitions)}, "indexed.check_due": {"$lte": now}}
        async with translate_errors():
            found = self.records.find(query, {"_id": 1}, limit=limit, sort=[("indexed.check_due", 1)])
            return [d["_id"] async for d in found]

    async def _ledgers_of(self, query: Query) -> set[str]:
        async with translate_errors():
            return set(await self.records.distinct("indexed.ledger", query))

    async def _records(self, query: Query, limit: int) -> list[Record]:
        async with translate_errors():
            found = self.records.find(query, {"emitted": 0}, limit=limit, sort=[("_id", 1)])
            return [self.store.record(d) async for d in found]
