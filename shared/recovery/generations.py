"""The generations of a projection: which are built, and which one is served.

A generation is a database and a consumer group of its own, named after a digest of what the projection follows from. A
document in a database that is no generation names the one that is served; a change of it is the flip. Workers of an
earlier version of the code go on in their own generation, which does no harm.
"""

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from kernel.errors import Transient
from kernel.service import Database
from kernel.stores.mongodb import translate_errors
from observability import metrics

if TYPE_CHECKING:
    from kernel.roles.worker import Worker

COLLECTION, POINTER = "generations", "pointer"
POLL = 1.0  # seconds between two looks at whether a generation is built

log = structlog.get_logger(__name__)


class Generations(msgspec.Struct, frozen=True):
    """The names of the databases that are built, and of the one that is served; empty before the first one."""

    served: str = ""
    built: tuple[str, ...] = ()


class Pointer:
    """The document that names the generation that is served."""

    def __init__(self, home: Database) -> None:
        self.home, self.collection = home, home[COLLECTION]

    async def read(self) -> Generations:
        """Return the generations. Raise Transient."""
        async with translate_errors():
            return generations_of(await self.collection.find_one({"_id": POINTER}))

    async def claim(self, name: str) -> Generations:
        """Serve a generation from its beginning if there was never another; return the generations. Raise Transient."""
        return await self._insert({"served": name, "built": [name]})

    async def reserve(self) -> Generations:
        """Let no worker begin the first generation, which is going to be built; return the generations."""
        return await self._insert({"served": "", "built": []})

    async def serve(self, name: str) -> None:
        """Serve a generation that is built. Raise Transient."""
        async with translate_errors():
            await self.collection.update_one(
                {"_id": POINTER}, {"$set": {"served": name}, "$addToSet": {"built": name}}, upsert=True
            )

    async def _insert(self, document: dict[str, Any]) -> Generations:
        async with translate_errors():
            try:
                found = await self.collection.find_one_and_update(
                    {"_id": POINTER}, {"$setOnInsert": document}, upsert=True, return_document=ReturnDocument.AFTER
                )
            except DuplicateKeyError:  # two at once; the other one was first
                found = await self.collection.find_one({"_id": POINTER})
        return generations_of(found)


def generations_of(document: object) -> Generations:
    """Return the generations in a document that may be missing."""
    return msgspec.convert(document or {}, Generations)


async def wait_until_built(worker: "Worker", stop: asyncio.Event, home: Database) -> None:
    """A gate of the worker: return when its generation is built, or `stop` is set. The first one begins at once.

    It would be as exact to consume from the beginning, and ten times slower than a rebuild.
    """
    pointer, name, waiting = Pointer(home), worker.store.database.name, metrics.GENERATION_WAITING
    while not stop.is_set():
        try:
            if name in (await pointer.claim(name)).built:
                worker.incomplete = ""
                waiting.labels(worker.service).set(0)
                return
            worker.incomplete = f"the generation {name} is not built: `peyvand rebuild` of this version builds it"
            waiting.labels(worker.service).set(1)
        except Transient as e:
            log.warning("whether the generation is built is unknown", error=e)
        try:
            await asyncio.wait_for(stop.wait(), POLL)
        except TimeoutError:
            continue
