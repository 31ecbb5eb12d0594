"""A topic is a speaker: who says it and who hears it. Topics and access lists are made from this table only."""

import msgspec

from contracts.subjects import PARTITIONS


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """One topic: written by its speaker's relay alone, kept for ever, never compacted."""

    name: str
    producer: str
    consumers: tuple[str, ...]
    partitions: int = PARTITIONS
    settings: tuple[tuple[str, str], ...] = (
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("cleanup.policy", "delete"),
    )


TOPICS = (
    Topic(name="peyvand.registration", producer="registration", consumers=("screening", "market", "reporting")),
    Topic(name="peyvand.screening", producer="screening", consumers=("registration", "market", "reporting")),
    Topic(name="peyvand.market", producer="market", consumers=("reporting",)),
)


def topic_of(service: str) -> str:
    """The topic that a service speaks on."""
    return f"peyvand.{service}"


def topics_consumed_by(service: str) -> tuple[str, ...]:
    """The topics that a service hears, in the order of the table."""
    return tuple(topic.name for topic in TOPICS if service in topic.consumers)
