"""Pending, parked, undecodable and overdue work and the lag of each service, read from the stores themselves."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from contracts.subjects import PARTITIONS
from contracts.topics import topics_consumed_by
from peyvand.endpoints import CommandError
from peyvand.local_cluster.topology import SERVICES

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase

    Database = AsyncDatabase[dict[str, Any]]

ALL_PARTITIONS = {"$in": list(range(PARTITIONS))}  # every index of records begins with it
BLOCKED = ("fault", "unknown_type", "newer_rules", "unreadable_record", "invalid")  # reasons that need an operator
WATCH_SECONDS = 2.0  # within which a cursor with events before it moves
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

    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url, tz_aware=True)
    try:
        backlogs = {service: await _backlog(client[service], now) for service in SERVICES}
        ends = await asyncio.to_thread(ends_of_log)
        before = {service: await _cursors(client[service]) for service in SERVICES}
        behind = {service for service, cursors in before.items() if lag(service, cursors, ends)}
        consumed = dict.fromkeys(SERVICES, 0)
        began = time.monotonic()
        while time.monotonic() - began < WATCH_SECONDS and any(not consumed[service] for service in behind):
            await asyncio.sleep(WATCH_SECONDS / 10)
            for service in behind:
                cursors = await _cursors(client[service])
                consumed[service] = sum(at - before[service].get(position, 0) for position, at in cursors.items())
        statuses = []
        for service in SERVICES:
            behind_by = lag(service, await _cursors(client[service]), ends)
            stuck = service in behind and not consumed[service]
            statuses.append(
                ServiceStatus(
                    service=service, lag=behind_by, consumed=consumed[service], stuck=stuck, **backlogs[service]
                )
            )
        marks = client.reporting.marks.find({}, {"latest": 1})
        samples = [sample async for mark in marks for sample in mark["latest"]]
    except PyMongoError as e:
        raise CommandError(f"MongoDB does not answer: {e}", "is it up, and may this user read all four stores?") from e
    finally:
        await client.close()
    return tuple(statuses), _quantiles([ms / 1_000 for _, ms in sorted(samples)[-NEWEST:]])


def lag(service: str, cursors: Mapping[str, int], ends: Mapping[str, int]) -> int:
    """Return how many events a service has yet to consume."""
    topics = topics_consumed_by(service)
    return sum(max(0, end - cursors.get(at, 0)) for at, end in ends.items() if at.rpartition("/")[0] in topics)


async def _backlog(database: "Database", now: datetime) -> dict[str, Any]:
    """Return what one store holds back, as fields of ServiceStatus."""
    machine_now = datetime.now(UTC)

    def age(since: datetime | None, until: datetime = machine_now) -> float:
        return 0.0 if since is None else round(max(0.0, (until - since).total_seconds()), 1)

    outbox: list[Mapping[str, Any]] = [
        {"$match": {"partition": ALL_PARTITIONS, "pending_since": {"$exists": True}}},
        {
            "$group": {
                "_id": None,
                "n": {"$sum": {"$subtract": ["$last_sequence", "$published"]}},
                "since": {"$min": "$pending_since"},
            }
        },
    ]
    pending = [d async for d in await database.records.aggregate(outbox)]
    heads = {"$match": {"head": True, "partition": ALL_PARTITIONS}}
    grouped = {"$group": {"_id": "$reason", "n": {"$sum": 1}, "since": {"$min": "$since"}}}
    parked = {d["_id"]: d async for d in await database.parked.aggregate([heads, grouped])}
    blocked = [parked[reason] for reason in BLOCKED if reason in parked]
    due = await database.records.find_one(
        {"partition": ALL_PARTITIONS, "indexed.due": {"$lte": now}}, {"indexed.due": 1}, sort=[("indexed.due", 1)]
    )
    return {
        "pending": sum(d["n"] for d in pending),
        "pending_oldest_seconds": age(pending[0]["since"] if pending else None),
        "early": parked["early"]["n"] if "early" in parked else 0,
        "early_oldest_seconds": age(parked["early"]["since"] if "early" in parked else None),
        "dead_letters": sum(d["n"] for d in blocked),
        "dead_letters_oldest_seconds": age(min((d["since"] for d in blocked), default=None)),
        "undecodable": await database.undecodable.count_documents({"explained": {"$exists": False}}),
        "overdue_oldest_seconds": age(due["indexed"]["due"] if due else None, now),
    }


async def _cursors(database: "Database") -> dict[str, int]:
    return {d["_id"]: d["next"] async for d in database.cursors.find({})}


def _quantiles(seconds: Sequence[float]) -> Quantiles:
    ordered = sorted(seconds)
    if not ordered:
        return None, None
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
