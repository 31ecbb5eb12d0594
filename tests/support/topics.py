"""The topics of the platform on the test servers, and records on them."""

from tests.support.servers import Servers


async def create_topics(servers: Servers) -> None:
    """Create the topics of `contracts.topics` that do not exist yet."""
    from kafka.admin import KafkaAdminClient

    from contracts.topics import TOPICS

    client = KafkaAdminClient(**servers.kafka.options())
    try:
        existing = client.list_topics()
    finally:
        client.close()
    if missing := [topic.name for topic in TOPICS if topic.name not in existing]:
        await servers.topics(*missing)


def publish(servers: Servers, topic: str, *records: tuple[str, bytes]) -> None:
    """Publish (subject, bytes) to a topic, each in the partition of its subject."""
    from kafka import KafkaProducer

    from contracts.subjects import partition_of

    producer = KafkaProducer(**servers.kafka.options())
    try:
        for subject, raw in records:
            producer.send(topic, key=subject.encode(), value=raw, partition=partition_of(subject)).get(10)
    finally:
        producer.close()
