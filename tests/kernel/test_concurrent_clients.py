"""Clients of Kafka that several loops and threads of one worker share."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import kafka
import pytest
from aiokafka import TopicPartition
from kafka.errors import KafkaError

from kernel.errors import Transient
from kernel.kafka.consumer_group import ConsumerGroup
from kernel.kafka.relay import TopicIds

ONE, BOTH = {TopicPartition("t", 0)}, {TopicPartition("t", 0), TopicPartition("t", 1)}


async def test_a_former_assignment_does_not_replace_the_present_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """faust calls `perform_seek` for a new assignment while the last one still waits for Kafka."""
    taken: list[set[TopicPartition]] = []
    answered, assignment = asyncio.Event(), ONE

    async def resume(owned: set[TopicPartition]) -> Mapping[TopicPartition, int]:
        if owned == ONE:
            await answered.wait()
        taken.append(owned)
        return dict.fromkeys(owned, 0)

    async def deliver(event: Any) -> None:
        raise AssertionError

    async def seek(offsets: Mapping[TopicPartition, int]) -> None:
        assert offsets.keys() == taken[-1]

    group = ConsumerGroup(
        "small", ["t.one"], "localhost:1", "small", resume=resume, revoked=lambda _: None, deliver=deliver
    )
    monkeypatch.setattr(group, "_owned", lambda: assignment)
    monkeypatch.setattr(group, "_continue_from", seek)
    first = asyncio.create_task(group._resume())
    await asyncio.sleep(0)
    assignment = BOTH
    second = asyncio.create_task(group._resume())
    await asyncio.sleep(0.01)
    answered.set()
    await asyncio.gather(first, second)
    assert taken == [ONE, BOTH], "the present assignment is taken over last"


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
    ids = TopicIds("localhost:1", "small")
    results = await asyncio.gather(*(ids.read(["a"]) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(each, Transient) for each in results) == 5 and results.count({"a": "id"}) == 5
