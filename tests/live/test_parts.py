"""The embedded parts are what they say: a broker that keeps what it acknowledged, a database with transactions."""

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from plumbing.mongo import connect
from tests.parts import Parts

pytestmark = pytest.mark.server


async def test_kafka_keeps_what_it_acknowledged(parts: Parts) -> None:
    topic = await parts.topic(partitions=2)
    async with AIOKafkaProducer(bootstrap_servers=parts.kafka) as producer:
        await producer.send_and_wait(topic, b"event", partition=1)
    reader = AIOKafkaConsumer(topic, bootstrap_servers=parts.kafka, auto_offset_reset="earliest")
    async with reader:
        assert (await reader.getone()).value == b"event"


async def test_mongod_has_transactions(parts: Parts) -> None:
    async with connect(parts.mongo) as client, client.start_session() as session:
        database = client[parts.database()]
        await database.create_collection("records")
        async with await session.start_transaction():
            await database.records.insert_one({"_id": 1}, session=session)
            await session.abort_transaction()
        assert await database.records.count_documents({}) == 0
