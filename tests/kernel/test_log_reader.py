"""The log reader recovers by itself from a connection that no longer carries data."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from kernel.kafka import log_reader
from kernel.kafka.log_reader import LogReader
from tests.support.servers import Servers

pytestmark = pytest.mark.server
TOPIC = "test_log_reader.registration"


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
        with pytest.raises(KafkaTimeoutError):
            await reader.ends([tp])
        assert await reader.ends([tp]) == {tp: 0}, "a new connection works"
        assert await reader.begins([tp]) == {tp: 0}
    finally:
        await reader.stop()
