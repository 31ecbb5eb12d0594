"""The log reader of an in-process platform. It keeps the promises of `kernel.kafka.log_reader.LogReader`."""

from collections.abc import Callable, Collection, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from tests.journeys.in_process_platform import InProcessPlatform


class InProcessLogReader:
    """Reads the logs of a platform."""

    def __init__(self, platform: InProcessPlatform) -> None:
        self.platform = platform
        self.offsets: dict[TopicPartition, int] = {}

    async def begins(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return 0: nothing is ever deleted."""
        return dict.fromkeys(tps, 0)

    async def ends(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset of the next event of each partition."""
        return {tp: len(self.platform.logs[tp.topic][tp.partition]) for tp in tps}

    async def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read from these offsets."""
        self.offsets = dict(offsets)

    async def read_chunk(
        self, ends: Mapping[TopicPartition, int], limit: int, convert: Callable[[Any], Any]
    ) -> tuple[list[Any], dict[TopicPartition, int]]:
        """Return everything up to the ends."""
        records = [convert(each) for tp, end in ends.items() for each in self.records(tp, self.offsets[tp], end)]
        self.offsets |= ends
        return records, dict(self.offsets)

    def records(self, tp: TopicPartition, start: int, end: int) -> Iterator[Any]:
        """Yield records as Kafka gives them."""
        for offset, m in enumerate(self.platform.logs[tp.topic][tp.partition][start:end], start):
            key = m.envelope.subject.encode()
            yield SimpleNamespace(topic=tp.topic, partition=tp.partition, offset=offset, key=key, value=m.raw)
