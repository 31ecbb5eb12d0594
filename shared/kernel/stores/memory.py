"""Records in memory, as atomic as the real ones."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from contracts.subjects import kind_of, partition_of
from kernel.errors import Fenced, UniqueViolation
from kernel.record import LogPosition, Record, Undecodable, stranded
from kernel.rules import Rules
from kernel.store import Change, Known, OffsetRanges, Pending, Projection, TopicPartition, unique_values


class MemoryStore:
    """What MongoStore promises, without a database."""

    def __init__(self, service: str, rules: Mapping[str, Rules], unique: Collection[str] = ()) -> None:
        self.service, self.rules, self.unique = service, rules, tuple(unique)
        self.kept: dict[str, Record] = {}
        self.emitted: dict[str, list[bytes]] = {}  # by subject, everything it ever emitted
        self.relayed: dict[str, int] = {}
        self.positions: dict[TopicPartition, int] = {}
        self.unreadable: dict[LogPosition, Undecodable] = {}
        self.held: dict[tuple[str, str], str] = {}  # (unique field, value) -> subject
        self.writing = asyncio.Lock()

    async def read(self, subjects: Collection[str]) -> Known:
        """The records; one never stored comes fresh."""
        return {s: self.kept.get(s) or Record(subject=s, state=self.rules[kind_of(s)].State()) for s in subjects}

    async def swap(self, before: Record, after: Record) -> bool:
        """Stores one record if it is still as it was read."""
        await asyncio.sleep(0)  # a real one lets others go first, too
        async with self.writing:
            kept = self.kept.get(after.subject)
            if (kept.version if kept else 0) != after.version - 1:
                return False
            self._check_unique([after])
            self._keep(after)
            return True

    async def transact(
        self,
        subjects: Collection[str],
        change: Change,
        ranges: OffsetRanges | None = None,
        projection: Projection | None = None,
    ) -> None:
        """All or nothing."""
        await asyncio.sleep(0)
        async with self.writing:
            if any(self.positions.get(tp, 0) != first for tp, (first, _) in (ranges or {}).items()):
                raise Fenced
            changed = change(await self.read(subjects))
            self._check_unique([after for _, after in changed])
            if projection and changed:
                await projection(changed, None)
            self.positions.update({tp: after for tp, (_, after) in (ranges or {}).items()})
            for _, record in changed:
                self._keep(record)

    async def holders(self, field: str, values: Collection[Any]) -> dict[Any, str]:
        """The subjects that hold these values of a unique field."""
        return {value: self.held[field, value] for value in values if (field, value) in self.held}

    async def holder(self, field: str, value: Any) -> str | None:
        """The subject that holds this value of a unique field."""
        return self.held.get((field, value))

    async def cursors(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The next offset of each partition."""
        return {tp: self.positions.setdefault(tp, 0) for tp in tps}

    async def due(self, partitions: Collection[int], now: datetime, limit: int) -> list[str]:
        """Subjects whose time has come."""
        found = [
            (r.indexed["due"], r.subject)
            for r in self.kept.values()
            if r.indexed.get("due") and r.indexed["due"] <= now and partition_of(r.subject) in partitions
        ]
        return [subject for _, subject in sorted(found)[:limit]]

    async def waiting(self, partitions: Collection[int], limit: int) -> list[Pending]:
        """Records with events that nobody was sent."""
        return [
            Pending(s, partition_of(s), self.relayed.get(s, 0), each[self.relayed.get(s, 0) :])
            for s, each in self.emitted.items()
            if len(each) > self.relayed.get(s, 0) and partition_of(s) in partitions
        ][:limit]

    async def mark_relayed(self, relayed: Mapping[str, int]) -> None:
        """Raises what was sent."""
        for subject, n in relayed.items():
            self.relayed[subject] = max(self.relayed.get(subject, 0), n)

    async def stranded(self, partitions: Collection[int], limit: int) -> list[str]:
        """Subjects whose next parked event only the log has."""
        return [s for s, r in self.kept.items() if partition_of(s) in partitions and stranded(r)][:limit]

    async def quarantine(self, unread: Sequence[Undecodable]) -> None:
        """Keeps what nobody can read."""
        for each in unread:
            self.unreadable.setdefault(each.place, each)

    def find(self, predicate: Callable[[Mapping[str, Any]], bool]) -> list[Record]:
        """The records whose `indexed` fulfils this, in the order of their subjects."""
        return [self.kept[s] for s in sorted(self.kept) if predicate(self.kept[s].indexed)]

    def _keep(self, record: Record) -> None:
        self.emitted.setdefault(record.subject, []).extend(record.emitted)
        if old := self.kept.get(record.subject):
            for place in self._places(old):
                self.held.pop(place, None)
        self.held.update({place: record.subject for place in self._places(record)})
        self.kept[record.subject] = replace(record, emitted=())

    def _check_unique(self, records: Collection[Record]) -> None:
        own: dict[tuple[str, str], str] = {}
        for record in records:
            for place in self._places(record):
                if own.setdefault(place, self.held.get(place, record.subject)) != record.subject:
                    raise UniqueViolation(place[0], record.subject)

    def _places(self, record: Record) -> Iterator[tuple[str, str]]:
        for answer in record.answered:
            yield "answered", answer.key
        for field in self.unique:
            for value in unique_values(record, field):
                yield field, value
