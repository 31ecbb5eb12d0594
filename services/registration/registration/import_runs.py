"""Imports on a page: a file that was checked waits, sealed, until its rows are registered; then only counts are kept.

A run has documents of its own, beside the records: `run/{scope}/{id}` with counts and no personal data, its rows in
sealed parts, and its refused rows as a sealed file. A part is replaced by the ids of those whom it registered. What is
sealed is deleted when it is not needed, and a day or a week later in any case, also if the run stands still; until then
`kept/{id}` names the run, so that its deletion reads no other.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from contracts.commands import Refused
from contracts.subjects import partition_of
from kernel.commands import CommandMetadata
from kernel.service import Database
from kernel.stores.mongodb import translate_errors
from programme import reference
from security.encryption import Keyring, Sealed

PART = 200  # rows in a part; each is one document, and one or a few transactions
PIECE = 4 << 20  # bytes of a file in one document; MongoDB takes 16 MiB
UNUSED = timedelta(days=1)  # after which the rows of a file that was only checked are deleted
KEPT = timedelta(days=7)  # for which refused rows, the list for the print sheet and a run that stands still are kept
LISTED = 50  # runs in the history of a province
ERRORS = 200  # of a run that are kept, to be shown

Answers = Mapping[str, str]
RUNNING = ("rehearsing", "running")
ENDED = ("done", "refused", "expired")


class RowError(msgspec.Struct, frozen=True):
    """Why a row is refused, without what is written in it."""

    row: int
    field: str
    code: str
    details: dict[str, Any] = {}


class Registered(msgspec.Struct, frozen=True, array_like=True):
    """Who was registered by a row; `code` is the number of the tracking code that was issued."""

    row: int
    subject: str
    code: int


class Part(msgspec.Struct, frozen=True):
    """What became of the rows of a part."""

    done: list[Registered]
    already: int = 0
    late: list[RowError] = []  # rows that were accepted by the check and are refused now
    last_at: datetime | None = None  # of the last registration, after which those of the next part come


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One file of one officer: how far it is, and how many rows became what."""

    id: str
    scope: str  # of the officer: a province, or "" for the whole country
    round: str
    actor: str
    at: datetime  # machine time
    changed_at: datetime
    digest: bytes  # keyed, of the file
    workbook: bool
    rows: int
    ready: int
    known: int  # people who were registered already when the file was checked
    wrong: int
    places: dict[str, int]  # rows that are ready, by province
    reasons: dict[str, int]  # wrong values by field
    errors: list[RowError]
    parts: int
    state: str = "storing"  # storing, checked, rehearsing, running, done, refused, expired
    mode: str = ""
    next: int = 0  # part
    registered: int = 0
    already: int = 0
    late: int = 0
    last_at: datetime | None = None  # of the last registration
    version: int = 0

    @property
    def key(self) -> str:
        """Return the id of its document."""
        return _key(self.scope, self.id)

    @property
    def handled(self) -> int:
        """Return how many rows are registered or refused by now."""
        return self.registered + self.already + self.late

    def metadata(self, row: int) -> CommandMetadata:
        """Return the metadata of the registration of a row: repeated, it registers no one twice."""
        return CommandMetadata(actor=self.actor, idempotency_key=f"import {self.id} {row}", fingerprint=self.digest)


class Documents(Protocol):
    """A collection of documents by id. Every method raises Transient."""

    async def get(self, keys: Collection[str]) -> list[dict[str, Any]]:
        """Return the documents with these ids."""

    async def find(self, prefix: str, limit: int = 0) -> list[dict[str, Any]]:
        """Return the documents whose id begins so, the greatest id first."""

    async def put(self, key: str, document: Mapping[str, Any]) -> None:
        """Store a document, in place of what has its id."""

    async def swap(self, key: str, version: int, document: Mapping[str, Any]) -> bool:
        """Replace a document if it has this version; return whether it had."""

    async def delete(self, prefix: str) -> None:
        """Delete the documents whose id begins so."""


class MongoDocuments:
    """Documents in the collection `imports`."""

    def __init__(self, database: Database) -> None:
        self.collection = database.imports

    async def get(self, keys: Collection[str]) -> list[dict[str, Any]]:
        async with translate_errors():
            return await self.collection.find({"_id": {"$in": list(keys)}}).to_list()

    async def find(self, prefix: str, limit: int = 0) -> list[dict[str, Any]]:
        async with translate_errors():
            return await self.collection.find(_under(prefix), sort=[("_id", -1)], limit=limit).to_list()

    async def put(self, key: str, document: Mapping[str, Any]) -> None:
        async with translate_errors():
            await self.collection.replace_one({"_id": key}, dict(document), upsert=True)

    async def swap(self, key: str, version: int, document: Mapping[str, Any]) -> bool:
        async with translate_errors():
            done = await self.collection.replace_one({"_id": key, "version": version}, dict(document))
        return done.matched_count == 1

    async def delete(self, prefix: str) -> None:
        async with translate_errors():
            await self.collection.delete_many(_under(prefix))


class MemoryDocuments:
    """Documents in memory, for tests."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}

    async def get(self, keys: Collection[str]) -> list[dict[str, Any]]:
        return [self.documents[key] for key in keys if key in self.documents]

    async def find(self, prefix: str, limit: int = 0) -> list[dict[str, Any]]:
        found = sorted((key for key in self.documents if key.startswith(prefix)), reverse=True)
        return [self.documents[key] for key in islice(found, limit or None)]

    async def put(self, key: str, document: Mapping[str, Any]) -> None:
        self.documents[key] = dict(document)

    async def swap(self, key: str, version: int, document: Mapping[str, Any]) -> bool:
        if self.documents.get(key, {}).get("version") != version:
            return False
        self.documents[key] = dict(document)
        return True

    async def delete(self, prefix: str) -> None:
        self.documents = {key: each for key, each in self.documents.items() if not key.startswith(prefix)}


class ImportRuns:
    """The imports of all officers."""

    def __init__(self, documents: Documents, keyring: Keyring) -> None:
        self.documents, self.keyring = documents, keyring

    async def add(self, run: Run, rows: Sequence[tuple[int, msgspec.Raw]], refused: bytes) -> Run:
        """Store a file that was checked: its rows that are ready, in their order, and the file of the others."""
        run = replace(run, parts=len(range(0, len(rows), PART)))
        await self.documents.put(run.key, _document(run))
        await self.documents.put(f"kept/{run.id}", {"run": run.key})
        for n in range(run.parts):
            content = msgspec.json.encode(rows[n * PART : (n + 1) * PART])
            await self.documents.put(_part(run, n), {"sealed": self._seal(_part(run, n), content)})
        for n, start in enumerate(range(0, len(refused), PIECE)):
            key = f"refused/{run.id}/{n:05}"
            await self.documents.put(key, {"sealed": self._seal(key, refused[start : start + PIECE]), "key": key})
        return await self.changed(run, state="checked")

    async def find(self, scope: str, run_id: str) -> Run:
        """Return an import of exactly this scope; nationwide, of any province. Raise Refused: not_found."""
        scopes = [scope] if scope else ["", *reference.provinces()]
        found = await self.documents.get([_key(each, run_id) for each in scopes])
        if not found:
            raise Refused("not_found")
        return _run(found[0])

    async def listed(self, scope: str) -> list[Run]:
        """Return the last imports of a scope, the latest first."""
        runs = [_run(each) for each in await self.documents.find(_key(scope, ""), LISTED)]
        return [run for run in runs if run.state != "storing"]

    async def start(self, run: Run, mode: str, at: datetime) -> Run:
        """Let the worker register the rows; an import that was started stays as it is.

        Raise Refused: import_has_errors, import_expired.
        """
        if run.state == "expired":
            raise Refused("import_expired")
        if run.state != "checked":
            return run
        if mode == "whole" and run.wrong:
            raise Refused("import_has_errors", field="mode")
        await self.documents.put(f"running/{run.id}", {"run": run.key})  # first: without it no worker finds the run
        return await self.changed(run, state="rehearsing" if mode == "whole" else "running", mode=mode, changed_at=at)

    async def running(self, partitions: Collection[int]) -> list[Run]:
        """Return the imports that the worker of these partitions is to go on with, the oldest first."""
        runs = []
        for each in reversed(await self.documents.find("running/")):
            for found in await self.documents.get([each["run"]]):
                run = _run(found)
                if partition_of(run.id) in partitions and run.state in RUNNING:
                    runs.append(run)
        return runs

    async def rows(self, run: Run) -> Part | list[tuple[int, Answers]]:
        """Return the rows of the next part, or what became of them if that is stored already."""
        key = _part(run, run.next)
        [found] = await self.documents.get([key])
        if "part" in found:
            return msgspec.convert(found["part"], Part)
        return _rows(self._open(key, found["sealed"]))

    async def store_part(self, run: Run, part: Part) -> None:
        """Keep what became of the rows of the next part, in their place."""
        await self.documents.put(_part(run, run.next), {"part": msgspec.to_builtins(part)})

    async def changed(self, run: Run, **values: Any) -> Run:
        """Return the run with other values, or as another process has left it."""
        after = replace(run, version=run.version + 1, **values)
        if await self.documents.swap(run.key, run.version, _document(after)):
            return after
        return await self.find(run.scope, run.id)

    async def finished(self, run: Run) -> None:
        """Let no worker find a run any more; the rows of one that was refused cannot be started again."""
        await self.documents.delete(f"running/{run.id}")
        if run.state == "refused":
            await self.documents.delete(f"rows/{run.id}")

    async def registered(self, run: Run) -> list[Registered]:
        """Return who was registered, by row; no one after KEPT."""
        parts = await self.documents.find(f"rows/{run.id}/")
        return [each for found in reversed(parts) for each in msgspec.convert(found.get("part", _NO_PART), Part).done]

    async def refused(self, run: Run) -> bytes:
        """Return the file of the rows that the check refused. Raise Refused: not_found."""
        pieces = await self.documents.find(f"refused/{run.id}/")
        if not pieces:
            raise Refused("not_found")
        return b"".join(self._open(each["key"], each["sealed"]) for each in reversed(pieces))

    async def purge(self, now: datetime) -> None:
        """Delete what is kept for a time only: once the run is marked, so that none is started meanwhile."""
        for each in await self.documents.find("kept/"):
            run = _run((await self.documents.get([each["run"]]))[0])
            if now - run.changed_at < (UNUSED if run.state in ("storing", "checked") else KEPT):
                continue
            if run.state not in ENDED and (await self.changed(run, state="expired")).state != "expired":
                continue
            for kind in ("rows", "refused", "running", "kept"):
                await self.documents.delete(f"{kind}/{run.id}")

    def _seal(self, key: str, content: bytes) -> bytes:
        return self.keyring.seal(self.keyring.key_for("imports"), content, key)

    def _open(self, key: str, sealed: bytes) -> bytes:
        for secret in self.keyring.keys_for("imports"):
            try:
                return self.keyring.open(secret, sealed, key)
            except Sealed:
                continue
        raise Sealed("no valid key opens this part of an import")


_rows = msgspec.json.Decoder(list[tuple[int, Answers]]).decode
_NO_PART: dict[str, Any] = {"done": []}


def _key(scope: str, run_id: str) -> str:
    return f"run/{scope.replace('/', '.')}/{run_id}"  # so that no scope begins like another


def _part(run: Run, n: int) -> str:
    return f"rows/{run.id}/{n:05}"


def _under(prefix: str) -> dict[str, Any]:
    return {"_id": {"$gte": prefix, "$lt": prefix + "\uffff"}}


def _document(run: Run) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(run, builtin_types=(datetime, bytes))
    return document


def _run(document: Mapping[str, Any]) -> Run:
    return msgspec.convert({k: v for k, v in document.items() if k != "_id"}, Run, builtin_types=(datetime, bytes))
