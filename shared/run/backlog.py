"""What waits in some partitions: pending, parked and due subjects. The worker sets gauges, and the lag of its cursors.

`peyvand status` reads the same of all partitions, so this module loads no Kafka client.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from base.clock import machine_now
from kernel.record import EVENTS_ALERT, Reason
from kernel.stores.mongodb import MongoStore, translate_errors
from observability import metrics

if TYPE_CHECKING:
    from kernel.roles.worker import Worker

PAUSE = 5.0  # seconds between two readings
REASONS: tuple[Reason, ...] = get_args(Reason)


class ParkedBacklog(msgspec.Struct, frozen=True):
    """The heads that are parked for one reason; age of the oldest in seconds of machine time."""

    heads: int = 0
    age: float = 0.0


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in some partitions. Ages are seconds of machine time, but `due_age` of programme time."""

    pending: int = 0  # events
    pending_age: float = 0.0
    parked: Mapping[str, ParkedBacklog] = {}  # by reason
    due_age: float = 0.0
    events_longest: int = 0  # events of the subject with the most; 0 below EVENTS_ALERT


class BacklogLoop:
    """A loop of the worker; independent of Kafka, which may be what is down."""

    def __init__(self, worker: "Worker") -> None:
        self.worker = worker

    async def __call__(self) -> float:
        """Set the gauges; return the seconds until the next step. Raise Transient."""
        worker, service = self.worker, self.worker.service
        lag: Counter[str] = Counter()
        for tp, cursor in worker.consumer.cursors.items():
            lag[tp.topic] += max(0, worker.ends.get(tp, cursor) - cursor)
        for topic, n in lag.items():
            metrics.LAG.labels(service, topic).set(n)
        metrics.PARTITIONS.labels(service).set(len(worker.consumer.partitions))
        backlog = await read_backlog(worker.store, worker.consumer.partitions, worker.clock().at)
        metrics.PENDING.labels(service).set(backlog.pending)
        metrics.PENDING_AGE.labels(service).set(backlog.pending_age)
        for reason in REASONS:
            parked = backlog.parked.get(reason, ParkedBacklog())
            metrics.PARKED.labels(service, reason).set(parked.heads)
            metrics.PARKED_AGE.labels(service, reason).set(parked.age)
        metrics.DUE_AGE.labels(service).set(backlog.due_age)
        metrics.EVENTS_PER_SUBJECT.labels(service).set(backlog.events_longest)
        return PAUSE


async def read_backlog(store: MongoStore, partitions: Collection[int], now: datetime) -> Backlog:
    """Return what waits in these partitions; `now` is programme time. Raise Transient."""
    here, machine = {"partition": {"$in": list(partitions)}}, machine_now()
    unpublished = {"$sum": {"$subtract": ["$last_sequence", "$published"]}}
    pending: list[dict[str, Any]] = [
        {"$match": {**here, "pending_since": {"$exists": True}}},
        {"$group": {"_id": None, "n": unpublished, "since": {"$min": "$pending_since"}}},
    ]
    parked: list[dict[str, Any]] = [
        {"$match": {**here, "head": True}},
        {"$group": {"_id": "$reason", "n": {"$sum": 1}, "since": {"$min": "$since"}}},
    ]
    due = {**here, "indexed.due": {"$lte": now}}
    long = {**here, "last_sequence": {"$gte": EVENTS_ALERT}}
    async with translate_errors():
        outbox = next(iter(await (await store.records.aggregate(pending)).to_list()), None)
        heads = await (await store.parked.collection.aggregate(parked)).to_list()
        overdue = await store.records.find_one(due, {"indexed.due": 1}, sort=[("indexed.due", 1)])
        longest = await store.records.find_one(long, {"last_sequence": 1}, sort=[("last_sequence", -1)])
    return Backlog(
        pending=outbox["n"] if outbox else 0,
        pending_age=(machine - outbox["since"]).total_seconds() if outbox else 0.0,
        parked={d["_id"]: ParkedBacklog(d["n"], (machine - d["since"]).total_seconds()) for d in heads},
        due_age=(now - overdue["indexed"]["due"]).total_seconds() if overdue else 0.0,
        events_longest=longest["last_sequence"] if longest else 0,
    )
