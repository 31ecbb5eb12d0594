"""Counters in MongoDB, which no two writers contend for.

A document holds the counters of one group and one partition. The owner of the partition moves them, in the transaction
of the events that it consumes. Any other writer leaves in the record what it was counted as (`counted_as`), in the same
write; the owner counts such records once a second. Documents and marks together are exact at any moment.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any

import structlog
from msgspec.structs import replace
from pymongo import IndexModel, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern

from contracts.subjects import PARTITIONS, kind_of, partition_of
from kernel.counters import Counts, Name, Names, counted, counting, difference, sum_of
from kernel.errors import Transient
from kernel.record import Record
from kernel.rules import Rules
from kernel.stores.mongodb.client import translate_errors
from kernel.stores.mongodb.indexes import partial_index
from observability import metrics

INTERVAL = 1.0  # seconds between two looks for records that are not counted yet
LIMIT = 2_000  # of them in one transaction
DAY = 86_400.0  # seconds between two removals of counters that are 0: that of a day is so for ever once it is over
VERSION = "version"  # under which the rules that counted and the number of corrections are kept
GROUPS = {"group": {"$exists": True}}
SHOWN = {"kind": 1, "partition": 1, "indexed": 1, "counted_as": 1}
Moves = Mapping[int, Counter[Name]]  # by partition

log = structlog.get_logger(__name__)


class MongoCounters:
    """The counters of one service; as a periodic job, what counts the records that are not counted yet."""

    def __init__(self, database: AsyncDatabase[dict[str, Any]], service: str, rules: Mapping[str, Rules]) -> None:
        self.client, self.counters, self.records = database.client, database.counters, database.records
        self.service, self.rules, self.kinds = service, rules, counting(rules)
        self.version = ", ".join(f"{kind} {number}" for kind, number in sorted(self.kinds.items()))
        self.every: dict[str, Any] = {"kind": {"$in": list(self.kinds)}}
        self.marks = {"partition": {"$gte": 0}, "counted_as": {"$exists": True}, **self.every}
        self.looked_at, self.cleaned_at = -INTERVAL, -DAY
        self.unchecked: list[range] | None = None  # partitions whose counters another version counted; None: not known

    def marked(self, before: Record, after: Record) -> Record:
        """Return the record with what it was counted as, if it does not count as that any more."""
        if not self.kinds:
            return after
        old, new = self._counted(before), counted(self.rules[kind_of(after.subject)], after.indexed)
        return replace(after, counted_as=None if new == old else old)

    def unchanged(self, before: Record) -> dict[str, Any]:
        """Return the condition that no one has counted the record since it was read."""
        known = before.counted_as
        return {"counted_as": None if known is None else [list(each) for each in known]} if self.kinds else {}

    def declared_indexes(self) -> list[IndexModel]:
        """Return the index of the records that are not counted yet."""
        return [partial_index(["partition"], "counted_as")] if self.kinds else []

    async def move(
        self, changes: Sequence[tuple[Record, Record]], session: AsyncClientSession
    ) -> list[tuple[Record, Record]]:
        """Count changed records in the transaction that the owner of their partitions writes them in."""
        if not self.kinds:
            return list(changes)
        moves = defaultdict[int, list[tuple[Names, Names]]](list)
        for before, after in changes:
            if before.counted_as is None and before.indexed == after.indexed and before.version:
                continue
            new = counted(self.rules[kind_of(after.subject)], after.indexed)
            moves[partition_of(after.subject)].append((self._counted(before), new))
        await self._add({partition: difference(each) for partition, each in moves.items()}, session)
        return [(before, replace(after, counted_as=None)) for before, after in changes]

    async def read(self, groups: Collection[str]) -> Counts:
        """Return the counters of these groups. Raise Transient."""
        found = {group: Counter[str]() for group in groups}
        ids = [_id(group, partition) for group in groups for partition in range(PARTITIONS)]
        async with translate_errors(), self.client.start_session(snapshot=True) as session:
            async for d in self.counters.find({"_id": {"$in": ids}}, session=session):
                found[d["group"]].update(d["n"])
            marked = await self.records.find(self.marks, SHOWN, session=session).to_list()
        for moved in self._lacking(marked).values():
            for (group, name), n in moved.items():
                if group in found:
                    found[group][name] += n
        return {group: {name: n for name, n in each.items() if n} for group, each in found.items()}

    async def __call__(self, partitions: frozenset[int]) -> int:
        """Count the records of these partitions that are not counted yet; return how many. Raise Transient."""
        if not self.kinds or monotonic() - self.looked_at < INTERVAL:
            return 0
        query = {**self.marks, "partition": {"$in": sorted(partitions)}}
        done = 0

        async def body(session: AsyncClientSession) -> None:
            nonlocal done
            marked = await self.records.find(query, SHOWN, limit=LIMIT, session=session).to_list()
            subjects = [d["_id"] for d in marked if self._sides(d)]
            done = len(subjects)
            await self.records.update_many({"_id": {"$in": subjects}}, {"$unset": {"counted_as": ""}}, session=session)
            await self._add(self._lacking(marked), session)

        async with translate_errors():
            if self.unchecked is None:
                self.unchecked = [] if await self._version() == self.version else [range(PARTITIONS)]
            if self.unchecked:  # one part a call: between two of them the worker handles events
                await self._check_part(self.unchecked, True)
                if not self.unchecked:
                    await self._checked()
            if monotonic() - self.cleaned_at > DAY:
                self.cleaned_at = monotonic()
                await self.counters.update_many({**GROUPS, "partition": query["partition"]}, [WITHOUT_ZEROS])
            if await self.records.find_one(query, {"_id": 1}):
                async with self.client.start_session() as session:
                    await session.with_transaction(body, read_concern=ReadConcern("snapshot"))
        if done < LIMIT:
            self.looked_at = monotonic()
        return done

    async def check(self, *, correct: bool = False) -> dict[Name, int]:
        """Compare the counters with a full count, return what they lack, and add it if asked to. Raise Transient.

        Whatever is written meanwhile moves both alike. A count that outlives its snapshot is done in halves.
        """
        total, left = Counter[Name](), [range(PARTITIONS)]
        while left:
            total.update(await self._check_part(left, correct))
        if correct:
            await self._checked()
        return sum_of([total])

    async def _check_part(self, left: list[range], correct: bool) -> Counter[Name]:
        """Check the last of these partitions and remove them, or leave their halves. Raise Transient."""
        some = left.pop()
        try:
            lacking = await self._check(some, correct)
        except Transient:
            left += [some[::2], some[1::2]] if len(some) > 1 else [some]
            if len(some) == 1:
                raise
            return Counter()
        if lacking and correct:
            metrics.COUNTERS_CORRECTED.labels(self.service).inc(len(lacking))
            log.warning("counters corrected", service=self.service, records=len(lacking))
        return lacking

    async def _checked(self) -> None:
        async with translate_errors():
            await self.counters.update_one({"_id": VERSION}, {"$set": {"version": self.version}}, upsert=True)

    async def _check(self, partitions: range, correct: bool) -> Counter[Name]:
        """Return what the counters of some partitions lack."""
        where = {"partition": {"$in": list(partitions)}}
        while True:
            lacking = defaultdict[int, Counter[Name]](Counter)
            async with translate_errors(), self.client.start_session(snapshot=True) as session:
                number = await self._number(session)
                async for d in self.records.find({**self.every, **where}, SHOWN, session=session):
                    if sides := self._sides(d):
                        lacking[d["partition"]].update(sides[0])
                async for d in self.counters.find({**GROUPS, **where}, session=session):
                    lacking[d["partition"]].subtract({(d["group"], name): n for name, n in d["n"].items()})
            total = sum_of(lacking.values())
            moves = {partition: moved for partition, each in lacking.items() if (moved := sum_of([each]))}
            if not correct or not moves or await self._correct(moves, number):
                return total

    async def _correct(self, moves: Moves, number: int) -> bool:
        """Add what the counters lack, unless another process has corrected some since; return whether that is done."""
        corrected = False

        async def body(session: AsyncClientSession) -> None:
            nonlocal corrected
            if corrected := await self._number(session) == number:
                await self.counters.update_one(
                    {"_id": VERSION}, {"$inc": {"corrections": 1}}, upsert=True, session=session
                )
                await self._add(moves, session)

        async with translate_errors(), self.client.start_session() as session:
            await session.with_transaction(body, read_concern=ReadConcern("snapshot"))
        return corrected

    async def _version(self) -> str:
        found = await self.counters.find_one({"_id": VERSION})
        return str(found.get("version", "")) if found else ""

    async def _number(self, session: AsyncClientSession) -> int:
        found = await self.counters.find_one({"_id": VERSION}, session=session)
        return int(found.get("corrections", 0)) if found else 0

    def _counted(self, record: Record) -> Names:
        """Return what a record that was read is counted as."""
        if record.counted_as is not None:
            return record.counted_as
        return counted(self.rules[kind_of(record.subject)], record.indexed) if record.version else ()

    def _sides(self, d: Mapping[str, Any]) -> tuple[Names, Names] | None:
        """Return what a document is counted as, and what it counts as; None if this version cannot read that."""
        try:
            range(PARTITIONS).index(d["partition"])
            known, new = d.get("counted_as"), counted(self.rules[d["kind"]], d["indexed"])
            return new if known is None else tuple((group, name) for group, name in known), new
        except Exception:  # whatever is stored concerns this record alone: it counts as before
            return None

    def _lacking(self, marked: Iterable[Mapping[str, Any]]) -> Moves:
        """Return what the counters lack of marked documents."""
        moves = defaultdict[int, list[tuple[Names, Names]]](list)
        for d in marked:
            if sides := self._sides(d):
                moves[d["partition"]].append(sides)
        return {partition: difference(each) for partition, each in moves.items()}

    async def _add(self, moves: Moves, session: AsyncClientSession) -> None:
        writes = []
        for partition, moved in moves.items():
            groups = defaultdict[str, dict[str, int]](dict)
            for (group, name), n in moved.items():
                groups[group][name] = n
            for group, names in groups.items():
                update: dict[str, Any] = {
                    "$inc": {f"n.{name}": n for name, n in names.items()},
                    "$setOnInsert": {"group": group, "partition": partition},
                }
                writes.append(UpdateOne({"_id": _id(group, partition)}, update, upsert=True))
        if writes:
            await self.counters.bulk_write(writes, session=session)


WITHOUT_ZEROS = {
    "$set": {
        "n": {"$arrayToObject": {"$filter": {"input": {"$objectToArray": "$n"}, "cond": {"$ne": ["$$this.v", 0]}}}}
    }
}


def _id(group: str, partition: int) -> str:
    return f"{group}/{partition:02}"
