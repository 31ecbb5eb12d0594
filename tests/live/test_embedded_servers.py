"""The embedded servers: a broker that keeps acknowledged records, a database with transactions."""

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from kernel.stores.mongodb import connect
from tests.support.servers import Servers

pytestmark = pytest.mark.server


async def test_kafka_keeps_acknowledged_records(servers: Servers) -> None:
    topic = await servers.topic(partitions=2)
    async with AIOKafkaProducer(**servers.kafka.options()) as producer:
        await producer.send_and_wait(topic, b"event", partition=1)
    reader = AIOKafkaConsumer(topic, **servers.kafka.options(), auto_offset_reset="earliest")
    async with reader:
        assert (await reader.getone()).value == b"event"


async def test_mongod_has_transactions(servers: Servers) -> None:
    async with connect(servers.mongo) as client, client.start_session() as session:
        database = client[servers.database()]
        await database.create_collection("records")
        async with await session.start_transaction():
            await database.records.insert_one({"_id": 1}, session=session)
            await session.abort_transaction()
        assert await database.records.count_documents({}) == 0
