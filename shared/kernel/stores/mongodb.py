"""Records in MongoDB: one document a subject, in which state, inbox and everything it ever emitted move together.

The client reads and writes with majority: what the relay has told Kafka must survive the loss of the primary.
"""

import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from pymongo import AsyncMongoClient, InsertOne, UpdateMany, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, ConnectionFailure, DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from base.clock import machine_now
from contracts.subjects import kind_of
from kernel.errors import Conflict, Fenced, Transient, UniqueViolation
from kernel.group_commit import GroupCommit
from kernel.record import EVENTS_ALERT, Record, Undecodable
from kernel.rules import Rules
from kernel.store import Change, Known, OffsetRanges, Pending, Projection, TopicPartition
from kernel.stores.documents import document_of, movement_of, record_of
from observability.metrics import Backlog

DUPLICATE_KEY = 11000
CONFLICTS = 3  # of one transaction in a row, after which a smaller one is tried


def connect(url: str) -> AsyncMongoClient[dict[str, Any]]:
    """The one way to a client: majority everywhere, journalled, instants with their zone."""
    return AsyncMongoClient(
        url,
        w="majority",
        journal=True,
        readConcernLevel="majority",
        tz_aware=True,
        tzinfo=UTC,
        serverSelectionTimeoutMS=10_000,
        # A connection that stays silent for ever is found by the server's monitor, which then lets go of all of them.
        connectTimeoutMS=4_000,
        heartbeatFrequencyMS=4_000,
        socketTimeoutMS=60_000,
    )


def within(scope: str) -> dict[str, Any]:
    """The predicate that keeps a query inside a scope: "" the nation, "IR-20" a province, "IR-20/2001" a county."""
    return {"indexed.scope": {"$regex": f"^{re.escape(scope)}(/|$)"}} if scope else {}


class MongoStore:
    """A service's records; `unique` names the fields of `indexed` that no two records may share."""

    def __init__(
        self,
        database: AsyncDatabase[dict[str, Any]],
        service: str,
        rules: Mapping[str, Rules],
        unique: Collection[str] = (),
    ) -> None:
        self.database, self.service, self.rules, self.unique = database, service, rules, tuple(unique)
        self.client, self.records, self.positions = database.client, database.records, database.cursors
        self.unreadable, self.topics = database.unreadable, database.topics
        self.new = GroupCommit(self._insert)

    async def prepare(self) -> None:
        """Makes the kernel's indexes; making them again changes nothing."""
        for field in ("unrelayed_since", "indexed.due", "stranded", "early_since", "faulty_since"):
            keys = [(field, 1), ("partition", 1)]  # a poll looks at one place, and not at one for each partition
            await self.records.create_index(keys, partialFilterExpression={field: {"$exists": True}})
        await self.records.create_index(
            [("partition", 1), ("last_sequence", -1)],
            partialFilterExpression={"last_sequence": {"$gte": EVENTS_ALERT}},
        )
        for field in ("answered.key", *(f"indexed.{each}" for each in self.unique)):
            await self.records.create_index(
                [(field, 1)], unique=True, partialFilterExpression={field: {"$exists": True}}
            )

    async def read(self, subjects: Collection[str], session: AsyncClientSession | None = None) -> Known:
        """The records; one never stored comes fresh, at version 0. Raises NewerRules, Transient."""
        known = {s: Record(subject=s, state=self.rules[kind_of(s)].State()) for s in subjects}
        async with translate_errors(session):
            async for d in self.records.find({"_id": {"$in": list(subjects)}}, {"emitted": 0}, session=session):
                known[d["_id"]] = self.record(d)
        return known

    def record(self, d: Mapping[str, Any]) -> Record:
        """The record in one document. Raises NewerRules."""
        return record_of(self.rules[d["kind"]], d)

    async def swap(self, before: Record, after: Record) -> bool:
        """Stores one record if it is still as it was read; new ones that come together go together.

        Raises Taken, Transient.
        """
        try:
            if after.version == 1:
                await self.new.put(document_of(self._rules(after), after))
                return True
            movement, query = (
                movement_of(self._rules(after), before, after),
                {"_id": after.subject, "version": after.version - 1},
            )
            async with translate_errors():
                return (await self.records.update_one(query, movement)).matched_count == 1
        except DuplicateKeyError as e:
            if _lost_race(e.details or {}):
                return False
            raise UniqueViolation(_field(e.details or {}), after.subject) from e

    async def _insert(self, documents: Sequence[dict[str, Any]]) -> Sequence[Exception | None]:
        try:
            async with translate_errors():
                await self.records.insert_many(documents, ordered=False)
        except BulkWriteError as e:
            faults = {fault["index"]: fault for fault in (e.details or {}).get("writeErrors", ())}
            if not faults or any(fault["code"] != DUPLICATE_KEY for fault in faults.values()):
                raise
            told = {n: DuplicateKeyError(fault["errmsg"], DUPLICATE_KEY, fault) for n, fault in faults.items()}
            return [told.get(n) for n in range(len(documents))]
        return [None] * len(documents)

    async def transact(
        self,
        subjects: Collection[str],
        change: Change,
        ranges: OffsetRanges | None = None,
        projection: Projection | None = None,
    ) -> None:
        """Reads, changes and stores many records, moves cursors and whatever else, all or nothing."""
        attempts = 0

        async def together(session: AsyncClientSession) -> None:
            nonlocal attempts
            attempts += 1
            if attempts > CONFLICTS + 1 and len(subjects) > 1:
                raise Conflict(f"{attempts - 1} conflicts over {len(subjects)} subjects")
            await self._step(ranges or {}, session)
            changed = change(await self.read(subjects, session))
            if changed:
                # the new ones together; ordered, for nothing can be written after a fault in a transaction
                changes = sorted(changed, key=lambda pair: pair[1].version > 1)
                await self.records.bulk_write([self._write(*pair) for pair in changes], session=session)
            if projection and changed:
                await projection(changed, session)

        while True:
            async with translate_errors(), self.client.start_session() as session:
                try:
                    await session.with_transaction(together, read_concern=ReadConcern("snapshot"))
                    return
                except BulkWriteError as e:
                    faults = (e.details or {}).get("writeErrors", [])
                    if any(fault["code"] != DUPLICATE_KEY for fault in faults) or not faults:
                        raise
                    if taken := next((fault for fault in faults if not _lost_race(fault)), None):
                        raise UniqueViolation(_field(taken), (taken["op"].get("q") or taken["op"])["_id"]) from e

    async def holders(self, field: str, values: Collection[Any]) -> dict[Any, str]:
        """The subjects that hold these values of a unique field; `answered` is the one of idempotency keys."""
        path = "answered.key" if field == "answered" else f"indexed.{field}"
        found: dict[Any, str] = {}
        async with translate_errors():
            async for d in self.records.find({path: {"$in": list(values)}}, {path: 1}):
                inside = d["indexed"][field] if field != "answered" else [each["key"] for each in d["answered"]]
                found |= dict.fromkeys(inside if isinstance(inside, list) else [inside], d["_id"])
        return {value: found[value] for value in values if value in found}

    async def holder(self, field: str, value: Any) -> str | None:
        """The subject that holds this value of a unique field."""
        return (await self.holders(field, [value])).get(value)

    async def cursors(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The next offset to be handled of each partition; one never read stands at 0."""
        async with translate_errors():
            if tps:
                await self.positions.bulk_write(
                    [UpdateOne({"_id": _id(tp)}, {"$setOnInsert": {"next": 0}}, upsert=True) for tp in tps],
                    ordered=False,
                )
            found = {d["_id"]: d["next"] async for d in self.positions.find({"_id": {"$in": [_id(tp) for tp in tps]}})}
        return {tp: found[_id(tp)] for tp in tps}

    async def due(self, partitions: Collection[int], now: datetime, limit: int) -> list[str]:
        """Subjects whose time has come, the longest overdue first."""
        query = {"partition": {"$in": list(partitions)}, "indexed.due": {"$lte": now}}
        async with translate_errors():
            found = self.records.find(query, {"_id": 1}, limit=limit, sort=[("indexed.due", 1)])
            return [d["_id"] async for d in found]

    async def waiting(self, partitions: Collection[int], limit: int) -> list[Pending]:
        """Records with events that Kafka does not have, the longest waiting first."""
        query = {"partition": {"$in": list(partitions)}, "unrelayed_since": {"$exists": True}}
        shown = {"emitted": {"$slice": ["$emitted", "$relayed", limit]}, "relayed": 1, "partition": 1}
        async with translate_errors():
            found = self.records.find(query, shown, limit=limit, sort=[("unrelayed_since", 1)])
            return [Pending(d["_id"], d["partition"], d["relayed"], d["emitted"]) async for d in found]

    async def mark_relayed(self, relayed: Mapping[str, int]) -> None:
        """Raises how many of its events Kafka has, per subject; touches nothing else."""
        alike: dict[int, list[str]] = {}  # most have as many events as the next: one write for all of them
        for subject, n in relayed.items():
            alike.setdefault(n, []).append(subject)
        marks = [UpdateMany({"_id": {"$in": subjects}}, _raise_relayed(n)) for n, subjects in alike.items()]
        async with translate_errors():
            await self.records.bulk_write(marks, ordered=False)

    async def stranded(self, partitions: Collection[int], limit: int) -> list[str]:
        """Subjects that wait for a parked event of which only the place in the log was kept."""
        query = {"partition": {"$in": list(partitions)}, "stranded": {"$exists": True}}
        async with translate_errors():
            return [d["_id"] async for d in self.records.find(query, {"_id": 1}, limit=limit)]

    async def quarantine(self, unread: Sequence[Undecodable]) -> None:
        """Keeps what nobody can read, once."""
        at = machine_now()
        kept = [
            UpdateOne(
                {"_id": f"{each.place.topic}/{each.place.partition}@{each.place.offset}"},
                {"$setOnInsert": {**msgspec.structs.asdict(each.place), "raw": each.raw, "why": each.why, "at": at}},
                upsert=True,
            )
            for each in unread
        ]
        async with translate_errors():
            await self.unreadable.bulk_write(kept, ordered=False)

    async def topic_ids(self, ids: Mapping[str, str]) -> dict[str, str]:
        """The id that each topic had when it was first read; one never read is known by this id from now on."""
        async with translate_errors():
            if ids:
                await self.topics.bulk_write(
                    [UpdateOne({"_id": t}, {"$setOnInsert": {"id": ids[t]}}, upsert=True) for t in ids], ordered=False
                )
            return {d["_id"]: d["id"] async for d in self.topics.find({"_id": {"$in": list(ids)}})}

    async def machine_time(self) -> datetime:
        """The database's own clock."""
        async with translate_errors():
            found: datetime = (await self.client.admin.command("hello", codec_options=self.database.codec_options))[
                "localTime"
            ]
        return found

    async def backlog(self, partitions: Collection[int], now: datetime) -> Backlog:
        """What waits in these partitions; `now` is programme time."""
        here, machine = {"partition": {"$in": list(partitions)}}, machine_now()

        async def oldest(field: str, counted: Any = 1) -> tuple[int, float]:
            group = {"_id": None, "n": {"$sum": counted}, "since": {"$min": f"${field}"}}
            found = await self.records.aggregate([{"$match": {**here, field: {"$exists": True}}}, {"$group": group}])
            return next(((d["n"], (machine - d["since"]).total_seconds()) for d in await found.to_list()), (0, 0.0))

        async with translate_errors():
            unsent, unsent_age = await oldest("unrelayed_since", {"$subtract": ["$last_sequence", "$relayed"]})
            early, early_age = await oldest("early_since")
            faulty, faulty_age = await oldest("faulty_since")
            stranded = await self.records.count_documents({**here, "stranded": True})
            overdue = await self.records.find_one(
                {**here, "indexed.due": {"$lte": now}}, {"indexed.due": 1}, sort=[("indexed.due", 1)]
            )
            longest = await self.records.find_one(
                {**here, "last_sequence": {"$gte": EVENTS_ALERT}}, {"last_sequence": 1}, sort=[("last_sequence", -1)]
            )
        return Backlog(
            unsent=unsent,
            unsent_age=unsent_age,
            early=early,
            early_age=early_age,
            faulty=faulty,
            faulty_age=faulty_age,
            stranded=stranded,
            due_age=(now - overdue["indexed"]["due"]).total_seconds() if overdue else 0.0,
            emitted_longest=longest["last_sequence"] if longest else 0,
        )

    async def _step(self, ranges: OffsetRanges, session: AsyncClientSession) -> None:
        moves = [
            UpdateOne({"_id": _id(tp), "next": first}, {"$set": {"next": after}})
            for tp, (first, after) in ranges.items()
        ]
        if moves and (await self.positions.bulk_write(moves, session=session)).matched_count != len(moves):
            raise Fenced

    def _write(self, before: Record, after: Record) -> InsertOne[dict[str, Any]] | UpdateOne:
        rules = self._rules(after)
        if after.version > 1:
            query = {"_id": after.subject, "version": after.version - 1}
            return UpdateOne(query, movement_of(rules, before, after))
        return InsertOne(document_of(rules, after))  # half of what an upsert costs the database

    def _rules(self, r: Record) -> Rules:
        return self.rules[kind_of(r.subject)]


@asynccontextmanager
async def translate_errors(session: AsyncClientSession | None = None) -> AsyncIterator[None]:
    """Turns the database's passing troubles into Transient; inside a transaction its own retry sees them first."""
    try:
        yield
    except PyMongoError as e:
        passing = isinstance(e, ConnectionFailure) or e.timeout or e.has_error_label("TransientTransactionError")
        passing = passing or (isinstance(e, OperationFailure) and e.has_error_label("RetryableWriteError"))
        if session is None and passing:
            raise Transient(str(e)) from e
        raise


def _id(tp: TopicPartition) -> str:
    return f"{tp[0]}/{tp[1]}"


def _raise_relayed(n: int) -> list[dict[str, Any]]:
    waiting = {"$cond": [{"$lt": ["$relayed", {"$size": "$emitted"}]}, "$unrelayed_since", "$$REMOVE"]}
    return [{"$set": {"relayed": {"$max": ["$relayed", n]}}}, {"$set": {"unrelayed_since": waiting}}]


def _field(fault: Mapping[str, Any]) -> str:
    """Which unique field a duplicate key concerns: `person`, or `answered` for an idempotency key."""
    name = next(iter(fault["keyPattern"]))
    return "answered" if name == "answered.key" else str(name.removeprefix("indexed."))


def _lost_race(fault: Mapping[str, Any]) -> bool:
    """Another first movement made this very record; a unique index of the service's own is not that."""
    return fault["code"] == DUPLICATE_KEY and "_id" in fault["keyPattern"]
