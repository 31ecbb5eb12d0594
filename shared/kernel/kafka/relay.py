"""The relay: publish pending events to Kafka, in order per subject, the longest pending first.

A crash or a second relay only repeats events, and consumers recognise repeats.
"""

import asyncio
import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Protocol

import structlog

from base.kafka_access import KafkaAccess
from contracts.envelope import CONTENT_TYPE
from contracts.topics import LONGEST_BATCH
from kernel.errors import Transient
from kernel.kafka.failed_connections import close_failed_connections
from kernel.store import Pending, Store

LIMIT = 5_000  # records in one pass, and events of one record
ACKNOWLEDGEMENT_TIMEOUT = 30  # seconds, after which the pass is abandoned and repeated
HEADERS = [("content-type", CONTENT_TYPE.encode())]

log = structlog.get_logger(__name__)


class Producer(Protocol):
    """What the relay needs of a Kafka producer."""

    def send(self, topic: str, **message: Any) -> Any:
        """Return a future of the acknowledgement."""

    def close(self, *, timeout: float) -> None:
        """Wait this many seconds for messages in flight, then close."""


class Relay:
    """Publishes the events of one service to its topic; connects when needed, and again after an error."""

    def __init__(self, store: Store, connect: Callable[[], Producer], topic: str) -> None:
        self.store, self.connect, self.topic = store, connect, topic
        self.producer: Producer | None = None
        self.sending = threading.Lock()

    async def publish(self, partitions: Collection[int], writing: asyncio.Lock) -> int:
        """Publish pending events of these partitions, up to LIMIT records; return how many Kafka has acknowledged.

        Raise Transient; what was acknowledged before is marked.
        """
        pending = await self.store.pending(partitions, LIMIT)
        if not pending:
            return 0
        acknowledged, error = await asyncio.to_thread(self._send, pending)
        published = {each.subject: each.published + n for each, n in zip(pending, acknowledged, strict=True) if n}
        if published:
            async with writing:  # a mark on what a transaction is about to write would only make it start again
                await self.store.mark_published(published)
        if error:
            raise Transient(f"Kafka acknowledged {sum(acknowledged)} events, then: {error!r}") from error
        return sum(acknowledged)

    async def republish(self, events: Sequence[Pending]) -> None:
        """Publish these events again and mark nothing. Raise Transient."""
        acknowledged, error = await asyncio.to_thread(self._send, events)
        if error:
            raise Transient(f"Kafka acknowledged {sum(acknowledged)} republished events, then: {error!r}") from error

    def _send(self, pending: Sequence[Pending]) -> tuple[list[int], Exception | None]:
        """Return how many events of each record Kafka has, in order from the first, and what stopped the rest."""
        with self.sending:  # one thread at a time: an error closes the producer
            sent, error = self._enqueue(pending)
            acknowledged = []
            for futures in sent:
                n = 0
                try:
                    for future in futures:
                        future.get(ACKNOWLEDGEMENT_TIMEOUT if error is None else 0.1)
                        n += 1
                except Exception as e:
                    error = error or e
                acknowledged.append(n)
            if error:
                self.close()  # what it still holds may yet arrive, as a repeat
            return acknowledged, error

    def _enqueue(self, pending: Sequence[Pending]) -> tuple[list[list[Any]], Exception | None]:
        """Hand events to the producer until an error; return the futures of each record."""
        error: Exception | None = None
        sent: list[list[Any]] = []
        for each in pending:
            futures: list[Any] = []
            sent.append(futures)
            try:
                for raw in each.events if error is None else ():
                    self.producer = self.producer or self.connect()
                    futures.append(
                        self.producer.send(
                            self.topic, key=each.subject.encode(), value=raw, partition=each.partition, headers=HEADERS
                        )
                    )
            except Exception as e:
                error = e
        return sent, error

    def close(self) -> None:
        """Close the producer; blocks for a moment."""
        producer, self.producer = self.producer, None
        if producer is not None:
            _close_quietly(partial(producer.close, timeout=1))


def connect_producer(kafka: KafkaAccess, client_id: str) -> Callable[[], Any]:
    """Return a function that connects an idempotent producer with acks=all; it blocks and raises KafkaError."""

    def connect() -> Any:
        close_failed_connections()
        from kafka import KafkaProducer  # takes a second to import, which only workers need
        from kafka.errors import KafkaTimeoutError

        class ForcedClose(KafkaProducer):  # type: ignore[misc]
            def close(self, *args: Any, **options: Any) -> None:
                try:
                    super().close(*args, **options)
                except KafkaTimeoutError:  # the broker does not answer: otherwise its thread would never end
                    self._sender.force_close()
                    super().close(*args, **options)

        return ForcedClose(
            **kafka.options(),
            client_id=client_id,
            acks="all",
            enable_idempotence=True,
            linger_ms=2,
            batch_size=LONGEST_BATCH // 2,
            max_block_ms=5_000,
            reconnect_backoff_max_ms=1_000,
            compression_type=None,
        )

    return connect


class TopicIds:
    """The ids that Kafka has given to topics: a topic that was deleted and recreated has another one."""

    def __init__(self, kafka: KafkaAccess, client_id: str) -> None:
        self.kafka, self.client_id = kafka, client_id
        self.client: Any = None
        self.reading = threading.Lock()

    async def read(self, topics: Collection[str]) -> dict[str, str]:
        """Return the ids of those topics that exist. Raise Transient."""
        return await asyncio.to_thread(self._read, sorted(topics)) if topics else {}

    def _read(self, topics: Sequence[str]) -> dict[str, str]:
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError, TopicAuthorizationFailedError

        close_failed_connections()
        with self.reading:  # one thread at a time: an error closes the client, and a request to a closed one never ends
            try:
                self.client = self.client or KafkaAdminClient(**self.kafka.options(), client_id=self.client_id)
                found = self.client.describe_topics(topics)
            except (KafkaError, OSError) as e:
                self.close()
                raise Transient(f"Kafka does not describe its topics: {e!r}") from e
        if denied := [t["name"] for t in found if t["error_code"] == TopicAuthorizationFailedError.errno]:
            raise Transient(f"{self.kafka.user} may not read {', '.join(denied)}: `peyvand apply` gives rights")
        return {each["name"]: str(each["topic_id"]) for each in found if not each["error_code"]}

    def close(self) -> None:
        """Close the connection."""
        client, self.client = self.client, None
        if client is not None:
            _close_quietly(client.close)


def _close_quietly(close: Callable[[], None]) -> None:
    """Close a client; kafka-python raises where the broker does not answer, and nothing depends on that answer."""
    try:
        close()
    except Exception as e:
        log.warning("Kafka client closed without an answer from the broker", error=e)
