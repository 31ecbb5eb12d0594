"""The watchdog ends a worker that owns partitions and does not serve them: a new process begins afresh.

It does not ask why. What it knows comes from outside: which partitions the broker has given to this member, and where
their logs end.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import TopicPartition

if TYPE_CHECKING:
    from kernel.roles.worker import Worker

LIMIT = 30.0  # seconds in which an owned partition is served, and one that is behind moves
TRANSACTION_LIMIT = 240.0  # seconds after which even a transaction that is retried counts as hung
PAUSE = 5.0  # seconds between two looks
TIMEOUT = 10.0  # seconds for what it asks broker and database

log = structlog.get_logger(__name__)


class NotServed(Exception):
    """This worker owns partitions that it does not serve."""


class Stalled:
    """Since when each partition has been as it is: a pure rule, whose time is an argument."""

    def __init__(self) -> None:
        self.since: dict[TopicPartition, tuple[Any, float]] = {}

    def overdue(
        self,
        cursors: Mapping[TopicPartition, int | None],
        ends: Mapping[TopicPartition, int],
        attempts: int,
        now: float,
        limit: float = LIMIT,
    ) -> list[TopicPartition]:
        """Return those that have not been served for LIMIT seconds, or are behind and have not moved for `limit`.

        `cursors` has all owned partitions, with None for one that is not served. Those behind wait for one another.
        """
        waiting = {
            tp: (cursor, None if cursor is None else attempts)
            for tp, cursor in cursors.items()
            if cursor is None or cursor < ends.get(tp, 0)
        }
        known = self.since
        self.since = {
            tp: known[tp] if tp in known and known[tp][0] == state else (state, now) for tp, state in waiting.items()
        }
        limits = {tp: LIMIT if cursor is None else limit for tp, (cursor, _) in waiting.items()}
        return sorted(tp for tp, (_, since) in self.since.items() if now - since >= limits[tp])


class Watchdog:
    """A loop of the worker, independent of the others: each of them may be what hangs."""

    def __init__(self, worker: "Worker") -> None:
        self.worker, self.stalled, self.reader = worker, Stalled(), worker.watch
        self.watched = 0.0  # seconds in which broker and database have answered: an outage is no fault of the worker

    async def __call__(self) -> float:
        """Look once; return the seconds until the next look. Raise NotServed, KafkaError, Transient, TimeoutError."""
        worker, consumer = self.worker, self.worker.consumer
        async with asyncio.timeout(TIMEOUT):
            owned = await worker.group.owned_by_broker()
            if owned is None or worker.paused:
                self.stalled = Stalled()
                return PAUSE
            ends = await self.reader.ends(owned)
            await worker.store.cursors(owned & ends.keys())  # the database answers as well
        expected = {tp: consumer.cursors.get(tp) for tp in owned if tp in ends and tp not in consumer.broken}
        limit = TRANSACTION_LIMIT if worker.writing.locked() else LIMIT
        self.watched += PAUSE
        if overdue := self.stalled.overdue(expected, ends, consumer.attempts, self.watched, limit):
            self._end(overdue, expected, limit)
        return PAUSE

    def _end(
        self, overdue: Collection[TopicPartition], cursors: Mapping[TopicPartition, int | None], limit: float
    ) -> None:
        idle = [f"{tp.topic}/{tp.partition}" for tp in overdue if cursors[tp] is None]
        stuck = [f"{tp.topic}/{tp.partition}@{cursors[tp]}" for tp in overdue if cursors[tp] is not None]
        log.error(
            "worker ends: it owns partitions and does not serve them, though broker and database answer",
            service=self.worker.service,
            seconds=limit,
            partitions=[*idle, *stuck],
        )
        raise NotServed(f"not served for {limit:.0f} s: {len(idle)}; behind and not moving: {len(stuck)}")
