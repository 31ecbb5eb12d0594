"""Catching up with a database that ends long transactions: smaller and smaller chunks, and progress."""

import asyncio
from collections.abc import Collection, Mapping
from itertools import count, islice
from typing import Any

from aiokafka import TopicPartition

from contracts.subjects import partition_of
from kernel.errors import Transient
from kernel.roles.consumer import Consumer
from kernel.store import Effects
from kernel.stores.memory import MemoryStore
from tests.support.messages import message
from tests.support.small_services import ReportingRules, noon

TP = TopicPartition("peyvand.registration", 0)
PEOPLE, LIMIT = 2_000, 400  # events that are behind, and how many of them the database stores in time


class Log:
    """A partition of the log."""

    def __init__(self) -> None:
        people = islice((f"p{n}" for n in count() if partition_of(f"p{n}") == TP.partition), PEOPLE)
        self.events, self.at = [message("registration", 1, subject=each) for each in people], 0

    async def ends(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {TP: PEOPLE}

    async def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.at = offsets[TP]

    async def read_chunk(self, ends: Any, limit: int, convert: Any) -> tuple[list[Any], dict[TopicPartition, int]]:
        start, self.at = self.at, min(self.at + limit, PEOPLE)
        return self.events[start : self.at], {TP: self.at}


class BusyStore(MemoryStore):
    """Fails where more is to be stored than the database completes within its limit, with whatever error."""

    def __init__(self) -> None:
        rules: Any = {"applicant": ReportingRules}
        super().__init__("reporting", rules)
        self.sizes = list[int]()

    async def transact(self, subjects: Collection[str], *args: Any, **options: Any) -> Effects:
        self.sizes.append(len(subjects))
        if len(subjects) > LIMIT:
            raise Transient("the transaction was ended after 60 s")
        return await super().transact(subjects, *args, **options)

    async def topic_ids(self, ids: Mapping[str, str]) -> Mapping[str, str]:
        return ids


async def test_a_transaction_that_takes_too_long_is_not_repeated_as_large() -> None:
    store: Any = BusyStore()
    reader: Any = Log()
    consumer = Consumer("reporting", [TP.topic], store, reader, noon, asyncio.Lock(), store.topic_ids)
    consumer.owned, consumer.cursors, consumer.behind = frozenset([TP]), {TP: 0}, {TP}
    for _ in range(30):
        try:
            if not await consumer.step([]):
                break
        except Transient:
            continue
    assert consumer.cursors == {TP: PEOPLE} and len(store.records) == PEOPLE
    sizes = [size for size in store.sizes if size]
    failed = [n for n, size in enumerate(sizes) if size > LIMIT]
    assert [sizes[n + 1] for n in failed] == [sizes[n] // 2 for n in failed]
    assert failed == [0, 1, 2], "what fits grows by little, so that the next ones fit as well"
    assert sum(size for size in sizes if size <= LIMIT) == PEOPLE
