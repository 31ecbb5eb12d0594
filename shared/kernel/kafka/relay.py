"""The relay: publish pending events to Kafka, in order per subject, the longest pending first.

A crash or a second relay only repeats events, and consumers recognise repeats. Every partition is on its own: one
whose leader is away waits for its acknowledgement or its failure, and the others are published meanwhile.
"""

import asyncio
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, Protocol

import structlog

from base.kafka_access import KafkaAccess
from contracts.envelope import CONTENT_TYPE
from contracts.topics import LONGEST_BATCH
from kernel.errors import Transient
from kernel.kafka.failed_connections import close_failed_connections
from kernel.store import Pending, Store

LIMIT = 5_000  # records in one pass, and events of one record
PASS_TIMEOUT = (
    0.5  # seconds in which a pass waits for acknowledgements; those of slower partitions are left to a later one
)
DELIVERY_TIMEOUT = 15  # seconds, after which the producer gives an event up
ANSWER_TIMEOUT = 10  # seconds in which Kafka describes topics
ACKNOWLEDGEMENT_TIMEOUT = 30  # seconds, after which a silent producer is closed
HEADERS = [("content-type", CONTENT_TYPE.encode())]

log = structlog.get_logger(__name__)


class Acknowledgement(Protocol):
    """What the relay needs of a producer's future."""

    @property
    def is_done(self) -> bool:
        """Return whether the event is acknowledged or given up."""

    def get(self, timeout: float) -> Any:
        """Wait this many seconds for the acknowledgement. Raise why there is none."""


class Producer(Protocol):
    """What the relay needs of a Kafka producer."""

    def send(self, topic: str, **message: Any) -> Acknowledgement:
        """Return a future of the acknowledgement."""

    def close(self, *, timeout: float) -> None:
        """Wait this many seconds for messages in flight, then close."""


class Delivery(NamedTuple):
    """The events of one record on their way to Kafka."""

    record: Pending
    acknowledgements: list[Acknowledgement]
    since: float  # seconds of the monotonic clock

    def outcome(self) -> tuple[Pending, int, Exception | None]:
        """Return how many events of the record Kafka has, in order from the first, and what stopped the rest."""
        for n, each in enumerate(self.acknowledgements):
            try:
                each.get(0)
            except Exception as e:
                return self.record, n, e
        return self.record, len(self.acknowledgements), None


class Failure(NamedTuple):
    """Why Kafka has not acknowledged an event; a probe sends that event alone."""

    probe: Pending
    why: Exception


class Outcome(NamedTuple):
    """What became of deliveries that have ended: marks by subject, acknowledged events, and what stopped all others."""

    published: dict[str, int]
    acknowledged: int
    error: Exception | None


class Relay:
    """Publishes the events of one service to its topic; connects when needed, and again after an error."""

    def __init__(self, store: Store, connect: Callable[[], Producer], topic: str) -> None:
        self.store, self.connect, self.topic = store, connect, topic
        self.producer: Producer | None = None
        self.sending = threading.Lock()
        self.under_way: dict[int, list[Delivery]] = {}  # by partition, which gets nothing more until they have ended
        self.failing: dict[int, Failure] = {}  # by partition, which gets nothing but the probe until that succeeds

    async def publish(self, partitions: Collection[int], writing: asyncio.Lock) -> int:
        """Publish pending events of these partitions, up to LIMIT records; return how many Kafka has acknowledged.

        Raise Transient if no partition accepts any; what was acknowledged before is marked.
        """
        self.failing = {partition: each for partition, each in self.failing.items() if partition in partitions}
        idle = set(partitions) - self.under_way.keys()
        pending = list(await self.store.pending(idle - self.failing.keys(), LIMIT))
        pending += [self.failing[partition].probe for partition in sorted(idle & self.failing.keys())]
        if not pending and not self.under_way:
            return 0
        published, acknowledged, error = await asyncio.to_thread(self._send, pending)
        if published:
            async with writing:  # a mark on what a transaction is about to write would only make it start again
                await self.store.mark_published(published)
        if error:
            raise Transient(f"Kafka acknowledged {acknowledged} events, then: {error!r}") from error
        return acknowledged

    async def republish(self, events: Sequence[Pending]) -> None:
        """Publish these events again and mark nothing. Raise Transient."""
        acknowledged, error = await asyncio.to_thread(self._send_again, events)
        if error:
            raise Transient(f"Kafka acknowledged {acknowledged} republished events, then: {error!r}") from error

    def _send(self, pending: Sequence[Pending]) -> Outcome:
        """Send these events, and collect the outcome of whatever has ended since the last pass."""
        with self.sending:  # one thread at a time: an error closes the producer
            sent, error = self._enqueue(pending)
            for each in sent:
                self.under_way.setdefault(each.record.partition, []).append(each)
            _wait([each for each in sent if each.record.partition not in self.failing], PASS_TIMEOUT)
            oldest = min((each.since for started in self.under_way.values() for each in started), default=monotonic())
            if error is None and monotonic() - oldest > ACKNOWLEDGEMENT_TIMEOUT:
                error = TimeoutError(f"no acknowledgement within {ACKNOWLEDGEMENT_TIMEOUT} s")
            if error:
                self.close()  # what it still holds may yet arrive, as a repeat
            return self._collect(error)

    def _collect(self, error: Exception | None) -> Outcome:
        """Take the deliveries of partitions that have ended; of all, where the producer was closed."""
        published, acknowledged, succeeded = dict[str, int](), 0, False
        failures = dict[int, Failure]()
        for partition, started in list(self.under_way.items()):
            if error is None and not all(each.is_done for d in started for each in d.acknowledgements):
                continue
            del self.under_way[partition]
            self.failing.pop(partition, None)
            for record, n, why in (each.outcome() for each in started):
                acknowledged += n
                if n:
                    published[record.subject] = record.published + n
                if why:
                    probe = Pending(record.subject, partition, record.published + n, record.events[n : n + 1])
                    failures.setdefault(partition, Failure(probe, why))
            succeeded |= partition not in failures
        if error is None:
            self._note(failures)
            if failures and not succeeded and not self.under_way:  # perhaps it is the producer that has failed
                self.close()
                error = next(iter(failures.values())).why
        return Outcome(published, acknowledged, error)

    def _note(self, failures: Mapping[int, Failure]) -> None:
        for partition, failure in failures.items():
            log.warning(
                "events not acknowledged: is the broker of this partition away?",
                topic=self.topic,
                partitions=[partition],
                error=failure.why,
            )
        self.failing |= failures

    def _send_again(self, events: Sequence[Pending]) -> tuple[int, Exception | None]:
        """Send these events; return how many Kafka has acknowledged, and what stopped the rest."""
        with self.sending:
            sent, error = self._enqueue(events)
            _wait(sent, ACKNOWLEDGEMENT_TIMEOUT if error is None else PASS_TIMEOUT)
            outcomes = [each.outcome() for each in sent]
            error = error or next((why for _, _, why in outcomes if why), None)
            if error:
                self.close()
            return sum(n for _, n, _ in outcomes), error

    def _enqueue(self, pending: Sequence[Pending]) -> tuple[list[Delivery], Exception | None]:
        """Hand events to the producer until an error; return what is under way."""
        sent: list[Delivery] = []
        for each in pending:
            sent.append(Delivery(each, [], monotonic()))
            try:
                for raw in each.events:
                    self.producer = self.producer or self.connect()
                    sent[-1].acknowledgements.append(
                        self.producer.send(
                            self.topic, key=each.subject.encode(), value=raw, partition=each.partition, headers=HEADERS
                        )
                    )
            except Exception as e:
                return sent, e
        return sent, None

    def close(self) -> None:
        """Close the producer; blocks for a moment."""
        producer, self.producer = self.producer, None
        if producer is not None:
            _close_quietly(partial(producer.close, timeout=1))


def _wait(deliveries: Sequence[Delivery], seconds: float) -> None:
    """Wait until all of these have ended, or the time is over."""
    deadline = monotonic() + seconds
    for acknowledgement in (each for delivery in deliveries for each in delivery.acknowledgements):
        with suppress(Exception):
            acknowledgement.get(max(deadline - monotonic(), 0))


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
            request_timeout_ms=(DELIVERY_TIMEOUT - 5) * 1000,
            delivery_timeout_ms=DELIVERY_TIMEOUT * 1000,
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
        if not topics:
            return {}
        try:
            async with asyncio.timeout(2 * ANSWER_TIMEOUT):
                return await asyncio.to_thread(self._read, sorted(topics))
        except TimeoutError as e:
            raise Transient("Kafka does not describe its topics in time") from e

    def _read(self, topics: Sequence[str]) -> dict[str, str]:
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError, TopicAuthorizationFailedError

        close_failed_connections()
        # One thread at a time: an error closes the client, and a request to a closed one never ends.
        if not self.reading.acquire(timeout=ANSWER_TIMEOUT):
            raise Transient("an earlier request for the ids of topics has not ended")
        try:
            try:
                self.client = self.client or KafkaAdminClient(
                    **self.kafka.options(), client_id=self.client_id, request_timeout_ms=ANSWER_TIMEOUT * 1000
                )
                found = self.client.describe_topics(topics)
            except (KafkaError, OSError) as e:
                self.close()
                raise Transient(f"Kafka does not describe its topics: {e!r}") from e
        finally:
            self.reading.release()
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
