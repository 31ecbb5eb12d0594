"""A backlog on the real parts: the topics with a stream on them, and who has read how far."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from pymongo import AsyncMongoClient

from contracts.subjects import PARTITIONS
from peyvand.commands import apply
from tests.bench.bare_scripts import ANSWERS
from tests.bench.event_stream import Stream, lives
from tests.support import servers as real_servers
from tests.support.servers import Servers

# As brokers do by default: two workers that start together share the partitions before either begins.
TOGETHER = "group.initial.rebalance.delay.ms=3000\n"
LOOK = 0.1  # seconds between two looks at how far a reader is
STALLED = 60.0  # seconds without progress


class Backlog:
    """The parts, what lies on the topics, and a client of the database."""

    def __init__(self, servers: Servers, stream: Stream, client: AsyncMongoClient[dict[str, Any]]) -> None:
        self.servers, self.client = servers, client
        self.events, self.unique, self.people = stream.events, stream.unique, stream.people
        self.counts = {f"{topic}/{partition}": n for (topic, partition), n in stream.counts.items()}
        self.bytes_each = stream.bytes_each

    async def read(self, database: str) -> int:
        """How many events a reader with its cursors in this database has behind it."""
        stands = [d async for d in self.client[database].cursors.find({"_id": {"$in": list(self.counts)}})]
        return sum(d["next"] for d in stands)

    async def ends(self, topic: str) -> int:
        """How many events lie on a topic."""
        async with AIOKafkaConsumer(bootstrap_servers=self.servers.kafka) as consumer:
            ends = await consumer.end_offsets([TopicPartition(topic, n) for n in range(PARTITIONS)])
        return sum(ends.values())

    async def until(self, what: Callable[[], Any], wanted: int) -> float:
        """The moment at which this count is reached. Raises RuntimeError where it stands still."""
        last, moved = -1, time.monotonic()
        while (n := await what()) < wanted:
            if n != last:
                last, moved = n, time.monotonic()
            if time.monotonic() - moved > STALLED:
                raise RuntimeError(f"it stands at {n} of {wanted}")
            await asyncio.sleep(LOOK)
        return time.monotonic()


@asynccontextmanager
async def backlog(folder: Path, events: int, *, only: str = "") -> AsyncIterator[Backlog]:
    """The real parts with a stream of so many events on the topics; of one service's, where it is named."""
    with real_servers.started(folder, TOGETHER) as servers:
        await asyncio.to_thread(apply.topics, servers.kafka)
        await asyncio.to_thread(_topic, servers.kafka)
        stream = Stream(list(lives(events, 1404, only=only)), 1404)
        async with AsyncMongoClient[dict[str, Any]](servers.mongo) as client:
            made = Backlog(servers, stream, client)
            await stream.publish(servers.kafka)
            del stream
            yield made


def spread(values: Sequence[float]) -> str:
    """The least and the most."""
    return f"{min(values):,.0f} to {max(values):,.0f}"


def _topic(kafka: str) -> None:
    client = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        client.create_topics([NewTopic(ANSWERS, PARTITIONS, 1)])
    finally:
        client.close()
