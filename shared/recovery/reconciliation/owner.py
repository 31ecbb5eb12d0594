"""What the owner of events answers to those who consume them: digests, lines, and the events themselves."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from time import monotonic
from typing import Protocol

import msgspec

from contracts.subjects import kind_of
from kernel.store import Store
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore, translate_errors
from recovery.reconciliation.digests import Lines, digests, own_lines

KEPT = 5.0  # seconds for which the lines of a partition are kept: its consumers ask at about the same time
EVENTS_LIMIT = 100  # of one subject in one answer


class History(msgspec.Struct, frozen=True):
    """What an owner holds about a subject, and its events from one on; all empty if it holds nothing."""

    subject: str
    sequence: int = 0  # of the last event
    hash: str = ""  # digest of the last event
    published: int = 0  # events that Kafka has
    first: int = 1  # sequence of the first of `events`
    events: tuple[bytes, ...] = ()


class Owner(Protocol):
    """The owner of a source, here or behind its API. Each method raises Transient or HttpError."""

    async def digests(self, partition: int, kinds: Collection[str]) -> Sequence[str]:
        """Return the digest of each bucket of a partition, of these kinds of subjects."""

    async def lines(self, partition: int, kinds: Collection[str], buckets: Collection[int]) -> Sequence[str]:
        """Return the lines of these buckets."""

    async def histories(self, since: Mapping[str, int]) -> Sequence[History]:
        """Return what is held about each subject, with its events from a sequence on, at most EVENTS_LIMIT."""


class OwnRecords:
    """The owner itself."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.kept: dict[int, tuple[float, Lines]] = {}  # by partition
        self.reading = asyncio.Lock()

    async def digests(self, partition: int, kinds: Collection[str]) -> Sequence[str]:
        return digests(await self._lines(partition), kinds)

    async def lines(self, partition: int, kinds: Collection[str], buckets: Collection[int]) -> Sequence[str]:
        lines = await self._lines(partition)
        return [each for bucket in buckets for each in lines.get(bucket, ()) if kind_of(each) in kinds]

    async def histories(self, since: Mapping[str, int]) -> Sequence[History]:
        if isinstance(self.store, MemoryStore):
            return [self._in_memory(subject, first) for subject, first in since.items()]
        assert isinstance(self.store, MongoStore)
        found = dict[str, History]()
        for first in Counter(since.values()):  # one query for those that begin alike
            subjects = [subject for subject, start in since.items() if start == first]
            start = max(first, 1)
            shown = {"last_sequence": 1, "last_hash": 1, "published": 1}
            async with translate_errors():
                async for d in self.store.records.find(
                    {"_id": {"$in": subjects}}, shown | {"events": {"$slice": [start - 1, EVENTS_LIMIT]}}
                ):
                    events = tuple(d.get("events", ()))
                    published = min(d["published"], d["last_sequence"])
                    found[d["_id"]] = History(d["_id"], d["last_sequence"], d["last_hash"], published, start, events)
        return [found.get(subject) or History(subject) for subject in since]

    def _in_memory(self, subject: str, first: int) -> History:
        assert isinstance(self.store, MemoryStore)
        if (record := self.store.records.get(subject)) is None:
            return History(subject)
        published, start = self.store.published.get(subject, 0), max(first, 1)
        events = tuple(self.store.events.get(subject, ())[start - 1 : start - 1 + EVENTS_LIMIT])
        return History(subject, record.last_sequence, record.last_hash, published, start, events)

    async def _lines(self, partition: int) -> Lines:
        async with self.reading:  # those who ask meanwhile get the same
            now = monotonic()
            self.kept = {number: each for number, each in self.kept.items() if now - each[0] < KEPT}
            if partition not in self.kept:
                self.kept[partition] = now, await own_lines(self.store, partition)
            return self.kept[partition][1]
