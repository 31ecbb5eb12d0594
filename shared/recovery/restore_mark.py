"""The mark that a store was restored from a backup: no API serves before the store is complete (see `completion`)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from pymongo.asynchronous.database import AsyncDatabase

from base.clock import machine_now
from kernel.stores.mongodb import MongoStore, translate_errors

COLLECTION = "restore"  # its one document has the same id


class RestoreMark(msgspec.Struct, frozen=True, kw_only=True):
    """A store was restored from a backup."""

    at: datetime
    made_at: datetime  # when the backup was made
    topic: str  # the service's own; empty if it emits nothing
    whole: bool = True  # false while the restore runs, or if it was interrupted
    begins: dict[str, int] = {}  # partition -> end of the topic before the backup, which has all events before it


def new_mark(topic: str, begins: Mapping[int, int], made_at: datetime) -> RestoreMark:
    """Return the mark of a store that is being restored now."""
    return RestoreMark(at=machine_now(), made_at=made_at, topic=topic, begins={str(p): n for p, n in begins.items()})


async def set_mark(database: AsyncDatabase[dict[str, Any]], mark: RestoreMark) -> None:
    """Mark a store as restored."""
    await database[COLLECTION].replace_one({"_id": COLLECTION}, msgspec.structs.asdict(mark), upsert=True)


async def read_mark(store: MongoStore) -> RestoreMark | None:
    """Return the mark, or None if the store is complete. Raise Transient."""
    async with translate_errors():
        found = await store.database[COLLECTION].find_one({"_id": COLLECTION}, {"_id": 0})
    return None if found is None else RestoreMark(**found)


async def clear_mark(store: MongoStore) -> None:
    """Remove the mark. Raise Transient."""
    async with translate_errors():
        await store.database[COLLECTION].delete_one({"_id": COLLECTION})
