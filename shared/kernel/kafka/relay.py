"""What records emitted, to Kafka: in order per subject, the longest waiting first.

A crash or a second relay only repeats, and readers know a repeat.
"""

import asyncio
import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Protocol

import structlog

from contracts.envelope import CONTENT_TYPE
from kernel.errors import Transient
from kernel.store import Pending, Store

LIMIT = 5_000  # records in one pass, and events of one record
ACKNOWLEDGED_WITHIN = 30  # seconds, after which the pass is given up and repeated
HEADERS = [("content-type", CONTENT_TYPE.encode())]

log = structlog.get_logger(__name__)


class Producer(Protocol):
    """What the relay needs of a Kafka producer."""

    def send(self, topic: str, **message: Any) -> Any:
        """A future of the acknowledgement."""

    def close(self, *, timeout: float) -> None:
        """Waits that long for what is on its way."""


class Relay:
    """Carries one service's events from its records to its topic; connects when needed, and anew after trouble."""

    def __init__(self, store: Store, connect: Callable[[], Producer], topic: str) -> None:
        self.store, self.connect, self.topic = store, connect, topic
        self.producer: Producer | None = None
        self.sending = threading.Lock()

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

    async def repeat(self, found: Sequence[Pending]) -> None:
        """Says these once more, and marks nothing. Raises Transient."""
        acknowledged, trouble = await asyncio.to_thread(self._send, found)
        if trouble:
            raise Transient(f"Kafka acknowledged {sum(acknowledged)} of what was repeated: {trouble!r}") from trouble

    def _send(self, found: Sequence[Pending]) -> tuple[list[int], Exception | None]:
        """How many events of each record Kafka has, in order from the first, and what stopped the rest."""
        with self.sending:  # whoever lets the producer go takes it from nobody
            return self._sent(found)

    def _sent(self, found: Sequence[Pending]) -> tuple[list[int], Exception | None]:
        trouble: Exception | None = None
        sent: list[list[Any]] = []
        for w in found:
            futures: list[Any] = []
            sent.append(futures)
            try:
                for raw in w.emitted if trouble is None else ():
                    self.producer = self.producer or self.connect()
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
                    future.get(ACKNOWLEDGED_WITHIN if trouble is None else 0.1)
                    n += 1
            except Exception as e:
                trouble = trouble or e
            acknowledged.append(n)
        if trouble:
            self.close()  # what it still holds may yet arrive, as a repeat
        return acknowledged, trouble

    def close(self) -> None:
        """Lets the producer go; blocks for a moment."""
        producer, self.producer = self.producer, None
        if producer is not None:
            _let_go(partial(producer.close, timeout=1))


def connect_producer(bootstrap: str, client_id: str) -> Callable[[], Any]:
    """How to connect an idempotent producer that waits for every replica in sync: blocks, raises KafkaError."""

    def connect() -> Any:
        from kafka import KafkaProducer  # importing it costs a second of start-up that only workers need to pay
        from kafka.errors import KafkaTimeoutError

        class Ending(KafkaProducer):  # type: ignore[misc]
            def close(self, *args: Any, **options: Any) -> None:
                try:
                    super().close(*args, **options)
                except KafkaTimeoutError:  # the broker does not answer: else its thread would go on for ever
                    self._sender.force_close()
                    super().close(*args, **options)

        return Ending(
            bootstrap_servers=bootstrap,
            client_id=client_id,
            acks="all",
            enable_idempotence=True,
            linger_ms=2,
            batch_size=256 << 10,
            max_block_ms=5_000,
            reconnect_backoff_max_ms=1_000,
            compression_type=None,
        )

    return connect


class TopicIds:
    """What Kafka calls each topic by: a topic that was deleted and made anew has another id."""

    def __init__(self, bootstrap: str, client_id: str) -> None:
        self.bootstrap, self.client_id = bootstrap, client_id
        self.client: Any = None

    async def of(self, topics: Collection[str]) -> dict[str, str]:
        """The ids of those that are there. Raises Transient."""
        return await asyncio.to_thread(self._ask, sorted(topics)) if topics else {}

    def _ask(self, topics: Sequence[str]) -> dict[str, str]:
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError

        try:
            self.client = self.client or KafkaAdminClient(bootstrap_servers=self.bootstrap, client_id=self.client_id)
            found = self.client.describe_topics(topics)
        except (KafkaError, OSError) as e:
            self.close()
            raise Transient(f"Kafka does not say what its topics are: {e!r}") from e
        return {each["name"]: str(each["topic_id"]) for each in found if not each["error_code"]}

    def close(self) -> None:
        """Lets the connection go."""
        client, self.client = self.client, None
        if client is not None:
            _let_go(client.close)


def _let_go(close: Callable[[], None]) -> None:
    """kafka-python raises where the broker does not answer its farewell; nothing depends on it."""
    try:
        close()
    except Exception as e:
        log.warning("left_without_farewell", trouble=repr(e))
