"""Where the operators' view of a service is stored beside its records: undecodable bytes, and what operators did."""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol
from weakref import WeakKeyDictionary

import msgspec

from base.clock import machine_now
from base.ids import uuid7
from kernel.record import LogPosition, Parked, Undecodable
from kernel.store import Store
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore, translate_errors

UNDECODABLE_LIMIT = 10_000  # entries in one answer
Action = Literal["retry", "discard", "reset_cursors", "republish"]


class OperatorAction(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator started; recorded before it takes effect."""

    at: datetime  # machine time
    who: str
    action: Action
    reason: str
    letters: Sequence[str]  # ids of dead letters, or a topic


class DeadLetterStore(Protocol):
    """Undecodable bytes and operator actions of one service. Each method raises Transient."""

    def undecodable(self, ids: Collection[str] = ()) -> AsyncIterator[tuple[Undecodable, datetime]]:
        """Yield undecodable bytes that are not explained yet, the oldest first, and since when they are there.

        Those with these ids; without, the oldest 10,000: one after the other, since each may have 4 KiB.
        """

    async def explain(self, positions: Collection[str], who: str, reason: str) -> None:
        """Record why some of them need no further attention."""

    async def count_heads(self, like: Parked, limit: int) -> int:
        """Return how many heads, at most `limit`, are parked for the same cause as this one."""

    async def record_action(self, action: OperatorAction) -> None:
        """Store an action; when this returns it is durable."""


def dead_letter_store(store: Store) -> DeadLetterStore:
    """Return the dead letter store beside these records."""
    if isinstance(store, MongoStore):
        return MongoDeadLetterStore(store)
    assert isinstance(store, MemoryStore)
    return MemoryDeadLetterStore(store)


class MongoDeadLetterStore:
    """The collections `undecodable` and `operator_actions`; the latter is only appended to."""

    def __init__(self, store: MongoStore) -> None:
        self.collection, self.actions = store.undecodable, store.database.operator_actions
        self.parked = store.parked.collection

    async def undecodable(self, ids: Collection[str] = ()) -> AsyncIterator[tuple[Undecodable, datetime]]:
        query: dict[str, Any] = {"explained": {"$exists": False}}
        if ids:
            query["_id"] = {"$in": list(ids)}
        async with translate_errors():
            async for d in self.collection.find(query, limit=UNDECODABLE_LIMIT, sort=[("at", 1)]):
                position = LogPosition(d["topic"], d["partition"], d["offset"])
                yield Undecodable(position, d["raw"], d["why"], d["code"], d["length"]), d["at"]

    async def explain(self, positions: Collection[str], who: str, reason: str) -> None:
        explanation = {"who": who, "reason": reason, "at": machine_now()}
        query = {"_id": {"$in": list(positions)}}
        async with translate_errors():
            await self.collection.update_many(query, {"$set": {"explained": explanation}})

    async def count_heads(self, like: Parked, limit: int) -> int:
        query: dict[str, Any] = {"head": True, "reason": like.reason, "source": like.source}
        if like.reason != "early":
            query |= {"type": like.type, "fault.error": like.fault.error, "fault.where": like.fault.where}
        async with translate_errors():
            return await self.parked.count_documents(query, limit=limit)

    async def record_action(self, action: OperatorAction) -> None:
        async with translate_errors():
            await self.actions.insert_one({"_id": uuid7(), **msgspec.structs.asdict(action)})


class _Storage(msgspec.Struct):
    """What is kept beside one store in memory, for as long as the store."""

    since: dict[LogPosition, datetime] = {}
    explained: dict[str, str] = {}  # id -> reason
    actions: list[OperatorAction] = []


_storage: "WeakKeyDictionary[MemoryStore, _Storage]" = WeakKeyDictionary()


class MemoryDeadLetterStore:
    """The same in memory."""

    def __init__(self, store: MemoryStore) -> None:
        self.store, self.storage = store, _storage.setdefault(store, _Storage())

    @property
    def actions(self) -> list[OperatorAction]:
        """Return what operators did, in order."""
        return self.storage.actions

    async def undecodable(self, ids: Collection[str] = ()) -> AsyncIterator[tuple[Undecodable, datetime]]:
        for position, each in list(self.store.undecodable.items()):
            since = self.storage.since.setdefault(position, machine_now())
            if (not ids or str(position) in ids) and str(position) not in self.storage.explained:
                yield each, since

    async def explain(self, positions: Collection[str], who: str, reason: str) -> None:
        self.storage.explained |= dict.fromkeys(positions, reason)

    async def count_heads(self, like: Parked, limit: int) -> int:
        heads, early = await self.store.parked.heads((like.reason,)), like.reason == "early"
        same = (each.source == like.source if early else each.fingerprint == like.fingerprint for each in heads)
        return min(limit, sum(same))

    async def record_action(self, action: OperatorAction) -> None:
        self.storage.actions.append(action)
