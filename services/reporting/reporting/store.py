"""The tallies: with each fact the figures move by the difference of what its subject contributed before and after.

One document per (round, province, partition), so that no two workers meet in one, with `days.<day>.<indicator>`; and
one small document per partition that says which of them moved, how many events were handled, and how long that took.
"""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Protocol

import msgspec
from pymongo import UpdateOne
from pymongo.asynchronous.database import AsyncDatabase

from base.clock import Clock, machine_now
from contracts.subjects import partition_of
from kernel.store import Changes
from kernel.stores.mongodb import MongoStore, translate_errors
from observability import metrics
from programme.calendar import tehran_day
from reporting.domain import RULES
from reporting.domain import round as rounds
from reporting.domain.contributions import Deltas, contributions
from reporting.domain.figures import Figures, current

ROUNDS = "rounds"  # what a mark calls the rounds themselves
LATEST = 64  # latencies kept per partition
Days = dict[str, dict[str, int]]  # day -> indicator -> sum of deltas


class Mark(msgspec.Struct):
    """What one batch did in one partition."""

    versions: dict[str, int] = {}  # place -> how often it moved
    events: int = 0
    latest: list[list[int]] = []  # [machine time in ms, ms from `recorded` to counted]


class Movement(msgspec.Struct):
    """What one batch adds: per place `(round, province, partition)` the deltas by day and indicator, and the marks."""

    places: dict[tuple[str, str, int], dict[str, dict[str, int]]] = {}
    marks: dict[int, Mark] = {}
    heard: dict[str, int] = {}  # province -> machine time of its newest event, in ms


class Reading(msgspec.Struct, frozen=True):
    """What moved since certain versions, and the newest versions."""

    versions: dict[str, int]  # "<round>/<province>/<partition>" -> version
    documents: dict[str, Days]  # of those that moved, whole
    events: int
    latencies: tuple[int, ...]  # milliseconds, the newest last
    rounds: tuple[rounds.State, ...] | None  # where they moved


class AnyTallies(Protocol):
    """Where tallies are kept: MongoDB, or memory in tests."""

    async def move(self, changed: Changes, session: Any) -> None:
        """The projection: moves the tallies in the transaction of the facts."""

    async def read(self, since: Mapping[str, int]) -> Reading:
        """What moved since these versions."""


def movement(changed: Changes, now: datetime) -> Movement:
    """What a batch of changed records adds to the tallies."""
    moved = Movement({}, {}, {})
    sums: dict[tuple[str, int], Deltas] = {}  # by round and partition
    now_ms = int(now.timestamp() * 1000)
    for before, after in changed:
        partition = partition_of(after.subject)
        mark = moved.marks.get(partition)
        if mark is None:
            mark = moved.marks[partition] = Mark({}, 0, [])
        mark.events += sum(after.inbox.values()) - sum(before.inbox.values())
        old_state, new_state = before.state, after.state
        if new_state.recorded > old_state.recorded:
            mark.latest.append([now_ms, max(0, now_ms - new_state.recorded)])
        if isinstance(new_state, rounds.State):
            mark.versions[ROUNDS] = 1
            continue
        old, new = contributions(old_state), contributions(new_state)
        if old == new:
            continue
        here = sums.setdefault((new_state.round, partition), {})
        for key, n in new.items():
            here[key] = here.get(key, 0) + n
        for key, n in old.items():
            here[key] = here.get(key, 0) - n
        province = after.indexed.get("scope", "").partition("/")[0]
        moved.heard[province] = max(new_state.recorded, moved.heard.get(province, 0))
    for (round_id, partition), deltas in sums.items():
        for (province, day, indicator), n in deltas.items():
            if n:
                moved.places.setdefault((round_id, province, partition), {}).setdefault(iso_day(day), {})[indicator] = n
    for round_id, province, partition in moved.places:
        moved.marks[partition].versions[place_name(round_id, province, partition)] = 1
    return moved


def place_name(round_id: str, province: str, partition: int) -> str:
    """The id of a tally document; a field's name in the marks as well: codes have no dots."""
    return f"{round_id}/{province}/{partition}"


@lru_cache(4096)
def iso_day(ordinal: int) -> str:
    """How a day is written in the tallies."""
    return date.fromordinal(ordinal).isoformat()


class Tallies:
    """The tallies in MongoDB."""

    def __init__(self, database: AsyncDatabase[dict[str, Any]]) -> None:
        self.tallies, self.marks, self.records = database.tallies, database.marks, database.records
        self.heard: dict[str, int] = {}  # by this process: province -> machine time of its newest event, in ms

    async def move(self, changed: Changes, session: Any) -> None:
        """The projection: moves the tallies in the transaction of the facts."""
        moved = movement(changed, machine_now())
        places = [
            UpdateOne(
                {"_id": place_name(round_id, province, partition)},
                {
                    "$inc": {"version": 1} | {f"days.{day}.{i}": n for day, by in days.items() for i, n in by.items()},
                    "$setOnInsert": {"round": round_id, "province": province, "partition": partition},
                },
                upsert=True,
            )
            for (round_id, province, partition), days in moved.places.items()
        ]
        marks = [
            UpdateOne(
                {"_id": partition},
                {
                    "$inc": {"events": mark.events} | {f"versions.{place}": n for place, n in mark.versions.items()},
                    "$push": {"latest": {"$each": mark.latest[-LATEST:], "$slice": -LATEST}},
                },
                upsert=True,
            )
            for partition, mark in moved.marks.items()
        ]
        if places:
            await self.tallies.bulk_write(places, ordered=False, session=session)
        if marks:
            await self.marks.bulk_write(marks, ordered=False, session=session)
        for province, at in moved.heard.items():
            self.heard[province] = max(at, self.heard.get(province, 0))
            metrics.PROVINCE_LAST_EVENT.labels(province).set(self.heard[province] / 1_000)

    async def read(self, since: Mapping[str, int]) -> Reading:
        """What moved since these versions. A document may be newer than its version here; it is then read again."""
        async with translate_errors():
            marks = [mark async for mark in self.marks.find({})]
            versions = _versions(marks)
            moved = [place for place, version in versions.items() if since.get(place) != version and place != ROUNDS]
            documents: dict[str, Days] = {}
            for start in range(0, len(moved), 1_000):
                async for d in self.tallies.find({"_id": {"$in": moved[start : start + 1_000]}}, {"days": 1}):
                    documents[d["_id"]] = d["days"]
            found = await self._rounds() if since.get(ROUNDS, 0) != versions.get(ROUNDS, 0) else None
        return Reading(versions, documents, sum(m["events"] for m in marks), _latencies(marks), found)

    async def _rounds(self) -> tuple[rounds.State, ...]:
        found = self.records.find({"kind": "round"}, {"state": 1})
        return tuple([msgspec.json.decode(d["state"], type=rounds.State) async for d in found])


class MemoryTallies:
    """What Tallies promises, without a database."""

    def __init__(self) -> None:
        self.tallies: dict[str, Days] = {}
        self.marks: dict[int, dict[str, Any]] = {}
        self.rounds: dict[str, rounds.State] = {}

    async def move(self, changed: Changes, session: Any) -> None:
        """The projection."""
        moved = movement(changed, machine_now())
        for place, days in moved.places.items():
            kept = self.tallies.setdefault(place_name(*place), {})
            for day, by in days.items():
                for indicator, n in by.items():
                    kept.setdefault(day, {})[indicator] = kept.get(day, {}).get(indicator, 0) + n
        for partition, mark in moved.marks.items():
            known = self.marks.setdefault(partition, {"versions": {}, "events": 0, "latest": []})
            known["events"] += mark.events
            known["latest"] = (known["latest"] + mark.latest)[-LATEST:]
            for place_id, n in mark.versions.items():
                known["versions"][place_id] = known["versions"].get(place_id, 0) + n
        for _, after in changed:
            if isinstance(after.state, rounds.State):
                self.rounds[after.subject] = after.state

    async def read(self, since: Mapping[str, int]) -> Reading:
        """What moved since these versions."""
        marks = list(self.marks.values())
        versions = _versions(marks)
        moved = {
            place: {day: dict(by) for day, by in self.tallies[place].items()}
            for place, version in versions.items()
            if since.get(place) != version and place != ROUNDS
        }
        found = tuple(self.rounds.values()) if since.get(ROUNDS, 0) != versions.get(ROUNDS, 0) else None
        return Reading(versions, moved, sum(m["events"] for m in marks), _latencies(marks), found)


class Board:
    """The figures that are shown: sums in memory, of which only what moved is read again, once a second at most."""

    def __init__(self, tallies: AnyTallies, clock: Clock, *, pause: float = 1.0) -> None:
        self.tallies, self.clock, self.pause = tallies, clock, pause
        self.versions: dict[str, int] = {}
        self.documents: dict[str, Days] = {}
        self.rounds: dict[str, rounds.State] = {}
        self.events = 0
        self.latencies: tuple[int, ...] = ()
        self.shown: dict[str, Figures] = {}  # by round
        self.read_at = -math.inf
        self.cost = 0.0  # seconds that the last new figures took: a large country is looked at less often
        self.reading = asyncio.Lock()
        self.viewers = 0  # who listen to the stream

    @property
    def version(self) -> int:
        """Grows whenever anything moves."""
        return sum(self.versions.values())

    async def look(self, *, fresh: bool = False) -> int:
        """Reads what moved, if the last look is old enough (`fresh`: in any case); returns the version."""
        pause = 0.0 if fresh else max(self.pause, 4 * self.cost)
        if time.monotonic() - self.read_at < pause:
            return self.version
        async with self.reading:
            if time.monotonic() - self.read_at >= pause:
                found = await self.tallies.read(self.versions)
                if found.versions != self.versions:
                    self.shown = {}
                self.documents |= found.documents
                self.versions, self.events, self.latencies = found.versions, found.events, found.latencies
                if found.rounds is not None:
                    self.rounds = {each.round: each for each in found.rounds}
                self.read_at = time.monotonic()
        return self.version

    async def figures(self, round_id: str = "", *, fresh: bool = False) -> Figures | None:
        """The figures of a round, or of the current one; none before there is any."""
        await self.look(fresh=fresh)
        now = self.clock().at
        found = self.rounds.get(round_id) if round_id else current(self.rounds.values(), now)
        if found is None:
            return None
        shown = self.shown.get(found.round)
        if shown is None or shown.day != tehran_day(now):
            began = time.perf_counter()
            shown = self.shown[found.round] = Figures(
                found,
                self._days(found.round),
                now,
                version=self.version,
                events=self.events,
                latencies=self.latencies,
            )
            self.cost = time.perf_counter() - began
        return shown

    def _days(self, round_id: str) -> dict[str, dict[int, dict[str, int]]]:
        """Province -> day -> indicator -> sum of deltas, over all partitions."""
        by_province: dict[str, dict[int, dict[str, int]]] = {}
        start = place_name(round_id, "", 0).removesuffix("/0")
        for place, days in self.documents.items():
            if not place.startswith(start):
                continue
            province = by_province.setdefault(place.removeprefix(start).split("/")[0], {})
            for day, by in days.items():
                sums = province.setdefault(date.fromisoformat(day).toordinal(), {})
                for indicator, n in by.items():
                    sums[indicator] = sums.get(indicator, 0) + n
        return by_province


async def prepare(database: AsyncDatabase[dict[str, Any]]) -> None:
    """Makes the indexes of reporting's records; the tallies are found by their ids."""
    await MongoStore(database, "reporting", RULES).prepare()


def _versions(marks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    versions: dict[str, int] = {}
    for mark in marks:
        for place, version in mark.get("versions", {}).items():
            versions[place] = versions.get(place, 0) + version
    return versions


def _latencies(marks: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """The newest thousand: what they say is about now, not about a catch-up long ago."""
    samples = sorted((at, ms) for mark in marks for at, ms in mark.get("latest", ()))
    return tuple(ms for _, ms in samples[-1_000:])
