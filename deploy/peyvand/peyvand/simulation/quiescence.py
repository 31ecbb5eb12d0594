"""Whether the platform is quiescent: every cursor at the end of its log, nothing pending, due, unallocated or ready.

Read from the stores and the log, not from the services.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from time import monotonic
from typing import Any

from aiokafka import TopicPartition
from pymongo import AsyncMongoClient

from base.kafka_access import KafkaAccess
from contracts.subjects import PARTITIONS
from contracts.topics import TOPICS, topics_consumed_by
from kernel.kafka.log_reader import LogReader
from kernel.service import Database
from peyvand.databases import databases_of

POLL, POLL_LIMIT = 0.1, 1.0  # seconds: the longer it takes, the rarer the questions
ALL_PARTITIONS = {"partition": {"$in": list(range(PARTITIONS))}}  # without it an index is scanned from end to end


class NotQuiescent(Exception):
    """The platform is not quiescent and makes no progress; the message has what is still under way."""


class QuiescenceProbe:
    """Watches the stores and the log of a platform."""

    def __init__(self, client: AsyncMongoClient[dict[str, Any]], kafka: KafkaAccess) -> None:
        self.client, self.log = client, LogReader(kafka, "peyvand-watch")

    async def stop(self) -> None:
        """Close the connection to the log."""
        await self.log.stop()

    async def wait(self, now: datetime, stalled_after: float) -> None:
        """Return when the platform is quiescent at this programme time, however long it takes while it makes progress.

        Raise NotQuiescent after `stalled_after` seconds without progress.
        """
        best, moved, pause = await self._progress(), monotonic(), POLL
        while activity := await self.activity(now):
            await asyncio.sleep(pause)
            pause = min(POLL_LIMIT, pause * 1.5)
            reached = await self._progress()
            if any(each > before for each, before in zip(reached, best, strict=True)):
                best, moved = tuple(map(max, reached, best)), monotonic()
            elif monotonic() - moved > stalled_after:
                raise NotQuiescent(f"no progress for {stalled_after:.0f} s: {activity}")

    async def _progress(self) -> tuple[int, ...]:
        """Return figures of which one grows with each piece of work: published, consumed, and fewest parked."""
        consumed, parked = 0, 0
        for database in (await databases_of(self.client)).values():
            consumed += sum([d["next"] async for d in database.cursors.find({})])
            parked += await database.parked.estimated_document_count()
        return sum((await self._ends()).values()), consumed, -parked

    async def activity(self, now: datetime) -> dict[str, Any]:
        """Return what is under way at this programme time; empty if the platform is quiescent."""
        ends, databases = await self._ends(), await databases_of(self.client)
        behind = {s: n for s, database in databases.items() if (n := await self._behind(s, database, ends))}
        if behind:
            return {"behind": behind}
        for service, database in databases.items():
            for name, (collection, query) in self._work(service, now).items():
                found = await database[collection].find_one(query, {"_id": 1})
                if found:
                    return {service: name, "subject": found["_id"]}
        return {} if ends == await self._ends() else {"log": "grows"}

    def _work(self, service: str, now: datetime) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
        """Return name -> (collection, query) of each kind of work that may wait."""
        work: dict[str, tuple[str, Mapping[str, Any]]] = {
            "pending": ("records", ALL_PARTITIONS | {"pending_since": {"$exists": True}}),
            "due": ("records", ALL_PARTITIONS | {"indexed.due": {"$lte": now}}),
            "parked and ready": ("parked", ALL_PARTITIONS | {"head": True, "reason": "ready"}),
        }
        if service == "registration":
            seating = {"indexed.seating": {"$in": ["awaiting", "releasing"]}}
            work["seat to be allocated"] = ("records", seating)
            work["identity to be checked"] = ("records", ALL_PARTITIONS | {"indexed.check_due": {"$lte": now}})
        return work

    async def _behind(self, service: str, database: Database, ends: Mapping[TopicPartition, int]) -> int:
        topics = topics_consumed_by(service)
        cursors = {d["_id"]: d["next"] async for d in database.cursors.find({})}
        return sum(end - cursors.get(f"{tp.topic}/{tp.partition}", 0) for tp, end in ends.items() if tp.topic in topics)

    async def _ends(self) -> dict[TopicPartition, int]:
        return await self.log.ends([TopicPartition(topic.name, p) for topic in TOPICS for p in range(PARTITIONS)])
