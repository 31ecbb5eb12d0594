"""Topics with their producer and consumers. Kafka topics and access lists are created from this table only."""

import msgspec

from contracts.subjects import PARTITIONS

LONGEST_BATCH = 512 << 10  # bytes of a record batch; an event has 64 KiB


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic: written by its producer's relay only, retained without limit, never compacted."""

    name: str
    producer: str
    consumers: tuple[str, ...]
    partitions: int = PARTITIONS
    settings: tuple[tuple[str, str], ...] = (
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("cleanup.policy", "delete"),
        ("compression.type", "producer"),  # the broker unpacks nothing into memory, and readers no batch with a codec
        ("max.message.bytes", str(LONGEST_BATCH)),
    )


TOPICS = (
    Topic(name="peyvand.registration", producer="registration", consumers=("screening", "market", "reporting")),
    Topic(name="peyvand.screening", producer="screening", consumers=("registration", "market", "reporting")),
    Topic(name="peyvand.market", producer="market", consumers=("reporting",)),
)


def topic_of(service: str) -> str:
    """Return the topic to which a service publishes."""
    return f"peyvand.{service}"


def topics_consumed_by(service: str) -> tuple[str, ...]:
    """Return the topics that a service consumes, in the order of the table."""
    return tuple(topic.name for topic in TOPICS if service in topic.consumers)
