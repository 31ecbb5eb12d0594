"""That a store comes from a backup, and that no API serves before it is complete (see `completing`)."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec
from pymongo.asynchronous.database import AsyncDatabase

from base.clock import machine_now
from base.tasks import cancel_and_wait
from kernel.errors import Transient
from kernel.stores.mongodb import MongoStore, translate_errors

LOOK = 1.0  # seconds between two looks of an API at the mark
MARK = "restored"  # the collection and its one document


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """That a store comes from a backup."""

    at: datetime
    made_at: datetime  # the backup's
    topic: str  # the service's own; empty where it says nothing
    whole: bool = True  # false while it is being restored, or where that was interrupted
    begins: dict[str, int] = {}  # partition -> where the topic ended before the backup: all before that is in it


def new_mark(topic: str, begins: Mapping[int, int], made_at: datetime) -> Mark:
    """The mark of a store that is being restored now."""
    return Mark(at=machine_now(), made_at=made_at, topic=topic, begins={str(p): n for p, n in begins.items()})


async def mark(database: AsyncDatabase[dict[str, Any]], mark: Mark) -> None:
    """Says that this store was restored."""
    await database[MARK].replace_one({"_id": MARK}, msgspec.structs.asdict(mark), upsert=True)


async def marked(store: MongoStore) -> Mark | None:
    """The mark, where the store is restored and not complete yet. Raises Transient."""
    async with translate_errors():
        found = await store.database[MARK].find_one({"_id": MARK}, {"_id": 0})
    return None if found is None else Mark(**found)


@asynccontextmanager
async def closed_until_complete(app: Any, store: MongoStore) -> AsyncIterator[None]:
    """Keeps an API closed (503, not ready) as long as its store is not complete; part of its lifespan."""

    async def look() -> None:
        try:
            incomplete = await marked(store) is not None
            app.state.closed = "the store was restored from a backup and is not complete yet" if incomplete else ""
        except Transient as e:
            app.state.closed = f"whether the store is complete cannot be asked: {e}"

    async def watch() -> None:
        while app.state.closed:
            await asyncio.sleep(LOOK)
            await look()

    await look()
    watching = asyncio.create_task(watch(), name="completing")
    try:
        yield
    finally:
        await cancel_and_wait(watching)
