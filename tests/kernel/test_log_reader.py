"""The log reader recovers from a connection that no longer carries data, and asks each broker for its own."""

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from base.kafka_access import KafkaAccess
from kernel.kafka import log_reader
from kernel.kafka.log_reader import LogReader
from tests.support.servers import Servers

TOPIC = "test_log_reader.registration"


@pytest.mark.server
async def test_a_half_open_connection_is_replaced(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "REQUEST_TIMEOUT", 1_000)
    admin = KafkaAdminClient(**servers.kafka.options())
    admin.create_topics([NewTopic(TOPIC, 1, 1)])
    admin.close()
    reader, tp = LogReader(servers.kafka, "test"), TopicPartition(TOPIC, 0)
    try:
        assert await reader.ends([tp]) == {tp: 0}
        connections: list[Any] = list(reader.client._client._conns.values())
        assert connections
        for connection in connections:  # what is written disappears, and nothing arrives any more
            connection._writer.write = lambda data: None
        assert await reader.ends([tp]) == {}, "it does not answer"
        assert await reader.ends([tp]) == {tp: 0}, "a new connection works"
        assert await reader.begins([tp]) == {tp: 0}
    finally:
        await reader.stop()


class TwoBrokers:
    """A client of two brokers: the leader of partition 0 does not answer; the other one does, while `answers`."""

    def __init__(self) -> None:
        self.answers, self._conns = True, dict[Any, Any]()
        self.cluster = SimpleNamespace(leader_for_partition=lambda tp: tp.partition + 1)
        self._client = self

    async def end_offsets(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        if not self.answers or any(tp.partition == 0 for tp in tps):
            raise KafkaTimeoutError
        return dict.fromkeys(tps, 9)

    beginning_offsets = end_offsets

    def force_metadata_update(self) -> "asyncio.Future[bool]":
        update = asyncio.get_running_loop().create_future()
        update.set_result(self.answers)
        return update


async def test_a_leader_that_alone_is_asked_and_does_not_answer_is_no_error() -> None:
    """As long as another broker answers: who asks has other partitions to go on with."""
    reader, tps = LogReader(KafkaAccess("127.0.0.1:1"), "test"), [TopicPartition(TOPIC, n) for n in (0, 1)]
    reader.client = client = TwoBrokers()
    assert await reader.ends(tps) == {tps[1]: 9} and await reader.ends(tps[:1]) == {}
    with pytest.raises(KafkaTimeoutError, match=f"{TOPIC}/0"):
        await reader.bounds(tps)
    assert await reader.bounds(tps[1:]) == {tps[1]: (9, 9)}
    client.answers = False
    with pytest.raises(KafkaTimeoutError, match="no broker answers within"):
        await reader.ends(tps[:1])
