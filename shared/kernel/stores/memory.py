"""A store in memory, as atomic as the real one."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from operator import gt, le
from typing import Any

from msgspec.structs import replace

from contracts.subjects import kind_of, partition_of
from kernel.counters import Counts, counted
from kernel.errors import Fenced, Transient, UniqueViolation
from kernel.query import Condition, Query
from kernel.record import LogPosition, Parked, Reason, Record, Undecodable
from kernel.rules import Rules
from kernel.store import (
    KEPT_RECORDS,
    Effects,
    OffsetRanges,
    Pending,
    Projection,
    Snapshot,
    Source,
    TopicPartition,
    empty_snapshot,
    project,
    settle_ids,
    stored,
    unique_values,
)


class MemoryStore:
    """Keeps what MongoStore keeps, without a database."""

    def __init__(self, service: str, rules: Mapping[str, Rules], unique: Collection[str] = ()) -> None:
        self.service, self.rules, self.unique = service, rules, tuple(unique)
        self.records: dict[str, Record] = {}
        self.events: dict[str, list[bytes]] = {}
        self.published: dict[str, int] = {}
        self.positions: dict[TopicPartition, int] = {}
        self.read_topics: Mapping[str, str] = {}  # not compared: no topic is recreated in memory
        self.undecodable: dict[LogPosition, Undecodable] = {}
        self.by_unique: dict[tuple[str, Any], str] = {}
        self.parked = MemoryParked()
        self.lock = asyncio.Lock()

    async def read(self, subjects: Collection[str]) -> Mapping[str, Record]:
        snapshot = self._read(subjects)
        return {subject: snapshot.record(subject) for subject in subjects}

    def _read(self, subjects: Collection[str], parked: int = 0) -> Snapshot:
        empty = empty_snapshot(self.rules, subjects)
        records = {subject: self.records.get(subject, record) for subject, record in empty.records.items()}
        return Snapshot(records, empty.unreadable, self.parked.first(subjects, parked))

    async def swap(self, before: Record, after: Record) -> Record | None:
        await asyncio.sleep(0)  # as a real one, let others go first
        async with self.lock:
            current = self.records.get(after.subject)
            if (current.version if current else 0) != before.version:
                return None
            self._check_unique([after])
            return self._keep(before, after)

    async def transact(
        self,
        subjects: Collection[str],
        change: Callable[[Snapshot], Effects],
        ranges: OffsetRanges | None = None,
        projection: Projection | None = None,
        *,
        parked: int = 0,
    ) -> Effects:
        await asyncio.sleep(0)
        async with self.lock:
            if any(self.positions.get(tp, 0) != start for tp, (start, _) in (ranges or {}).items()):
                raise Fenced
            effects = change(self._read(subjects, parked))
            self._check_unique([after for _, after in effects.changes])
            await project(projection, effects, None, (Transient,))
            self.positions |= {tp: end for tp, (_, end) in (ranges or {}).items()}
            await self.add_undecodable([*effects.undecodable, *self.parked.write(effects)])
            return replace(effects, changes=[(before, self._keep(before, after)) for before, after in effects.changes])

    async def find(self, query: Query) -> list[Record]:
        found = [record for record in self.records.values() if _matches(query, record)]
        found.sort(key=lambda record: query.sort_key(record.indexed, record.subject))
        return found[: query.limit or None]

    async def find_subjects(self, query: Query) -> list[str]:
        return [record.subject for record in await self.find(query)]

    async def count(self, query: Query) -> int:
        return sum(_matches(query, record) for record in self.records.values())

    async def count_by(self, field: str, query: Query) -> dict[Any, int]:
        return Counter(r.indexed[field] for r in self.records.values() if _matches(query, r) and field in r.indexed)

    async def distinct(self, field: str, query: Query) -> set[Any]:
        return set(await self.count_by(field, query))

    async def counts(self, groups: Collection[str]) -> Counts:
        found = {group: Counter[str]() for group in groups}
        for record in self.records.values():
            for group, name in counted(self.rules[kind_of(record.subject)], record.indexed):
                if group in found:
                    found[group][name] += 1
        return found

    async def find_by_unique(self, field: str, values: Collection[Any]) -> dict[Any, str]:
        return {value: self.by_unique[field, value] for value in values if (field, value) in self.by_unique}

    async def history(self, subject: str) -> list[bytes]:
        return list(self.events.get(subject, ()))

    async def cursors(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.positions.setdefault(tp, 0) for tp in partitions}

    async def pending(self, partitions: Collection[int], limit: int) -> list[Pending]:
        found = []
        for subject, events in self.events.items():
            published, partition = self.published.get(subject, 0), partition_of(subject)
            if len(events) > published and partition in partitions:
                found.append(Pending(subject, partition, published, events[published : published + limit]))
        return found[:limit]

    async def mark_published(self, published: Mapping[str, int]) -> None:
        self.published |= {subject: max(n, self.published.get(subject, 0)) for subject, n in published.items()}

    async def add_undecodable(self, found: Sequence[Undecodable]) -> int:
        before = len(self.undecodable)
        kept = Counter((each.topic, each.partition) for each in self.undecodable)
        for each in found:
            tp = each.position.topic, each.position.partition
            if each.position not in self.undecodable and kept[tp] < KEPT_RECORDS:
                self.undecodable[each.position] = each
                kept[tp] += 1
        return len(self.undecodable) - before

    def _keep(self, before: Record, after: Record) -> Record:
        self.events.setdefault(after.subject, []).extend(after.new_events)
        if old := self.records.get(after.subject):
            for key in self._unique_keys(old):
                self.by_unique.pop(key, None)
        self.by_unique.update({key: after.subject for key in self._unique_keys(after)})
        self.records[after.subject] = kept = stored(before, after)
        return kept

    def _check_unique(self, records: Collection[Record]) -> None:
        owners: dict[tuple[str, Any], str] = {}
        for record in records:
            for key in self._unique_keys(record):
                if owners.setdefault(key, self.by_unique.get(key, record.subject)) != record.subject:
                    raise UniqueViolation(key[0], record.subject)

    def _unique_keys(self, record: Record) -> Iterator[tuple[str, Any]]:
        for response in record.stored_responses:
            yield "idempotency_key", response.key
        for field in self.unique:
            for value in unique_values(record, field):
                yield field, value


class MemoryParked:
    """Parked events in memory."""

    def __init__(self) -> None:
        self.by_source: dict[Source, dict[int, Parked]] = {}

    def first(self, subjects: Collection[str], limit: int) -> dict[Source, Sequence[Parked]]:
        """Return the first parked events of these subjects, `limit` of each source."""
        if not self.by_source or not limit:
            return {}
        wanted = set(subjects)
        return {
            source: [_head(events), *[each for _, each in sorted(events.items())][1:limit]]
            for source, events in self.by_source.items()
            if source[0] in wanted
        }

    def write(self, effects: Effects) -> list[Undecodable]:
        """Apply what a transaction does to parked events; return the forgeries among them."""
        ids = {(each.subject, each.source, each.sequence) for each in effects.parked}
        known = {id_: self.by_source[id_[:2]][id_[2]] for id_ in ids if id_[2] in self.by_source.get(id_[:2], ())}
        chosen, forgeries = settle_ids(effects.parked, known)
        for each in chosen.values():
            self.by_source.setdefault((each.subject, each.source), {})[each.sequence] = each
        for source, last in effects.unparked.items():
            self.by_source[source] = {n: each for n, each in self.by_source.get(source, {}).items() if n > last}
            if not self.by_source[source]:
                del self.by_source[source]
        for source, head in effects.heads.items():
            self.by_source[source][head.sequence] = head
        return forgeries

    async def ready(self, partitions: Collection[int], limit: int) -> list[Source]:
        found = [s for s, events in self.by_source.items() if _head(events).reason == "ready"]
        return [source for source in found if partition_of(source[0]) in partitions][:limit]

    async def events(self, source: Source, limit: int) -> list[Parked]:
        return [each for _, each in sorted(self.by_source.get(source, {}).items())][:limit]

    async def heads(self, reasons: Collection[Reason], subject: str = "") -> list[Parked]:
        found = [replace(_head(events), raw=b"") for events in self.by_source.values()]
        wanted = (each for each in found if each.reason in reasons and subject in ("", each.subject))
        return sorted(wanted, key=lambda each: each.since)

    async def release(
        self,
        reasons: Collection[Reason],
        *,
        partitions: Collection[int] | None = None,
        types: Collection[str] | None = None,
        sources: Collection[Source] | None = None,
    ) -> int:
        released = 0
        for source, events in self.by_source.items():
            head = _head(events)
            wanted = head.reason in reasons and (sources is None or source in sources)
            wanted = wanted and (partitions is None or partition_of(head.subject) in partitions)
            if wanted and (types is None or head.type in types):
                events[head.sequence] = replace(head, reason="ready")
                released += 1
        return released


def _head(events: Mapping[int, Parked]) -> Parked:
    return replace(events[min(events)], behind=len(events) - 1)


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {"lte": le, "gt": gt}


def _matches(query: Query, record: Record) -> bool:
    if query.kind and kind_of(record.subject) != query.kind:
        return False
    if not all(_fulfils(condition, _field(record, field)) for field, condition in query.conditions()):
        return False
    if any(field not in record.indexed for field in query.order):
        return False
    key = query.sort_key(record.indexed, record.subject)
    return (query.after is None or key > query.after) and (query.before is None or key < query.before)


def _field(record: Record, field: str) -> Any:
    if field == "subject":
        return record.subject
    return partition_of(record.subject) if field == "partition" else record.indexed.get(field)


def _fulfils(condition: Condition, value: Any) -> bool:
    operator, wanted = condition.operator, condition.value
    if value is None:
        return False
    match operator:
        case "eq":
            return wanted in value if isinstance(value, list | tuple) else bool(value == wanted)
        case "in":
            return any(each in wanted for each in value) if isinstance(value, list | tuple) else value in wanted
        case "exists":
            return True
        case "within":
            return bool(value == wanted or value.startswith(f"{wanted}/"))
        case "prefix":
            return bool(value.startswith(wanted))
    return _COMPARE[operator](value, wanted)
