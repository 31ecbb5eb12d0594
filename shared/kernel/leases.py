"""Leases: for a while only one holder works on a name. They are neither events nor records; losing one does no harm."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from pymongo import IndexModel
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError

from base.clock import machine_now
from kernel.stores.mongodb import translate_errors


def declared_indexes() -> list[IndexModel]:
    """Return the indexes of leases; MongoDB removes those that have ended."""
    return [IndexModel([("until", 1)], expireAfterSeconds=0), IndexModel([("by", 1)])]


class Leases(Protocol):
    """Who holds what until when, in machine time. Each method raises Transient."""

    async def acquire(self, names: Sequence[str], holder: str, duration: timedelta) -> str | None:
        """Acquire the first of these names that is free and return it; None if all are held."""

    async def holders(self, names: Collection[str]) -> dict[str, str]:
        """Return which of these names are held, and by whom."""

    async def held_by(self, holder: str) -> set[str]:
        """Return the names that a holder holds."""

    async def release(self, name: str, holder: str) -> None:
        """Free a name, if this holder holds it."""


class MemoryLeases:
    """Leases in memory."""

    def __init__(self) -> None:
        self.leases: dict[str, tuple[str, datetime]] = {}

    async def acquire(self, names: Sequence[str], holder: str, duration: timedelta) -> str | None:
        held = await self.holders(names)
        found = next((name for name in names if name not in held), None)
        if found is not None:
            self.leases[found] = holder, machine_now() + duration
        return found

    async def holders(self, names: Collection[str]) -> dict[str, str]:
        now = machine_now()
        return {name: by for name, (by, until) in self.leases.items() if name in names and until >= now}

    async def held_by(self, holder: str) -> set[str]:
        now = machine_now()
        return {name for name, (by, until) in self.leases.items() if by == holder and until >= now}

    async def release(self, name: str, holder: str) -> None:
        if self.leases.get(name, ("",))[0] == holder:
            del self.leases[name]


class MongoLeases:
    """Leases in the collection `leases`, which empties itself."""

    def __init__(self, database: AsyncDatabase[dict[str, Any]]) -> None:
        self.collection = database.leases

    async def acquire(self, names: Sequence[str], holder: str, duration: timedelta) -> str | None:
        held = await self.holders(names)
        for name in names:
            if name not in held and await self._acquire(name, holder, duration):
                return name
        return None

    async def holders(self, names: Collection[str]) -> dict[str, str]:
        query = {"_id": {"$in": list(names)}, "until": {"$gte": machine_now()}}
        async with translate_errors():
            return {d["_id"]: d["by"] async for d in self.collection.find(query)}

    async def held_by(self, holder: str) -> set[str]:
        async with translate_errors():
            return {d["_id"] async for d in self.collection.find({"by": holder, "until": {"$gte": machine_now()}})}

    async def release(self, name: str, holder: str) -> None:
        async with translate_errors():
            await self.collection.delete_one({"_id": name, "by": holder})

    async def _acquire(self, name: str, holder: str, duration: timedelta) -> bool:
        now = machine_now()
        update = {"$set": {"by": holder, "until": now + duration}}
        try:
            async with translate_errors():
                await self.collection.update_one({"_id": name, "until": {"$lt": now}}, update, upsert=True)
        except DuplicateKeyError:
            return False  # another holder was faster
        return True
