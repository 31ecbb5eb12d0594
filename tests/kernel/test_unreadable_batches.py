"""A batch that aiokafka cannot unpack is one undecodable record; what is before and behind it is read."""

import asyncio

import pytest
from aiokafka import TopicPartition
from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import MessageSizeTooLargeError, UnknownError

from contracts.subjects import partition_of
from contracts.topics import LONGEST_BATCH, TOPICS
from kernel.kafka.log_reader import LogReader
from kernel.roles.worker import Worker
from tests.support.messages import message
from tests.support.servers import Servers
from tests.support.small_workers import SmallSystem
from tests.support.unreadable_batches import send_gzip, send_header_not_text, send_zstd

pytestmark = pytest.mark.server
SUBJECT_OF_0 = next(f"p{n}" for n in range(1_000) if partition_of(f"p{n}") == 0)


@pytest.mark.parametrize("live", [True, False], ids=["live", "from the log"])
async def test_a_worker_reads_on_behind_what_aiokafka_cannot_unpack(small_system: SmallSystem, live: bool) -> None:
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
    unsupported = "UnsupportedCodecError"
    assert kept == {zstd - 1: unsupported, header - 1: "UnicodeDecodeError", last - 1: unsupported}
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


async def test_the_broker_unpacks_and_refuses_what_is_then_too_long(servers: Servers, declared_topic: str) -> None:
    """A reader of declared topics never unpacks, and 64 MiB of zeros neither arrive nor end the broker."""
    assert send_gzip(servers.kafka, declared_topic, b"\0" * (LONGEST_BATCH // 2)) == 1
    for length, refusals in (
        (LONGEST_BATCH, (MessageSizeTooLargeError,)),
        (64 << 20, (MessageSizeTooLargeError, UnknownError)),
    ):
        with pytest.raises(refusals):
            await asyncio.to_thread(send_gzip, servers.kafka, declared_topic, b"\0" * length)
    assert send_zstd(servers.kafka, declared_topic, 1) == 2
    reader, tp = LogReader(servers.kafka, "test"), TopicPartition(declared_topic, 0)
    try:
        await reader.seek({tp: 1})
        (record,), _ = await reader.read_chunk({tp: 2})
        assert record.value == b"\0" * 1_000
    finally:
        await reader.stop()
