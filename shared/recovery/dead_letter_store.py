"""Where dead letters lie: in the records that hold them, and in the list of the unreadable."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec

from base.clock import machine_now
from base.ids import uuid7
from contracts.subjects import PARTITIONS
from kernel.record import LogPosition, Parked, Undecodable
from kernel.store import Store
from kernel.stores.documents import parked_of
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore, translate_errors

UNREADABLE_SHOWN = 10_000  # places
Action = Literal["retry", "discard", "reread", "republish"]


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody set out to do; written down before it is done."""

    at: datetime  # machine time
    who: str
    action: Action
    reason: str
    letters: Sequence[str]  # what it is about: ids of letters, or places in the log


class Held(msgspec.Struct, frozen=True):
    """What waits in one record."""

    subject: str
    inbox: Mapping[str, int]
    parked: Mapping[str, Parked]


class Kept(Protocol):
    """Where a service's dead letters lie, beside its records."""

    def held(self, subject: str = "") -> AsyncIterator[Held]:
        """The records, or the one, with something faulty."""

    async def unreadable(self) -> list[tuple[Undecodable, datetime]]:
        """What nobody could read and nobody has explained yet, oldest first."""

    async def explain(self, places: Collection[str], who: str, reason: str) -> None:
        """Says of some of it why it needs nobody any more."""

    async def note(self, act: Act) -> None:
        """Writes an act down; when this returns it is safe."""


def place_id(place: LogPosition) -> str:
    """topic/partition@offset."""
    return f"{place.topic}/{place.partition}@{place.offset}"


def kept_by(store: Store) -> Kept:
    """The dead letters of this store."""
    if isinstance(store, MongoStore):
        return MongoKept(store)
    assert isinstance(store, MemoryStore)
    return MemoryKept(store)


class MongoKept:
    """Beside the records in MongoDB: `unreadable`, and `acts`, which is only ever added to."""

    def __init__(self, store: MongoStore) -> None:
        self.store, self.acts = store, store.database.acts

    async def held(self, subject: str = "") -> AsyncIterator[Held]:
        """The records, or the one, with something faulty."""
        query: dict[str, Any] = {"partition": {"$in": list(range(PARTITIONS))}, "faulty_since": {"$exists": True}}
        async with translate_errors():
            found = self.store.records.find({"_id": subject} if subject else query, {"inbox": 1, "parked": 1})
            async for d in found:
                parked = {source: parked_of(each) for source, each in d["parked"].items()}
                yield Held(d["_id"], d["inbox"], parked)

    async def unreadable(self) -> list[tuple[Undecodable, datetime]]:
        """What nobody could read and nobody has explained yet, oldest first."""
        query = {"explained": {"$exists": False}}
        async with translate_errors():
            found = self.store.unreadable.find(query, limit=UNREADABLE_SHOWN, sort=[("at", 1)])
            return [
                (Undecodable(LogPosition(d["topic"], d["partition"], d["offset"]), d["raw"], d["why"]), d["at"])
                async for d in found
            ]

    async def explain(self, places: Collection[str], who: str, reason: str) -> None:
        """Says of some of it why it needs nobody any more."""
        said = {"who": who, "reason": reason, "at": machine_now()}
        async with translate_errors():
            await self.store.unreadable.update_many({"_id": {"$in": list(places)}}, {"$set": {"explained": said}})

    async def note(self, act: Act) -> None:
        """Writes an act down."""
        async with translate_errors():
            await self.acts.insert_one({"_id": uuid7(), **msgspec.structs.asdict(act)})


class MemoryKept:
    """The same in memory."""

    def __init__(self, store: MemoryStore) -> None:
        self.store, self.acts = store, list[Act]()
        self.explained: dict[str, str] = {}

    async def held(self, subject: str = "") -> AsyncIterator[Held]:
        """The records, or the one, with something faulty."""
        for name, record in list(self.store.kept.items()):
            if subject in ("", name) and any(each.fault for each in record.parked.values()):
                yield Held(name, record.inbox, record.parked)

    async def unreadable(self) -> list[tuple[Undecodable, datetime]]:
        """What nobody could read and nobody has explained yet."""
        at = machine_now()
        return [(each, at) for place, each in self.store.unreadable.items() if place_id(place) not in self.explained]

    async def explain(self, places: Collection[str], who: str, reason: str) -> None:
        """Says of some of it why it needs nobody any more."""
        self.explained |= dict.fromkeys(places, reason)

    async def note(self, act: Act) -> None:
        """Writes an act down."""
        self.acts.append(act)
