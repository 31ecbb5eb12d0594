"""What market asks across many records: producers by scope and state, lead enterprises by province.

The same questions are answered from MongoDB, and from memory in tests.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from pymongo.asynchronous.database import AsyncDatabase

from contracts.envelope import Envelope, decode
from contracts.subjects import kind_of
from kernel.record import Record
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore, translate_errors, within
from market.domain import lead, producer
from programme.reference import provinces

SERVICE = "market"
RULES = {"applicant": producer, "lead": lead}
UNIQUE = ("lead_name",)  # one lead enterprise of a name in a province


class Questions(Protocol):
    """Everything that is asked across records. A scope keeps each question inside it; "" is the nation."""

    async def producers(
        self, scope: str, state: str, limit: int, after: str = "", lead: str = "", province: str = ""
    ) -> list[Record]:
        """Producers by id, behind `after`; `state` may be empty; `lead` names one whose offers they must have."""

    async def producer(self, subject: str, scope: str) -> Record | None:
        """One producer, or nothing where they are missing or foreign."""

    async def inside(self, subjects: Collection[str], scope: str) -> set[str]:
        """Those of these subjects that lie in the scope."""

    async def history(self, subject: str) -> list[Envelope]:
        """Everything that market said about one subject, in order."""

    async def leads(self, province: str, limit: int, after: str = "") -> list[Record]:
        """Lead enterprises by id, behind `after`; of one province, or of all."""

    async def lead(self, subject: str) -> Record | None:
        """One lead enterprise."""

    async def leads_by_province(self) -> Mapping[str, int]:
        """How many lead enterprises each province has."""


def mongo_store(database: AsyncDatabase[dict[str, Any]]) -> MongoStore:
    """Market's records in this database."""
    return MongoStore(database, SERVICE, RULES, UNIQUE)


def memory_store() -> MemoryStore:
    """Market's records, in memory."""
    return MemoryStore(SERVICE, RULES, UNIQUE)


async def prepare(database: AsyncDatabase[dict[str, Any]]) -> None:
    """Makes every index that market needs; making them again changes nothing."""
    store = mongo_store(database)
    await store.prepare()
    await store.records.create_index(
        [("indexed.province", 1), ("indexed.state", 1), ("_id", 1)],
        partialFilterExpression={"indexed.state": {"$exists": True}},
    )
    await store.records.create_index(
        [("indexed.leads", 1), ("_id", 1)], partialFilterExpression={"indexed.leads": {"$exists": True}}
    )
    await store.records.create_index(
        [("indexed.province", 1), ("_id", 1)], partialFilterExpression={"kind": "lead"}, name="leads"
    )


class MongoQuestions:
    """The questions, asked of MongoDB. Every one raises Transient when the database is away."""

    def __init__(self, store: MongoStore) -> None:
        self.store, self.records = store, store.records

    async def producers(
        self, scope: str, state: str, limit: int, after: str = "", lead: str = "", province: str = ""
    ) -> list[Record]:
        """Producers by id."""
        query: dict[str, Any] = {
            "_id": {"$gt": after},
            "indexed.state": state or {"$exists": True},
            **within(scope),
            **_of_province(scope.partition("/")[0] or province),
            **({"indexed.leads": lead} if lead else {}),
        }
        return await self._records(query, limit)

    async def producer(self, subject: str, scope: str) -> Record | None:
        """One producer."""
        found = await self._records({"_id": subject, "indexed.state": {"$exists": True}, **within(scope)}, 1)
        return found[0] if found else None

    async def inside(self, subjects: Collection[str], scope: str) -> set[str]:
        """Those that lie in the scope."""
        query = {"_id": {"$in": list(subjects)}, "kind": "applicant", **within(scope)}
        async with translate_errors():
            return {d["_id"] async for d in self.records.find(query, {"_id": 1})}

    async def history(self, subject: str) -> list[Envelope]:
        """Everything that market said about one subject."""
        async with translate_errors():
            found = await self.records.find_one({"_id": subject}, {"emitted": 1})
        return [decode(raw) for raw in found.get("emitted", ())] if found else []

    async def leads(self, province: str, limit: int, after: str = "") -> list[Record]:
        """Lead enterprises by id."""
        return await self._records({"kind": "lead", "_id": {"$gt": after}, **_of_province(province)}, limit)

    async def lead(self, subject: str) -> Record | None:
        """One lead enterprise."""
        found = await self._records({"_id": subject, "kind": "lead"}, 1)
        return found[0] if found else None

    async def leads_by_province(self) -> Mapping[str, int]:
        """How many lead enterprises each province has."""
        async with translate_errors():
            rows = await self.records.aggregate(
                [
                    {"$match": {"kind": "lead", **_of_province("")}},
                    {"$group": {"_id": "$indexed.province", "n": {"$sum": 1}}},
                ]
            )
            return {d["_id"]: d["n"] async for d in rows}

    async def _records(self, query: Mapping[str, Any], limit: int) -> list[Record]:
        async with translate_errors():
            found = self.records.find(query, {"emitted": 0}, limit=limit, sort=[("_id", 1)])
            return [self.store.record(d) async for d in found]


class MemoryQuestions:
    """The questions, asked of records in memory."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    async def producers(
        self, scope: str, state: str, limit: int, after: str = "", lead: str = "", province: str = ""
    ) -> list[Record]:
        """Producers by id."""

        def wanted(i: Mapping[str, Any]) -> bool:
            inside = _lies_in(i, scope) and (not province or i["province"] == province)
            return "state" in i and inside and state in ("", i["state"]) and (not lead or lead in i.get("leads", ()))

        return [r for r in self.store.find(wanted) if r.subject > after][:limit]

    async def producer(self, subject: str, scope: str) -> Record | None:
        """One producer."""
        found = self.store.find(lambda i: "state" in i and _lies_in(i, scope))
        return next((r for r in found if r.subject == subject), None)

    async def inside(self, subjects: Collection[str], scope: str) -> set[str]:
        """Those that lie in the scope."""
        return {r.subject for r in self.store.find(lambda i: _lies_in(i, scope))} & set(subjects)

    async def history(self, subject: str) -> list[Envelope]:
        """Everything that market said about one subject."""
        return [decode(raw) for raw in self.store.emitted.get(subject, ())]

    async def leads(self, province: str, limit: int, after: str = "") -> list[Record]:
        """Lead enterprises by id."""
        found = self.store.find(lambda i: not province or i.get("province") == province)
        return [r for r in found if kind_of(r.subject) == "lead" and r.subject > after][:limit]

    async def lead(self, subject: str) -> Record | None:
        """One lead enterprise."""
        return next((r for r in await self.leads("", len(self.store.kept)) if r.subject == subject), None)

    async def leads_by_province(self) -> Mapping[str, int]:
        """How many lead enterprises each province has."""
        return Counter(r.indexed["province"] for r in await self.leads("", len(self.store.kept)))


def _lies_in(indexed: Mapping[str, Any], scope: str) -> bool:
    own = indexed.get("scope", "")
    return not scope or own == scope or own.startswith(f"{scope}/")


def _of_province(province: str) -> dict[str, Any]:
    """Named in every question, so that the indexes that begin with the province serve it."""
    return {"indexed.province": {"$in": [province] if province else list(provinces())}}
