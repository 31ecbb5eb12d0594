"""What reads the log in the country of one process: its promises are those of `kernel.kafka.log_reader.LogReader`."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from tests.journeys.in_process_platform import Nation


class Reader:
    """What LogReader promises, over the country's logs."""

    def __init__(self, nation: Nation) -> None:
        self.nation = nation
        self.at: dict[TopicPartition, int] = {}

    async def begins(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Nothing is ever deleted."""
        return dict.fromkeys(tps, 0)

    async def ends(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the next event will be."""
        return {tp: len(self.nation.logs[tp.topic][tp.partition]) for tp in tps}

    async def seek(self, at: Mapping[TopicPartition, int]) -> None:
        """Stands there."""
        self.at = dict(at)

    async def stride(
        self, ends: Mapping[TopicPartition, int], most: int, each: Callable[[Any], Any]
    ) -> tuple[list[Any], dict[TopicPartition, int]]:
        """All there is up to the ends."""
        found = [each(r) for tp, end in ends.items() for r in self.records(tp, self.at[tp], end)]
        self.at |= ends
        return found, dict(self.at)

    async def pick(self, tp: TopicPartition, offsets: Sequence[int]) -> list[Any]:
        """These."""
        return [r for offset in offsets for r in self.records(tp, offset, offset + 1)]

    def records(self, tp: TopicPartition, first: int, end: int) -> Iterator[Any]:
        """As Kafka gives them."""
        for offset, m in enumerate(self.nation.logs[tp.topic][tp.partition][first:end], first):
            key = m.envelope.subject.encode()
            yield SimpleNamespace(topic=tp.topic, partition=tp.partition, offset=offset, key=key, value=m.raw)
