"""A backlog on real servers: topics with a stream of events, and how far each reader is."""

import asyncio
import time
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

    def __init__(self, servers: Servers, stream: Stream, client: AsyncMongoClient[dict[str, Any]]) -> None:
        self.servers, self.client = servers, client
        self.events, self.unique, self.people = stream.events, stream.unique, stream.people
        self.counts = {f"{topic}/{partition}": n for (topic, partition), n in stream.counts.items()}
        self.mean_bytes = stream.mean_bytes

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
async def backlog(folder: Path, events: int, *, only: str = "") -> AsyncIterator[Backlog]:
    """Start real servers with a stream of so many events on the topics; with `only`, of one service."""
    with real_servers.started(folder, REBALANCE_DELAY) as servers:
        await asyncio.to_thread(apply.topics, servers.kafka)
        await asyncio.to_thread(_topic, servers.kafka)
        stream = Stream(list(stories(events, 1404, only=only)), 1404)
        async with AsyncMongoClient[dict[str, Any]](servers.mongo) as client:
            log = Backlog(servers, stream, client)
            await stream.publish(servers.kafka)
            del stream
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
