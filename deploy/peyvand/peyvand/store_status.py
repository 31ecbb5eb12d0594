"""Pending, parked, undecodable and overdue work and the lag of each service, read from the stores themselves."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from base.clock import machine_now
from contracts.subjects import PARTITIONS
from contracts.topics import topics_consumed_by
from peyvand.databases import databases_of
from peyvand.endpoints import CommandError
from peyvand.local_cluster.topology import PROJECTION, SERVICES

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase

    Database = AsyncDatabase[dict[str, Any]]

WATCH_SECONDS = 2.0  # within which a cursor with events before it moves
RECENT = timedelta(hours=1)  # for which a repair is shown
NEWEST = 1_000  # events of which the time to the ranking is reported

Quantiles = tuple[float | None, float | None]


class ServiceStatus(msgspec.Struct, frozen=True):
    """One service's store and cursors. `early` and `dead_letters` count sources of subjects with parked events."""

    service: str
    pending: int
    pending_oldest_seconds: float
    lag: int
    early: int
    early_oldest_seconds: float
    dead_letters: int
    dead_letters_oldest_seconds: float
    undecodable: int
    overdue_oldest_seconds: float
    erasure_oldest_seconds: float = 0.0  # for which the longest erased applicant has had a key
    repaired: int = 0  # events ever lost and taken from their owner, where that was within the last hour
    disagreements: int = 0  # subjects about which this service has handled what their owner does not hold so
    reconciled_oldest_seconds: float = 0.0  # since a partition was compared with its owner
    consumed: int = 0  # events that the cursors passed while they were watched
    stuck: bool = False  # there are events to consume, and no cursor has moved


async def store_statuses(
    url: str, ends_of_log: Callable[[], Mapping[str, int]], now: datetime
) -> tuple[tuple[ServiceStatus, ...], Quantiles]:
    """Return the status of the four stores, and the time of the newest events to the ranking. Raise CommandError.

    Pending events are read before the ends of the log, and the cursors last: an event on its way is then counted at
    least once.
    """
    from pymongo import AsyncMongoClient
    from pymongo.errors import PyMongoError

    from kernel.errors import Transient

    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url, tz_aware=True)
    try:
        databases = await databases_of(client)
        backlogs = {service: await _backlog(databases[service], service, now) for service in SERVICES}
        ends = await asyncio.to_thread(ends_of_log)
        before = {service: await _cursors(databases[service]) for service in SERVICES}
        behind = {service for service, cursors in before.items() if lag(service, cursors, ends)}
        consumed = dict.fromkeys(SERVICES, 0)
        began = time.monotonic()
        while time.monotonic() - began < WATCH_SECONDS and any(not consumed[service] for service in behind):
            await asyncio.sleep(WATCH_SECONDS / 10)
            for service in behind:
                cursors = await _cursors(databases[service])
                consumed[service] = sum(at - before[service].get(position, 0) for position, at in cursors.items())
        statuses = []
        for service in SERVICES:
            behind_by = lag(service, await _cursors(databases[service]), ends)
            stuck = service in behind and not consumed[service]
            statuses.append(
                ServiceStatus(
                    service=service, lag=behind_by, consumed=consumed[service], stuck=stuck, **backlogs[service]
                )
            )
        progress = databases[PROJECTION].partition_progress.find({}, {"latest": 1})
        samples = [sample async for each in progress for sample in each["latest"]]
    except (PyMongoError, Transient) as e:
        raise CommandError(f"MongoDB does not answer: {e}", "is it up, and may this user read all four stores?") from e
    finally:
        await client.close()
    return tuple(statuses), _quantiles([ms / 1_000 for _, ms in sorted(samples)[-NEWEST:]])


def lag(service: str, cursors: Mapping[str, int], ends: Mapping[str, int]) -> int:
    """Return how many events a service has yet to consume."""
    topics = topics_consumed_by(service)
    return sum(max(0, end - cursors.get(at, 0)) for at, end in ends.items() if at.rpartition("/")[0] in topics)


async def _backlog(database: "Database", service: str, now: datetime) -> dict[str, Any]:
    """Return what one store holds back, as fields of ServiceStatus. Raise Transient."""
    from kernel.record import BLOCKED
    from kernel.stores.mongodb import MongoStore
    from run.backlog import ParkedBacklog, read_backlog

    backlog = await read_backlog(MongoStore(database, service, rules={}), range(PARTITIONS), now)
    early = backlog.parked.get("early", ParkedBacklog())
    blocked = [backlog.parked[reason] for reason in BLOCKED if reason in backlog.parked]
    return {
        "pending": backlog.pending,
        "pending_oldest_seconds": _rounded(backlog.pending_age),
        "early": early.heads,
        "early_oldest_seconds": _rounded(early.age),
        "dead_letters": sum(each.heads for each in blocked),
        "dead_letters_oldest_seconds": _rounded(max((each.age for each in blocked), default=0.0)),
        "undecodable": await database.undecodable.count_documents({"explained": {"$exists": False}}),
        "overdue_oldest_seconds": _rounded(backlog.due_age),
        "erasure_oldest_seconds": _rounded(await _erasure_age(database)),
        **await _reconciled(database),
    }


async def _reconciled(database: "Database") -> dict[str, Any]:
    """Return what the comparisons of one store with the owners of its events have found. Raise Transient."""
    from recovery.reconciliation.results import Results

    found, now = await Results(database).all(), machine_now()
    ages = [(now - each.at).total_seconds() for each in found if each.at]
    recent = [each for each in found if each.repaired_at and now - each.repaired_at < RECENT]
    return {
        "repaired": sum(each.repaired for each in recent),
        "disagreements": sum(each.disagreement_count for each in found),
        "reconciled_oldest_seconds": _rounded(max(ages, default=0.0)),
    }


async def _erasure_age(database: "Database") -> float:
    """Return for how long the oldest erasure has waited for the destruction of its key, in seconds; 0 for none."""
    query = {"kind": "applicant", "partition": {"$in": [*range(PARTITIONS)]}, "indexed.erasing": {"$exists": True}}
    oldest = await database.records.find_one(query, {"indexed.erasing": 1}, sort=[("indexed.erasing", 1)])
    return (machine_now() - oldest["indexed"]["erasing"]).total_seconds() if oldest else 0.0


def _rounded(age: float) -> float:
    """Return an age in tenths of a second; 0 for what a machine whose clock is ahead has stored."""
    return round(max(0.0, age), 1)


async def _cursors(database: "Database") -> dict[str, int]:
    return {d["_id"]: d["next"] async for d in database.cursors.find({})}


def _quantiles(seconds: Sequence[float]) -> Quantiles:
    ordered = sorted(seconds)
    if not ordered:
        return None, None
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
