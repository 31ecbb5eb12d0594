"""Records in MongoDB: one document holds state, inbox and all events of a subject, and changes as a whole."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import Any

import structlog
from msgspec.structs import asdict, replace
from pymongo import IndexModel, InsertOne, UpdateMany, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern

from base.clock import machine_now
from contracts.subjects import kind_of
from kernel.counters import Counts
from kernel.errors import Conflict, Fenced, NewerRules, UniqueViolation, UnreadableRecord
from kernel.group_commit import GroupCommit
from kernel.query import Index, Query
from kernel.record import EVENTS_ALERT, Record, Undecodable
from kernel.rules import Rules
from kernel.store import (
    KEPT_RECORDS,
    Change,
    Effects,
    OffsetRanges,
    Pending,
    Projection,
    Snapshot,
    TopicPartition,
    Unreadable,
    empty_snapshot,
    project,
    stored,
)
from kernel.stores.mongodb.client import DUPLICATE_KEY, is_unsure, translate_errors, violated_field
from kernel.stores.mongodb.counters import MongoCounters
from kernel.stores.mongodb.documents import document_of, record_of, unreadable_of, update_of
from kernel.stores.mongodb.indexes import Declared, create_indexes, partial_index
from kernel.stores.mongodb.parked import MongoParked
from kernel.stores.mongodb.parked import declared_indexes as parked_indexes
from kernel.stores.mongodb.queries import filter_of, path_of, sort_of
from observability import metrics

CONFLICTS = 3  # in a row, after which a smaller transaction is tried
LONG = 5.0  # seconds; after an attempt that took longer at once: as large, it would reach the server's limit again
EXPLAINED_SECONDS = 90 * 86_400  # for which an explained undecodable record is kept
WITHOUT_EVENTS = {"events": 0}
# No query and no producer fails on one modified record; it stays pending, which raises an alert.
PUBLISHABLE = {
    "published": {"$type": "number"},
    "events": {"$type": "array", "$not": {"$elemMatch": {"$not": {"$type": "binData"}}}},
}

log = structlog.get_logger(__name__)


class MongoStore:
    """A service's records in one database."""

    def __init__(
        self,
        database: AsyncDatabase[dict[str, Any]],
        service: str,
        rules: Mapping[str, Rules],
        unique: Collection[str] = (),
        indexes: Collection[Index] = (),
    ) -> None:
        self.database, self.service, self.rules = database, service, rules
        self.unique, self.indexes = tuple(unique), tuple(indexes)
        self.client, self.records, self.positions = database.client, database.records, database.cursors
        self.undecodable, self.topics, self.parked = database.undecodable, database.topics, MongoParked(database)
        self.inserts = GroupCommit(self._insert)
        self.counters = MongoCounters(database, service, rules)
        self.reported = set[str]()  # subjects of unreadable records
        self.read_topics: Mapping[str, str] = {}  # ids of the topics that the reader of the cursors has read

    def declared_indexes(self) -> Declared:
        """Return the indexes of records and parked events."""
        unique = ("stored_responses.key", *(path_of(field) for field in self.unique))
        records = [
            partial_index(["pending_since", "partition"], "pending_since"),
            partial_index(["indexed.due", "_id", "partition"], "indexed.due"),
            IndexModel([("partition", 1)]),
            IndexModel(
                [("partition", 1), ("last_sequence", -1)],
                partialFilterExpression={"last_sequence": {"$gte": EVENTS_ALERT}},
            ),
            *(partial_index([path], path, unique=True) for path in unique),
            *self.counters.declared_indexes(),
        ]
        for each in self.indexes:
            paths = ["kind", *map(path_of, each.fields), "_id"]
            records.append(partial_index(paths, path_of(each.present or each.fields[0]), kind=each.kind))
        explained = IndexModel([("explained.at", 1)], expireAfterSeconds=EXPLAINED_SECONDS)
        return {"records": records, "parked": parked_indexes(), "undecodable": [explained]}

    async def create_indexes(self) -> None:
        """Create every index; creating them again changes nothing."""
        await create_indexes(self.database, self.declared_indexes())

    async def read(self, subjects: Collection[str], session: AsyncClientSession | None = None) -> Mapping[str, Record]:
        snapshot = await self._read(subjects, session)
        return {subject: snapshot.record(subject) for subject in subjects}

    async def swap(self, before: Record, after: Record) -> Record | None:
        rules = self.rules[kind_of(after.subject)]
        after = self.counters.marked(before, after)
        try:
            if before.version:
                query = {"_id": after.subject, "version": before.version, **self.counters.unchanged(before)}
                async with translate_errors():
                    if not (await self.records.update_one(query, update_of(rules, before, after))).matched_count:
                        return None
            else:
                await self.inserts.put(document_of(rules, after))
        except DuplicateKeyError as e:
            if field := violated_field(e.details or {}):
                raise UniqueViolation(field, after.subject) from e
            return None
        return stored(before, after)

    async def transact(
        self,
        subjects: Collection[str],
        change: Callable[[Snapshot], Effects],
        ranges: OffsetRanges | None = None,
        projection: Projection | None = None,
        *,
        parked: int = 0,
    ) -> Effects:
        written, conflicts = Effects(), 0  # conflicts: before the present attempt
        began = monotonic()

        async def body(session: AsyncClientSession) -> None:
            nonlocal written, conflicts
            seconds = monotonic() - began
            if conflicts and len(subjects) > 1 and (conflicts > CONFLICTS or seconds > LONG):
                raise Conflict(f"{conflicts} failed transactions over {len(subjects)} subjects in {seconds:.0f} s")
            conflicts += 1
            await self._move_cursors(ranges or {}, session)
            snapshot = await self._read(subjects, session)
            if parked:
                snapshot = replace(snapshot, parked=await self.parked.first(subjects, parked, session))
            effects = change(snapshot)
            if effects.changes:  # inserts first: only an ordered bulk write may fail inside a transaction
                effects = replace(effects, changes=await self._count(effects.changes, ranges, session))
                writes = sorted(map(self._write, effects.changes), key=lambda write: isinstance(write, UpdateOne))
                await self.records.bulk_write(writes, session=session)
                await project(projection, effects, session, (PyMongoError,))
            forgeries = await self.parked.write(effects, snapshot.parked, session)
            await self.add_undecodable([*effects.undecodable, *forgeries], session)
            written = effects

        while True:
            async with translate_errors(), self.client.start_session() as session:
                try:
                    await session.with_transaction(body, read_concern=ReadConcern("snapshot"))
                    changes = [(before, stored(before, after)) for before, after in written.changes]
                    return replace(written, changes=changes)
                except BulkWriteError as e:
                    _raise_violation(e)

    async def find(self, query: Query) -> list[Record]:
        found = list[Record]()
        while True:
            left = query.limit - len(found)
            async with translate_errors():
                cursor = self.records.find(filter_of(query), WITHOUT_EVENTS, limit=left, sort=sort_of(query))
                documents = await cursor.to_list()
            records, unreadable = self._decode(documents)
            found += records.values()
            self._report(unreadable)
            if not left or len(documents) < left or len(found) == query.limit:
                return found
            last = documents[-1]  # some of them are unreadable: as many as were wanted, without gaps between pages
            query = replace(query, after=query.sort_key(last["indexed"], last["_id"]))

    async def find_subjects(self, query: Query) -> list[str]:
        async with translate_errors():
            found = self.records.find(filter_of(query), {"_id": 1}, limit=query.limit, sort=sort_of(query))
            return [d["_id"] async for d in found]

    async def count(self, query: Query) -> int:
        async with translate_errors():
            return await self.records.count_documents(filter_of(query))

    async def count_by(self, field: str, query: Query) -> dict[Any, int]:
        group = {"$group": {"_id": f"${path_of(field)}", "n": {"$sum": 1}}}
        async with translate_errors():
            rows = await self.records.aggregate([{"$match": filter_of(query)}, group])
            return {d["_id"]: d["n"] async for d in rows if d["_id"] is not None}

    async def distinct(self, field: str, query: Query) -> set[Any]:
        async with translate_errors():
            return set(await self.records.distinct(path_of(field), filter_of(query)))

    async def counts(self, groups: Collection[str]) -> Counts:
        return await self.counters.read(groups)

    async def find_by_unique(self, field: str, values: Collection[Any]) -> dict[Any, str]:
        path = "stored_responses.key" if field == "idempotency_key" else f"indexed.{field}"
        found: dict[Any, str] = {}
        async with translate_errors():
            async for d in self.records.find({path: {"$in": list(values)}}, {path: 1}):
                own = d["indexed"][field] if path.startswith("indexed") else [r["key"] for r in d["stored_responses"]]
                found |= dict.fromkeys(own if isinstance(own, list) else [own], d["_id"])
        return {value: found[value] for value in values if value in found}

    async def history(self, subject: str) -> list[bytes]:
        async with translate_errors():
            found = await self.records.find_one({"_id": subject}, {"events": 1})
        return list(found.get("events", ())) if found else []

    async def cursors(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        ids = {tp: f"{tp[0]}/{tp[1]}" for tp in partitions}
        async with translate_errors():
            found = await self._stored_cursors(ids.values())
            if missing := set(ids.values()) - found.keys():
                new = [UpdateOne({"_id": each}, {"$setOnInsert": {"next": 0}}, upsert=True) for each in missing]
                await self.positions.bulk_write(new, ordered=False)
                found = await self._stored_cursors(ids.values())
        return {tp: found[each] for tp, each in ids.items()}

    async def _stored_cursors(self, ids: Collection[str]) -> dict[str, int]:
        return {d["_id"]: d["next"] async for d in self.positions.find({"_id": {"$in": list(ids)}})}

    async def pending(self, partitions: Collection[int], limit: int) -> list[Pending]:
        query = {"partition": {"$in": list(partitions)}, "pending_since": {"$exists": True}, **PUBLISHABLE}
        shown = {"events": {"$slice": ["$events", "$published", limit]}, "published": 1, "partition": 1}
        async with translate_errors():
            found = self.records.find(query, shown, limit=limit, sort=[("pending_since", 1)])
            return [Pending(d["_id"], d["partition"], d["published"], d["events"]) async for d in found]

    async def mark_published(self, published: Mapping[str, int]) -> None:
        by_count: dict[int, list[str]] = {}  # most records have as many events as the next: one write for all of them
        for subject, n in published.items():
            by_count.setdefault(n, []).append(subject)
        since = {"$cond": [{"$lt": ["$published", {"$size": "$events"}]}, "$pending_since", "$$REMOVE"]}
        writes = [
            UpdateMany(
                {"_id": {"$in": subjects}},
                [{"$set": {"published": {"$max": ["$published", n]}}}, {"$set": {"pending_since": since}}],
            )
            for n, subjects in by_count.items()
        ]
        async with translate_errors():
            await self.records.bulk_write(writes, ordered=False)

    async def add_undecodable(self, found: Sequence[Undecodable], session: AsyncClientSession | None = None) -> int:
        by_partition, writes, now = dict[str, list[dict[str, Any]]](), list[UpdateOne](), machine_now()
        for each in found:
            document = {"_id": str(each.position), **asdict(each), **asdict(each.position), "at": now}
            del document["position"]
            by_partition.setdefault(f"{each.position.topic}/{each.position.partition}", []).append(document)
        async with translate_errors(session):
            for prefix, documents in by_partition.items():
                there = {"_id": {"$gte": f"{prefix}@", "$lt": f"{prefix}A"}, "explained": {"$exists": False}}
                known = await self.undecodable.count_documents(there, limit=KEPT_RECORDS, session=session)
                chosen = documents[: KEPT_RECORDS - known]
                writes += [UpdateOne({"_id": d.pop("_id")}, {"$setOnInsert": d}, upsert=True) for d in chosen]
            if not writes:
                return 0
            written = await self.undecodable.bulk_write(writes, ordered=session is not None, session=session)
            return written.upserted_count

    async def topic_ids(self, ids: Mapping[str, str]) -> dict[str, str]:
        """Return the id that each topic had when it was first read."""
        async with translate_errors():
            if ids:
                await self.topics.bulk_write(
                    [UpdateOne({"_id": t}, {"$setOnInsert": {"id": ids[t]}}, upsert=True) for t in ids], ordered=False
                )
            return {d["_id"]: d["id"] async for d in self.topics.find({"_id": {"$in": list(ids)}})}

    async def clock_skew(self) -> float:
        """Return by how many seconds this machine's clock and the database's differ, however long the answer takes."""
        asked = machine_now()
        async with translate_errors():
            hello = await self.client.admin.command("hello", codec_options=self.database.codec_options)
        theirs: datetime = hello["localTime"]
        return max(0.0, (asked - theirs).total_seconds(), (theirs - machine_now()).total_seconds())

    async def _read(self, subjects: Collection[str], session: AsyncClientSession | None) -> Snapshot:
        snapshot = empty_snapshot(self.rules, subjects)
        async with translate_errors(session):
            cursor = self.records.find({"_id": {"$in": list(subjects)}}, WITHOUT_EVENTS, session=session)
            records, unreadable = self._decode(await cursor.to_list())
        new = {subject: each for subject, each in snapshot.records.items() if subject not in unreadable}
        return Snapshot({**new, **records}, {**snapshot.unreadable, **unreadable})

    def _decode(self, documents: Sequence[dict[str, Any]]) -> tuple[dict[str, Record], dict[str, Unreadable]]:
        """Return the records in documents, and what can be read of those that this version cannot read."""
        records, unreadable = dict[str, Record](), dict[str, Unreadable]()
        for d in documents:
            try:
                records[d["_id"]] = record_of(self.rules, d)
            except (NewerRules, UnreadableRecord) as e:
                unreadable[d["_id"]] = unreadable_of(d, e)
        return records, unreadable

    def _report(self, unreadable: Mapping[str, Unreadable]) -> None:
        """Count records that are left out of an answer; log each of them once."""
        for subject, each in unreadable.items():
            metrics.UNREADABLE.labels(self.service, each.reason).inc()
            if subject not in self.reported:
                log.error("unreadable record left out", service=self.service, subject=subject, error=each.error)
        self.reported |= unreadable.keys()

    async def _insert(self, documents: Sequence[dict[str, Any]]) -> Sequence[Exception | None]:
        """Insert many new records at once; return what each of them met."""
        async with translate_errors():
            try:
                await self.records.insert_many(documents, ordered=False)
            except BulkWriteError as e:
                errors = {error["index"]: error for error in (e.details or {}).get("writeErrors", [])}
                unsure = is_unsure(e)  # whether any of them would survive the primary
                if unsure or not errors or any(error["code"] != DUPLICATE_KEY for error in errors.values()):
                    raise
                return [
                    DuplicateKeyError(errors[n]["errmsg"], DUPLICATE_KEY, errors[n]) if n in errors else None
                    for n in range(len(documents))
                ]
        return [None] * len(documents)

    async def _move_cursors(self, ranges: OffsetRanges, session: AsyncClientSession) -> None:
        """Move them from where their reader stood, in the log that it has read. Raise Fenced."""
        writes = []
        for (topic, partition), (start, end) in ranges.items():
            topic_id = self.read_topics.get(topic)
            at = {"_id": f"{topic}/{partition}", "next": start, "topic_id": {"$in": [None, topic_id]}}
            known = {"topic_id": topic_id} if topic_id else {}
            writes.append(UpdateOne(at, {"$set": {"next": end, **known}, "$inc": {"batches": 1}}))
        if writes and (await self.positions.bulk_write(writes, session=session)).matched_count != len(writes):
            raise Fenced

    async def _count(
        self, changes: Sequence[Change], ranges: OffsetRanges | None, session: AsyncClientSession
    ) -> Sequence[Change]:
        """Count changed records if this writer owns their partitions, else mark them."""
        if ranges:
            return await self.counters.move(changes, session)
        return [(before, self.counters.marked(before, after)) for before, after in changes]

    def _write(self, change: tuple[Record, Record]) -> InsertOne[dict[str, Any]] | UpdateOne:
        before, after = change
        rules = self.rules[kind_of(after.subject)]
        if not before.version:
            return InsertOne(document_of(rules, after))  # half of what an upsert costs
        return UpdateOne({"_id": after.subject, "version": before.version}, update_of(rules, before, after))


def _raise_violation(e: BulkWriteError) -> None:
    """Raise UniqueViolation; return where another writer inserted the same record first."""
    errors = (e.details or {}).get("writeErrors", [])
    if not errors or any(error["code"] != DUPLICATE_KEY for error in errors):
        raise e
    for error in errors:
        if field := violated_field(error):
            raise UniqueViolation(field, (error["op"].get("q") or error["op"])["_id"]) from e
