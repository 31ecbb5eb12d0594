"""A batch that must not be unpacked is one undecodable record; what is before and behind it is read."""

import asyncio
from contextlib import suppress

import pytest
from aiokafka import TopicPartition
from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from contracts.subjects import partition_of
from contracts.topics import TOPICS
from kernel.kafka.log_reader import LogReader
from kernel.kafka.unreadable_batches import UnreadableBatch
from kernel.roles.worker import Worker
from tests.support.messages import message
from tests.support.servers import Servers
from tests.support.small_workers import SmallSystem
from tests.support.unreadable_batches import (
    send_claim,
    send_gzip,
    send_header_not_text,
    send_misnumbered,
    send_zstd,
)

pytestmark = pytest.mark.server
SUBJECT_OF_0 = next(f"p{n}" for n in range(1_000) if partition_of(f"p{n}") == 0)


@pytest.mark.parametrize("live", [True, False], ids=["live", "from the log"])
async def test_a_worker_reads_on_behind_what_is_not_unpacked(small_system: SmallSystem, live: bool) -> None:
    """On topics whose compression is the producer's choice."""
    topic, kafka = small_system.topics["registration"], small_system.servers.kafka
    worker = small_system.worker("reporting")
    if live:
        await started(small_system, worker)
    await small_system.publish("registration", message("registration", 1, subject=SUBJECT_OF_0))
    zstd = await asyncio.to_thread(send_zstd, kafka, topic, 3)
    await small_system.publish("registration", message("registration", 2, subject=SUBJECT_OF_0))
    header = await asyncio.to_thread(send_header_not_text, kafka, topic)
    await small_system.publish("registration", message("registration", 3, subject=SUBJECT_OF_0))
    last = await asyncio.to_thread(send_zstd, kafka, topic, 2)
    if not live:
        await started(small_system, worker)
    await small_system.settles({"ApplicantRegistered": 3})
    assert (zstd, header, last) == (4, 6, 9)
    kept = {d["offset"]: d["why"].partition(":")[0] for d in await worker.store.undecodable.find({}).to_list()}
    assert kept == {zstd - 1: "CompressedBatch", header - 1: "UnicodeDecodeError", last - 1: "CompressedBatch"}
    assert await worker.ready() == []


async def started(small_system: SmallSystem, worker: Worker) -> None:
    """Start a worker and wait until it has partitions."""
    small_system.start(worker)

    async def assigned() -> bool:
        return worker.assigned

    await small_system.until(assigned)


@pytest.fixture
def declared_topic(servers: Servers) -> str:
    """Create a topic with the declared settings."""
    name = "test_unreadable_batches.declared"
    client = KafkaAdminClient(**servers.kafka.options())
    client.create_topics([NewTopic(name, 1, 1, topic_configs=dict(TOPICS[0].settings))])
    client.close()
    return name


async def test_the_broker_keeps_a_codec_and_the_reader_unpacks_none(servers: Servers, declared_topic: str) -> None:
    """64 MiB of zeros, and a record that claims gigabytes, cost neither of them memory."""
    assert send_gzip(servers.kafka, declared_topic, b"\0" * 1_000) == 1
    await asyncio.to_thread(send_gzip, servers.kafka, declared_topic, b"\0" * (64 << 20))
    for _ in range(4):
        with suppress(KafkaError):  # the broker may refuse it
            await asyncio.to_thread(send_claim, servers.kafka, declared_topic, 1_500 << 20)
    end = send_header_not_text(servers.kafka, declared_topic)
    reader, tp = LogReader(servers.kafka, "test"), TopicPartition(declared_topic, 0)
    try:
        await reader.seek({tp: 0})
        records, _ = await reader.read_chunk({tp: end})
    finally:
        await reader.stop()
    assert len(records) == end and all(isinstance(each.value, UnreadableBatch) for each in records)
    assert records[1].value.startswith(b"CompressedBatch") and max(len(each.value) for each in records) < 300


@pytest.mark.parametrize("live", [True, False], ids=["live", "from the log"])
async def test_a_record_that_names_another_place_moves_no_reader(small_system: SmallSystem, live: bool) -> None:
    """Neither to where nothing is, nor over what others have written there."""
    topic, kafka = small_system.topics["registration"], small_system.servers.kafka
    worker = small_system.worker("reporting")
    if live:
        await started(small_system, worker)
    await small_system.publish("registration", message("registration", 1, subject=SUBJECT_OF_0))
    await asyncio.to_thread(send_misnumbered, kafka, topic, 3, 5)
    await small_system.publish("registration", message("registration", 2, subject=SUBJECT_OF_0))
    await asyncio.to_thread(send_misnumbered, kafka, topic, 1, 1_000_000_000)
    await small_system.publish("registration", message("registration", 3, subject=SUBJECT_OF_0))
    if not live:
        await started(small_system, worker)
    await small_system.settles({"ApplicantRegistered": 3})
    kept = {d["offset"]: d["why"].partition(":")[0] for d in await worker.store.undecodable.find({}).to_list()}
    assert kept == {3: "MisnumberedBatch", 5: "MisnumberedBatch"}, "the last of 1 to 3, and of 5"
    assert await worker.ready() == []
