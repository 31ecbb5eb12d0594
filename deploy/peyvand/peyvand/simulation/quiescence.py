"""Whether the country has come to rest: nothing unsent, every cursor at its end, nothing due, nobody between seats."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from time import monotonic
from typing import Any

from aiokafka import TopicPartition
from pymongo import AsyncMongoClient

from contracts.subjects import PARTITIONS
from contracts.topics import TOPICS, topics_consumed_by
from kernel.kafka.log_reader import LogReader

SERVICES = ("registration", "screening", "market", "reporting")
POLL = 0.1  # seconds


class Unrest(Exception):
    """The country did not come to rest in time; says what still moves."""


class Watch:
    """Looks at the services' own stores and at the log, never at what the services say of themselves."""

    def __init__(self, client: AsyncMongoClient[dict[str, Any]], kafka: str) -> None:
        self.client, self.log = client, LogReader(kafka, "peyvand-watch")

    async def stop(self) -> None:
        """Closes its connection to the log."""
        await self.log.stop()

    async def rest(self, now: datetime, within: float) -> None:
        """Waits until nothing moves. Raises Unrest."""
        until = monotonic() + within
        while moving := await self.moving(now):
            if monotonic() > until:
                raise Unrest(f"after {within:.0f} s: {moving}")
            await asyncio.sleep(POLL)

    async def moving(self, now: datetime) -> dict[str, Any]:
        """What still moves at this programme time; empty at rest."""
        ends = await self._ends()
        behind = {s: n for s in SERVICES if (n := await self._behind(s, ends))}
        if behind:
            return {"behind": behind}
        for service in SERVICES:
            for name, query in self._unrest(service, now).items():
                found = await self.client[service].records.find_one(query, {"_id": 1})
                if found:
                    return {service: name, "subject": found["_id"]}
        return {} if ends == await self._ends() else {"log": "grows"}

    def _unrest(self, service: str, now: datetime) -> Mapping[str, Mapping[str, Any]]:
        everywhere = {"partition": {"$in": list(range(PARTITIONS))}}  # else the indexes are read from end to end
        wanted: dict[str, Mapping[str, Any]] = {
            "unsent": everywhere | {"unrelayed_since": {"$exists": True}},
            "due": everywhere | {"indexed.due": {"$lte": now}},
        }
        if service == "registration":
            wanted["between seats"] = {"indexed.seating": {"$in": ["awaiting", "releasing"]}}
            wanted["identity to be checked"] = everywhere | {"indexed.check_due": {"$lte": now}}
        return wanted

    async def _behind(self, service: str, ends: Mapping[TopicPartition, int]) -> int:
        topics = topics_consumed_by(service)
        cursors = {d["_id"]: d["next"] async for d in self.client[service].cursors.find({})}
        return sum(end - cursors.get(f"{tp.topic}/{tp.partition}", 0) for tp, end in ends.items() if tp.topic in topics)

    async def _ends(self) -> dict[TopicPartition, int]:
        return await self.log.ends([TopicPartition(topic.name, p) for topic in TOPICS for p in range(PARTITIONS)])
