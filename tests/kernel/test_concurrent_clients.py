"""Clients of Kafka that several loops and threads of one worker share."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import kafka
import pytest
from kafka.errors import KafkaError

from base.kafka_access import KafkaAccess
from kernel.errors import Transient
from kernel.kafka import relay
from kernel.kafka.relay import TopicIds


async def test_topic_ids_are_read_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error closes the client: never under another thread's request."""
    open_clients, requests = set[int](), 0

    class Client:
        def __init__(self, **_: Any) -> None:
            open_clients.add(id(self))

        def describe_topics(self, topics: Sequence[str]) -> list[dict[str, Any]]:
            nonlocal requests
            requests += 1
            fails = requests % 2
            time.sleep(0.01)
            assert id(self) in open_clients, "closed under a request"
            if fails:
                raise KafkaError("no answer")
            return [{"name": topic, "topic_id": "id", "error_code": 0} for topic in topics]

        def close(self) -> None:
            open_clients.discard(id(self))

    monkeypatch.setattr(kafka, "KafkaAdminClient", Client)
    ids = TopicIds(KafkaAccess("localhost:1"), "small")
    results = await asyncio.gather(*(ids.read(["a"]) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(each, Transient) for each in results) == 5 and results.count({"a": "id"}) == 5


async def test_a_request_for_topic_ids_that_hangs_does_not_hang_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every one ends within its timeout: a sweep that waits for ever must not keep an assignment waiting."""
    released = threading.Event()

    class Client:
        def __init__(self, **_: Any) -> None:
            pass

        def describe_topics(self, topics: Sequence[str]) -> list[dict[str, Any]]:
            released.wait(60)
            return []

    monkeypatch.setattr(kafka, "KafkaAdminClient", Client)
    monkeypatch.setattr(relay, "ANSWER_TIMEOUT", 0.2)
    ids = TopicIds(KafkaAccess("localhost:1"), "small")
    try:
        results = await asyncio.gather(*(ids.read(["a"]) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in results] == [Transient] * 3
    finally:
        released.set()
