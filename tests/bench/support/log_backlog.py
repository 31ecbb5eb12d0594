"""A backlog on real servers: topics with a stream of events, and how far each reader is."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from pymongo import AsyncMongoClient

from base.kafka_access import KafkaAccess
from contracts.subjects import PARTITIONS
from peyvand.commands import apply
from tests.bench.support.bare_scripts import RESPONSES
from tests.bench.support.event_stream import Stream, stories
from tests.support import servers as real_servers
from tests.support.servers import Servers

# The default of brokers: workers that start at the same time get their partitions in one rebalance.
REBALANCE_DELAY = "group.initial.rebalance.delay.ms=3000\n"
POLL = 0.1  # seconds between two reads of the cursors
STALLED_AFTER = 60.0  # seconds without progress


class Backlog:
    """The servers, the figures of the stream on the topics, and a MongoDB client."""

    def __init__(self, servers: Servers, client: AsyncMongoClient[dict[str, Any]]) -> None:
        self.servers, self.client = servers, client
        self.events = self.unique = self.people = 0
        self.counts: Counter[str] = Counter()
        self.mean_bytes = 0.0

    async def append(self, stream: Stream) -> None:
        """Write a stream behind what the topics hold, and free its events."""
        self.mean_bytes = stream.mean_bytes
        self.events, self.unique, self.people = (
            self.events + stream.events,
            self.unique + stream.unique,
            self.people + stream.people,
        )
        self.counts.update({f"{topic}/{partition}": n for (topic, partition), n in stream.counts.items()})
        await stream.publish(self.servers.kafka)

    async def read(self, database: str) -> int:
        """Return how many events a reader with its cursors in this database has read."""
        cursors = [d async for d in self.client[database].cursors.find({"_id": {"$in": list(self.counts)}})]
        return sum(d["next"] for d in cursors)

    async def ends(self, topic: str) -> int:
        """Return how many events a topic holds."""
        async with AIOKafkaConsumer(**self.servers.kafka.options()) as consumer:
            ends = await consumer.end_offsets([TopicPartition(topic, n) for n in range(PARTITIONS)])
        return sum(ends.values())

    async def until(self, what: Callable[[], Any], wanted: int) -> float:
        """Wait for a count; return the monotonic time. Raise RuntimeError if it makes no progress."""
        last, progress_at = -1, time.monotonic()
        while (n := await what()) < wanted:
            if n != last:
                last, progress_at = n, time.monotonic()
            if time.monotonic() - progress_at > STALLED_AFTER:
                raise RuntimeError(
                    f"no progress for {STALLED_AFTER:.0f} s: {n} of {wanted} events; see the log of the reader"
                )
            await asyncio.sleep(POLL)
        return time.monotonic()


@asynccontextmanager
async def backlog(folder: Path, events: int, *, only: str = "", parts: int = 1) -> AsyncIterator[Backlog]:
    """Start real servers with a stream of so many events on the topics; with `only`, of one service.

    Several parts lie one after the other, each about other applicants.
    """
    with real_servers.started(folder, REBALANCE_DELAY) as servers:
        await asyncio.to_thread(apply.topics, servers.kafka)
        await asyncio.to_thread(_topic, servers.kafka)
        async with AsyncMongoClient[dict[str, Any]](servers.mongo) as client:
            log = Backlog(servers, client)
            for seed in range(1404, 1404 + parts):
                await log.append(Stream(list(stories(events, seed, only=only)), seed))
            yield log


def spread(values: Sequence[float]) -> str:
    """Return the least and the greatest value."""
    return f"{min(values):,.0f} to {max(values):,.0f}"


def _topic(kafka: KafkaAccess) -> None:
    client = KafkaAdminClient(**kafka.options())
    try:
        client.create_topics([NewTopic(RESPONSES, PARTITIONS, 1)])
    finally:
        client.close()
