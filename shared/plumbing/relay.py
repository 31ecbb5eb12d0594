"""What records emitted, to Kafka: in order per subject, the longest waiting first.

A crash or a second relay only repeats, and readers know a repeat.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from contracts.envelope import CONTENT_TYPE
from plumbing.store import Store, Transient, Waiting

LIMIT = 1_000  # records in one pass, and events of one record
ACKNOWLEDGED_WITHIN = 30  # seconds, after which the pass is given up and repeated
HEADERS = [("content-type", CONTENT_TYPE.encode())]


class Producer(Protocol):
    """What the relay needs of a Kafka producer."""

    def send(self, topic: str, **message: Any) -> Any:
        """A future of the acknowledgement."""


class Relay:
    """Carries one service's events from its records to its topic."""

    def __init__(self, store: Store, producer: Producer, topic: str) -> None:
        self.store, self.producer, self.topic = store, producer, topic

    async def once(self, partitions: Collection[int], writing: asyncio.Lock) -> int:
        """Relays these partitions, up to LIMIT records; returns how many events Kafka has acknowledged."""
        found = await self.store.waiting(partitions, LIMIT)
        if not found:
            return 0
        acknowledged, trouble = await asyncio.to_thread(self._send, found)
        relayed = {w.subject: w.relayed + n for w, n in zip(found, acknowledged, strict=True) if n}
        if relayed:
            async with writing:  # marking what a transaction is about to write would only make it start anew
                await self.store.mark_relayed(relayed)
        if trouble:
            raise Transient(f"Kafka acknowledged {sum(acknowledged)} of what was sent: {trouble!r}") from trouble
        return sum(acknowledged)

    def _send(self, found: Sequence[Waiting]) -> tuple[list[int], Exception | None]:
        """How many events of each record Kafka has, in order from the first, and what stopped the rest."""
        trouble: Exception | None = None
        sent: list[list[Any]] = []
        for w in found:
            futures: list[Any] = []
            sent.append(futures)
            try:
                for raw in w.emitted if trouble is None else ():
                    futures.append(
                        self.producer.send(
                            self.topic, key=w.subject.encode(), value=raw, partition=w.partition, headers=HEADERS
                        )
                    )
            except Exception as e:
                trouble = e
        acknowledged = []
        for futures in sent:
            n = 0
            try:
                for future in futures:
                    future.get(ACKNOWLEDGED_WITHIN)
                    n += 1
            except Exception as e:
                trouble = trouble or e
            acknowledged.append(n)
        return acknowledged, trouble


def connect_producer(bootstrap: str, client_id: str) -> Any:
    """An idempotent producer that waits for every replica in sync. Blocks until a broker answers; raises KafkaError."""
    from kafka import KafkaProducer  # importing it costs a second of start-up that only workers need to pay

    return KafkaProducer(
        bootstrap_servers=bootstrap,
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        linger_ms=2,
        max_block_ms=5_000,
        compression_type=None,
    )
