"""A rebuild while a partition has no leader: it stops, instead of serving figures that lack the partition's events."""

from collections.abc import Collection
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from base.kafka_access import KafkaAccess
from kernel.errors import Transient
from kernel.kafka.log_reader import LogReader
from kernel.stores.memory import MemoryStore
from recovery.rebuild import Rebuild
from tests.support.small_services import ReportingRules, Tallies, noon

TOPICS = ("peyvand.registration", "peyvand.screening")
SILENT = TopicPartition("peyvand.screening", 0)


class Silent(LogReader):
    """An empty log, one of whose partitions has no leader."""

    async def _offsets(self, request: str, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: 0 for tp in tps if tp != SILENT}

    async def seek(self, offsets: Any) -> None:
        pass


class Topics:
    """All topics exist, as they were first read."""

    async def read(self, topics: Collection[str]) -> dict[str, str]:
        return dict.fromkeys(topics, "id")


class Store(MemoryStore):
    """With what a consumer needs to know of topics."""

    async def topic_ids(self, ids: dict[str, str]) -> dict[str, str]:
        return ids


@pytest.fixture
def building() -> Rebuild:
    rules: Any = {"applicant": ReportingRules}
    store: Any = Store("reporting", rules)
    reader = Silent(KafkaAccess("127.0.0.1:1"), "test")
    return Rebuild(store=store, projection=Tallies().move, topics=TOPICS, reader=reader, clock=noon)


async def test_a_partition_that_does_not_answer_is_not_built_as_an_empty_one(
    building: Rebuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = list[int]()

    async def write(self: Rebuild, number: int, memory: MemoryStore, cursors: Any) -> None:
        written.append(number)

    monkeypatch.setattr(Rebuild, "_write", write)
    with pytest.raises(KafkaTimeoutError, match=r"peyvand\.screening/0"):
        await building.partition(0)
    assert not written
    assert await building.partition(1) == 0 and written == [1]


async def test_what_does_not_answer_is_not_caught_up_with(building: Rebuild) -> None:
    ids: Any = Topics()
    with pytest.raises(Transient, match=r"peyvand\.screening/0"):
        await building.catch_up(ids)
