"""The tallies of the figures, moved by the projection in the transaction of the facts.

With each change of a subject, its tallies move by the difference between its contributions before and after. Two
collections hold them. `tallies` has one document per (round, province, partition, month), so that no two workers write
the same document and none grows with the number of days, with `days.<day>.<indicator>`. `partition_progress` has one
small document per partition: the versions of the tallies that moved, how many events were consumed, and how long the
newest took.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from sys import intern
from typing import Any, Protocol

import bson
import msgspec
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne
from pymongo.asynchronous.database import AsyncDatabase

from base.clock import machine_now
from contracts.subjects import partition_of
from kernel.store import Change, Store
from kernel.stores.mongodb import MongoStore, translate_errors
from programme.calendar import month_end, month_of
from reporting import metrics
from reporting.domain import round as rounds
from reporting.domain.contributions import Deltas, add_contributions, contributions
from reporting.domain.time_encoding import newest

ROUNDS = "rounds"  # under which the versions count changes of rounds
LATENCIES = 64  # kept per partition
LATENCIES_READ = 1_000  # over all partitions
DOCUMENTS_A_QUERY = 1_000
Days = dict[str, dict[str, int]]  # day -> indicator -> sum of deltas
Sums = dict[int, dict[str, int]]  # day as an ordinal -> indicator -> sum of deltas
TallyKey = tuple[str, str, int, str]  # round, province, partition, month
RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


class PartitionProgress(msgspec.Struct):
    """What one batch did in one partition."""

    versions: dict[str, int] = {}  # tally id -> how often it moved
    events: int = 0
    latest: list[list[int]] = []  # [machine time in ms, ms from `recorded` to counted]


class Movement(msgspec.Struct):
    """What one batch adds to the tallies."""

    tallies: dict[TallyKey, Days] = {}
    progress: dict[int, PartitionProgress] = {}  # by partition
    last_events: dict[str, int] = {}  # province -> machine time of its newest event, in ms


class Reading(msgspec.Struct, frozen=True):
    """The tallies that moved since certain versions, and the newest versions."""

    versions: dict[str, int]  # tally id -> version; under ROUNDS that of the rounds, which are records
    documents: dict[str, Sums]  # of the tallies that moved, folded
    events: int
    latencies: tuple[int, ...]  # in ms, the newest last


class Tallies(Protocol):
    """The tallies, in MongoDB or in memory. Versions can be compared within a generation."""

    generation: str

    async def move(self, changes: Sequence[Change], session: Any) -> None:
        """Move the tallies in the transaction of the facts; the projection of reporting."""

    async def read(self, since: Mapping[str, int], today: date) -> Reading:
        """Return what moved since these versions, folded as of today."""


def movement(changes: Sequence[Change], now: datetime) -> Movement:
    """Return what a batch of changed records adds to the tallies; `now` is machine time."""
    found = Movement({}, {}, {})
    sums: dict[tuple[str, int], Deltas] = {}  # by round and partition
    now_ms = newest(0, now)
    for before, after in changes:
        partition = partition_of(after.subject)
        progress = found.progress.get(partition)
        if progress is None:
            progress = found.progress[partition] = PartitionProgress({}, 0, [])
        progress.events += sum(after.inbox.values()) - sum(before.inbox.values())
        recorded = after.state.recorded
        if recorded > before.state.recorded:
            progress.latest.append([now_ms, max(0, now_ms - recorded)])
        if isinstance(after.state, rounds.State):
            progress.versions[ROUNDS] = 1
            continue
        own = sums.setdefault((after.state.round, partition), {})
        if before.state.round == after.state.round:
            changed = _add_difference(own, before.state, after.state)
        else:  # the round changed: each event of registration names one, also a forged erasure, which applies at once
            former = sums.setdefault((before.state.round, partition), {})
            changed = _add_difference(former, before.state, None) | _add_difference(own, None, after.state)
        if changed:
            province = after.indexed.get("scope", "").partition("/")[0]
            found.last_events[province] = max(recorded, found.last_events.get(province, 0))
    for (round_id, partition), deltas in sums.items():
        for (province, day, indicator), n in deltas.items():
            if n:
                days = found.tallies.setdefault((round_id, province, partition, month_of_ordinal(day)), {})
                days.setdefault(iso_day(day), {})[indicator] = n
    for key in found.tallies:
        found.progress[key[2]].versions[tally_id(*key)] = 1
    return found


def _add_difference(deltas: Deltas, before: object, after: object) -> bool:
    """Add what a subject's contributions changed by; return whether they changed."""
    if not (old := contributions(before)):
        return add_contributions(deltas, after)
    new = contributions(after)
    if old == new:
        return False
    for key, n in new.items():
        deltas[key] = deltas.get(key, 0) + n
    for key, n in old.items():
        deltas[key] = deltas.get(key, 0) - n
    return True


def folded(month: str, days: Mapping[str, Mapping[str, int]], today: date) -> Sums:
    """Return the sums of a month: by day in the present month, else all on its last day.

    Figures are asked for as of today and as of the ends of earlier months, and are the same for it.
    """
    if month == month_of(today):
        return {date.fromisoformat(day).toordinal(): {intern(i): n for i, n in by.items()} for day, by in days.items()}
    sums: dict[str, int] = {}
    for by in days.values():
        add(sums, by)
    return {month_end(month).toordinal(): sums}


def add(sums: dict[str, int], more: Mapping[str, int], sign: int = 1) -> None:
    """Add to sums by indicator, or subtract from them."""
    for indicator, n in more.items():
        sums[intern(indicator)] = sums.get(indicator, 0) + sign * n


def tally_id(round_id: str, province: str, partition: int, month: str) -> str:
    """Return the id of a tally document. It is also a field name in `partition_progress`: codes have no dots."""
    return f"{round_id}/{province}/{partition}/{month}"


@lru_cache(4096)
def iso_day(ordinal: int) -> str:
    """Return a day as the tallies store it: `2025-09-23`."""
    return date.fromordinal(ordinal).isoformat()


@lru_cache(4096)
def month_of_ordinal(ordinal: int) -> str:
    """Return the Jalali month of a day."""
    return month_of(date.fromordinal(ordinal))


class MongoTallies:
    """The tallies in MongoDB."""

    def __init__(self, database: AsyncDatabase[dict[str, Any]]) -> None:
        self.tallies, self.progress = database.tallies, database.partition_progress
        self.generation = database.name
        self.last_events: dict[str, int] = {}  # by this process: province -> machine time of its newest event, in ms

    async def move(self, changes: Sequence[Change], session: Any) -> None:
        """Move the tallies in the transaction of the facts."""
        found = movement(changes, machine_now())
        tallies = [
            UpdateOne(
                {"_id": tally_id(*key)},
                {
                    "$inc": {f"days.{day}.{i}": n for day, by in days.items() for i, n in by.items()},
                    "$setOnInsert": {"round": key[0], "province": key[1], "partition": key[2], "month": key[3]},
                },
                upsert=True,
            )
            for key, days in found.tallies.items()
        ]
        progress = [
            UpdateOne(
                {"_id": partition},
                {
                    "$inc": {"events": more.events} | {f"versions.{name}": n for name, n in more.versions.items()},
                    "$push": {"latest": {"$each": more.latest[-LATENCIES:], "$slice": -LATENCIES}},
                },
                upsert=True,
            )
            for partition, more in found.progress.items()
        ]
        if tallies:
            await self.tallies.bulk_write(tallies, ordered=False, session=session)
        if progress:
            await self.progress.bulk_write(progress, ordered=False, session=session)
        for province, recorded in found.last_events.items():
            self.last_events[province] = max(recorded, self.last_events.get(province, 0))
            metrics.PROVINCE_LAST_EVENT.labels(province).set(self.last_events[province] / 1_000)

    async def read(self, since: Mapping[str, int], today: date) -> Reading:
        """Return what moved since these versions, folded as of today, decoded in threads. Raise Transient.

        The versions are read first, so a document may be newer than its version here; it is then read again next time.
        """
        async with translate_errors():
            found = await self.progress.with_options(RAW).find({}).to_list()
            progress = await asyncio.to_thread(lambda: [bson.decode(each.raw) for each in found])
            versions = _versions(progress)
            moved = [name for name, version in versions.items() if since.get(name) != version and name != ROUNDS]
            documents: dict[str, Sums] = {}
            for start in range(0, len(moved), DOCUMENTS_A_QUERY):
                ids = moved[start : start + DOCUMENTS_A_QUERY]
                raw = (
                    await self.tallies.with_options(RAW).find({"_id": {"$in": ids}}, {"days": 1, "month": 1}).to_list()
                )
                documents |= await asyncio.to_thread(_decoded, raw, today)
        return Reading(versions, documents, sum(each["events"] for each in progress), _latencies(progress))


def _decoded(raw: Sequence[RawBSONDocument], today: date) -> dict[str, Sums]:
    found = (bson.decode(each.raw) for each in raw)
    return {each["_id"]: folded(each["month"], each["days"], today) for each in found}


class MemoryTallies:
    """The tallies in memory, with the behaviour of MongoTallies."""

    def __init__(self) -> None:
        self.tallies: dict[str, Days] = {}
        self.progress: dict[int, dict[str, Any]] = {}
        self.generation = ""

    async def move(self, changes: Sequence[Change], session: Any) -> None:
        """Move the tallies."""
        found = movement(changes, machine_now())
        for key, days in found.tallies.items():
            tally = self.tallies.setdefault(tally_id(*key), {})
            for day, by in days.items():
                for indicator, n in by.items():
                    tally.setdefault(day, {})[indicator] = tally.get(day, {}).get(indicator, 0) + n
        for partition, more in found.progress.items():
            progress = self.progress.setdefault(partition, {"versions": {}, "events": 0, "latest": []})
            progress["events"] += more.events
            progress["latest"] = (progress["latest"] + more.latest)[-LATENCIES:]
            for name, n in more.versions.items():
                progress["versions"][name] = progress["versions"].get(name, 0) + n

    async def read(self, since: Mapping[str, int], today: date) -> Reading:
        """Return what moved since these versions, folded as of today."""
        progress = list(self.progress.values())
        versions = _versions(progress)
        moved = {
            name: folded(name.rpartition("/")[2], self.tallies[name], today)
            for name, version in versions.items()
            if since.get(name) != version and name != ROUNDS
        }
        return Reading(versions, moved, sum(each["events"] for each in progress), _latencies(progress))


def tallies_of(store: Store) -> Tallies:
    """Return the tallies beside these records."""
    return MongoTallies(store.database) if isinstance(store, MongoStore) else MemoryTallies()


def _versions(progress: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    versions: dict[str, int] = {}
    for each in progress:
        for name, version in each.get("versions", {}).items():
            versions[name] = versions.get(name, 0) + version
    return versions


def _latencies(progress: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """Return the newest latencies, so that the quantiles describe the present, not a catch-up long ago."""
    samples = sorted((at, ms) for each in progress for at, ms in each.get("latest", ()))
    return tuple(ms for _, ms in samples[-LATENCIES_READ:])
