"""Parked events in MongoDB: one document each. The first of a subject and source is marked as their `head`."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from pymongo import DeleteMany, IndexModel, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase

from contracts.envelope import LAST_SEQUENCE
from contracts.subjects import partition_of
from kernel.record import Parked, Reason, Undecodable
from kernel.store import Effects, Source, settle_ids
from kernel.stores.mongodb.client import translate_errors
from kernel.stores.mongodb.documents import parked_document, parked_id, parked_of

HEADS_LIMIT = 10_000  # heads in one answer
HEAD_FIELDS = (("subject",), ("partition", "reason"), ("reason", "since"))


def declared_indexes() -> list[IndexModel]:
    """Return the indexes of parked events; those over heads stay small however much is parked."""
    heads = [
        IndexModel([(each, 1) for each in fields], partialFilterExpression={"head": True}) for fields in HEAD_FIELDS
    ]
    return [IndexModel([("subject", 1), ("source", 1), ("sequence", 1)]), *heads]


class MongoParked:
    """The collection `parked`."""

    def __init__(self, database: AsyncDatabase[dict[str, Any]]) -> None:
        self.collection = database.parked

    async def first(
        self, subjects: Collection[str], limit: int, session: AsyncClientSession
    ) -> dict[Source, Sequence[Parked]]:
        """Return the first parked events of these subjects, `limit` of each source; a single one without bytes."""
        partitions = list({partition_of(subject) for subject in subjects})
        query: dict[str, Any] = {"head": True, "partition": {"$in": partitions}}
        if not await self.collection.find_one(query, {"_id": 1}, session=session):
            return {}
        query = {"head": True, "subject": {"$in": list(subjects)}}
        heads = [parked_of(d) async for d in self.collection.find(query, {"raw": 0}, session=session)]
        found: dict[Source, Sequence[Parked]] = {(each.subject, each.source): [each] for each in heads}
        for source in found if limit > 1 else ():
            found[source] = await self.events(source, limit, session)
        return found

    async def write(
        self, effects: Effects, known: Mapping[Source, Sequence[Parked]], session: AsyncClientSession | None
    ) -> list[Undecodable]:
        """Apply what a transaction does to parked events; `known` are those that it has read. Return the forgeries."""
        inserted, forgeries = Counter[Source](), list[Undecodable]()
        if effects.parked:
            ids = list({parked_id(p.subject, p.source, p.sequence) for p in effects.parked})
            found = [parked_of(d) async for d in self.collection.find({"_id": {"$in": ids}}, session=session)]
            taken = {(each.subject, each.source, each.sequence): each for each in found}
            chosen, forgeries = settle_ids(effects.parked, taken)
            puts = [
                UpdateOne({"_id": parked_id(*id_)}, {"$set": parked_document(p)}, True) for id_, p in chosen.items()
            ]
            if puts:
                await self.collection.bulk_write(puts, session=session)
            inserted = Counter(id_[:2] for id_ in chosen.keys() - taken.keys())
        writes: list[Any] = [DeleteMany(_events(source, last)) for source, last in effects.unparked.items()]
        for source, head in effects.heads.items():
            old = known.get(source, ())
            if old and old[0].sequence > head.sequence:
                writes.append(UpdateOne({"_id": parked_id(*source, old[0].sequence)}, {"$unset": {"head": ""}}))
            deleted = sum(each.sequence <= effects.unparked.get(source, 0) for each in old)
            behind = (old[0].behind + 1 if old else 0) - deleted + inserted[source] - 1
            values: dict[str, Any] = {"head": True, "reason": head.reason, "since": head.since, "behind": behind}
            values |= {"fault": msgspec.structs.asdict(head.fault)}
            # `writes` makes a concurrent transaction conflict even if no value changes.
            update = {"$set": values, "$inc": {"writes": 1}}
            writes.append(UpdateOne({"_id": parked_id(*source, head.sequence)}, update))
        if writes:
            await self.collection.bulk_write(writes, session=session)
        return forgeries

    async def ready(self, partitions: Collection[int], limit: int) -> list[Source]:
        query = {"head": True, "partition": {"$in": list(partitions)}, "reason": "ready"}
        async with translate_errors():
            found = self.collection.find(query, {"subject": 1, "source": 1}, limit=limit)
            return [(d["subject"], d["source"]) async for d in found]

    async def events(self, source: Source, limit: int, session: AsyncClientSession | None = None) -> list[Parked]:
        async with translate_errors(session):
            found = self.collection.find(_events(source), sort=[("sequence", 1)], limit=limit, session=session)
            return [parked_of(d) async for d in found]

    async def heads(self, reasons: Collection[Reason], subject: str = "") -> list[Parked]:
        query: dict[str, Any] = {"head": True, "reason": {"$in": list(reasons)}}
        if subject:
            query["subject"] = subject
        async with translate_errors():
            found = self.collection.find(query, {"raw": 0}, limit=HEADS_LIMIT, sort=[("since", 1)])
            return [parked_of(d) async for d in found]

    async def release(
        self,
        reasons: Collection[Reason],
        *,
        partitions: Collection[int] | None = None,
        types: Collection[str] | None = None,
        sources: Collection[Source] | None = None,
    ) -> int:
        query: dict[str, Any] = {"head": True, "reason": {"$in": list(reasons)}}
        if types is not None:
            query["type"] = {"$in": list(types)}
        if partitions is not None:
            query["partition"] = {"$in": list(partitions)}
        if sources is not None:
            query["$or"] = [{"subject": subject, "source": source} for subject, source in sources]
        async with translate_errors():
            found = await self.collection.update_many(query, {"$set": {"reason": "ready"}, "$inc": {"writes": 1}})
            return found.modified_count


def _events(source: Source, last: int = LAST_SEQUENCE) -> dict[str, Any]:
    """Match the parked events of a subject and source up to a sequence."""
    return {"subject": source[0], "source": source[1], "sequence": {"$lte": last}}
