"""Archive one database: base copies, the change stream without a gap, and a heartbeat that shows how far it is.

The stream is stored before, during and after each base copy, which reads the collections one after the other while
they change. Nothing is read from a snapshot, so that a copy may take as long as it takes.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import structlog
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pymongo import AsyncMongoClient
from pymongo.asynchronous.change_stream import AsyncChangeStream
from pymongo.errors import OperationFailure, PyMongoError

from base.clock import machine_now
from base.tasks import until_one_ends
from peyvand.archive.changes import OPERATIONS, RAW, whole
from peyvand.archive.folders import (
    COLLECTION,
    HEARTBEAT,
    Base,
    Header,
    Line,
    lines,
    name_of,
    pack,
    remove_old,
    unpack,
)
from peyvand.archive.frames import Damaged

BEAT = 1.0  # seconds between two heartbeats
COLLECT = 0.5  # seconds between two looks at the stream: waiting for each event costs as much as writing it
EVENTS = 5_000  # after which a frame is stored at once
BATCH_BYTES = 4 << 20  # of a base copy in one frame
RETRY = 2.0  # seconds after a failure
LOOK = 60.0  # seconds between two checks whether a base copy is due
# The oplog no longer holds, or never held, what the stream needs.
HISTORY_LOST = frozenset({136, 222, 260, 280, 286})

log = structlog.get_logger(__name__)


class UnknownDatabase(Exception):
    """The database is not the one that the archive knows: it is empty, or another one."""


class StreamEnded(Exception):
    """The change stream cannot go on, or holds what cannot be restored: a new line is due."""


class Archiver:
    """Archives one database into a folder of its own."""

    def __init__(
        self,
        client: AsyncMongoClient[dict[str, Any]],
        database: str,
        folder: Path,
        key: AESGCM,
        *,
        base_every: timedelta = timedelta(days=7),
        keep: timedelta = timedelta(days=30),
    ) -> None:
        self.client, self.database, self.folder, self.key = client, client[database], folder / database, key
        self.base_every, self.keep = base_every, keep
        self.consistent: Timestamp | None = None  # what the stream must reach for the newest base copy to be usable
        self.archived_at = machine_now()  # of the last heartbeat in the archive; the start, if there is none
        self.reached = Timestamp(0, 0)  # cluster time of the last event in the archive
        self.beat = self.archived_at  # the last heartbeat in the archive, whether it can be restored or not
        self.problem = ""
        self._ended = False

    @property
    def usable(self) -> bool:
        """Return whether there is a base copy that the stream has passed."""
        return self.consistent is not None and self.reached >= self.consistent

    @property
    def lag(self) -> float:
        """Return the age of the newest instant that can be restored, in seconds."""
        return (machine_now() - self.archived_at).total_seconds()

    async def run(self) -> None:
        """Archive until cancelled."""
        while True:
            try:
                line = await self._line()
                last = await asyncio.to_thread(line.stream.open)
                if last is None:
                    raise StreamEnded("the line has no beginning")
                position, _ = unpack(last)
                self.reached, self.beat = position["time"], position["beat"]
                if not await self.database[COLLECTION].find_one({"_id": HEARTBEAT, "at": {"$gte": self.beat}}):
                    raise StreamEnded("the database is older than its archive: it was set back, as by a snapshot")
                await until_one_ends(self._follow(line, position), self._beat(line), self._copy_when_due(line))
            except StreamEnded as e:
                self.problem, self._ended = self._failure(e), True
                log.error("stream ended: a new line begins", service=self.database.name, error=e)
            except (UnknownDatabase, Damaged, PyMongoError, OSError) as e:
                self.problem = self._failure(e)
                log.error("archiving failed", service=self.database.name, error=e)
            await asyncio.sleep(RETRY)

    def _failure(self, error: BaseException) -> str:
        return f"{self.database.name} is not archived: {error}"

    async def _line(self) -> Line:
        """Return the line to go on with; begin a new one if there is none, or the database is not at its end.

        Raise UnknownDatabase, Damaged, PyMongoError, OSError.
        """
        found = await asyncio.to_thread(lines, self.folder, self.key)
        heartbeat = await self.database[COLLECTION].find_one({"_id": HEARTBEAT})
        if found and heartbeat is None:
            raise UnknownDatabase(
                f"it is not the database in {self.folder}: restore it (`peyvand restore`), or move that folder away"
            )
        if found and heartbeat and heartbeat["line"] == found[-1].name and not self._ended:
            return found[-1]
        now = machine_now()
        names = [
            name_of(now),
            *(f"{each.name}0" for each in found[-1:]),
        ]  # the last one, also if the clock was set back
        line = Line(self.folder / max(names), self.key)
        begins = (await self.client.admin.command("ping"))["operationTime"]
        beat = {"$set": {"line": line.name, "at": now}}
        await self.database[COLLECTION].update_one({"_id": HEARTBEAT}, beat, upsert=True)
        await asyncio.to_thread(line.stream.open)
        await asyncio.to_thread(line.stream.append, pack({"token": None, "time": begins, "beat": now}))
        self._ended = False
        return line

    async def _beat(self, line: Line) -> None:
        """Write the heartbeat every second. Raise UnknownDatabase if it is gone, or another archive writes its own."""
        while True:
            beat = {"$set": {"at": machine_now()}}
            done = await self.database[COLLECTION].update_one({"_id": HEARTBEAT, "line": line.name}, beat)
            if not done.matched_count:
                raise UnknownDatabase("its heartbeat was removed, or another archive writes one")
            await asyncio.sleep(BEAT)

    async def _follow(self, line: Line, position: Header) -> None:
        """Store the change stream from the line's end on. Raise StreamEnded, Damaged, PyMongoError, OSError."""
        since: dict[str, Any] = (
            {"resume_after": position["token"]} if position["token"] else {"start_at_operation_time": position["time"]}
        )
        waiting: Sequence[RawBSONDocument] = ()
        try:
            database = self.database.with_options(codec_options=RAW)
            async with await database.watch(**since, max_await_time_ms=1) as stream:
                while True:
                    collected = [*waiting, *await _collect(stream)]
                    events, waiting = whole(collected, stream.resume_token or {})
                    if events:
                        await self._store(line, events, events[-1]["_id"] if waiting else stream.resume_token)
        except OperationFailure as e:
            if e.code in HISTORY_LOST:
                raise StreamEnded("the oplog no longer holds what follows") from e
            raise

    async def _store(self, line: Line, events: Sequence[RawBSONDocument], token: Any) -> None:
        if other := {each["operationType"] for each in events} - OPERATIONS:
            raise StreamEnded(f"a collection was changed as a whole ({', '.join(sorted(other))})")
        time = events[-1]["clusterTime"]
        beats = [at for each in events if (at := heartbeat_of(each))]
        beat = beats[-1] if beats else self.beat
        await asyncio.to_thread(line.stream.append, pack({"token": token, "time": time, "beat": beat}, events))
        self.reached, self.beat, self.problem = time, beat, ""
        if beats and self.usable:
            self.archived_at = beat

    async def _copy_when_due(self, line: Line) -> None:
        """Make a base copy of the line when one is due, or was interrupted. Raise Damaged, PyMongoError, OSError."""
        while True:
            bases = await asyncio.to_thread(line.bases)
            due = not bases or machine_now() - bases[-1].began >= self.base_every
            newest = Base(line, name_of(machine_now())) if due else bases[-1]
            self.consistent = await asyncio.to_thread(newest.consistent) or await self._copy(newest)
            await asyncio.sleep(LOOK)
            if self.usable:
                await asyncio.to_thread(remove_old, self.folder, self.key, self.keep, machine_now())

    async def _copy(self, base: Base) -> Timestamp:
        """Copy what is not copied yet, by id; return the time that the stream must reach for it to be consistent."""
        last = await asyncio.to_thread(base.log.open)
        if last is None:  # what the stream holds before is older than what is read from now on
            first = pack({"follows": await asyncio.to_thread(base.line.stream.begin_file), "collection": ""})
            await asyncio.to_thread(base.log.append, first)
            last = first
        position, documents = unpack(last)
        names = await self.database.list_collection_names(filter={"type": "collection"})
        async with self.client.start_session() as session:
            session.advance_operation_time(self.reached)
            for name in sorted(each for each in names if not each.startswith("system.")):
                if name > position["collection"]:
                    await self._copy_collection(base, name, None, session)
                elif name == position["collection"] and documents:
                    await self._copy_collection(base, name, documents[-1]["_id"], session)
            await self.client.admin.command("ping", session=session)
            done = session.operation_time
        assert done is not None
        await asyncio.to_thread(base.log.append, pack({"collection": "", "consistent": done}))
        return done

    async def _copy_collection(self, base: Base, name: str, after: Any, session: Any) -> None:
        collection: Any = self.database.get_collection(name, codec_options=RAW)
        cursor = collection.find({}, session=session, batch_size=1_000).hint([("_id", 1)])
        if after is not None:
            cursor = cursor.min([("_id", after)])
        batch: list[RawBSONDocument] = []
        length = 0
        async for document in cursor:
            if after is not None and document["_id"] == after:
                continue  # `min` includes it
            batch.append(document)
            length += len(document.raw)
            if length > BATCH_BYTES:
                await asyncio.to_thread(base.log.append, pack({"collection": name}, batch))
                batch, length = [], 0
        if batch:
            await asyncio.to_thread(base.log.append, pack({"collection": name}, batch))


def heartbeat_of(event: Mapping[str, Any]) -> datetime | None:
    """Return the time of a heartbeat; None if the event is another one."""
    if event["ns"]["coll"] != COLLECTION:
        return None
    changed = event["updateDescription"]["updatedFields"] if event["operationType"] == "update" else {}
    at: datetime | None = (event.get("fullDocument") or changed).get("at")
    return at


async def _collect(stream: AsyncChangeStream[RawBSONDocument]) -> list[RawBSONDocument]:
    """Return the events that have arrived, after a pause unless there are many.

    Where others go on arriving, it ends after as long as the pause: a heartbeat among them is not stored before.
    """
    until, events = monotonic() + COLLECT, list[RawBSONDocument]()
    while len(events) < EVENTS and monotonic() < until and (event := await stream.try_next()) is not None:
        events.append(event)
    await asyncio.sleep(0 if len(events) == EVENTS else COLLECT)
    return events
