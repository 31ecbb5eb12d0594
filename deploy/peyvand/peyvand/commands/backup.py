"""Backups of the stores: each database at one moment, as BSON with a manifest; and back into empty ones.

Where the log ends is written down before the stores are read: what lies before that is in them, what came after a
restored service takes back from its own topic (`recovery.completion`). Wrapped keys lie in a folder of their own.
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from bson import decode_file_iter
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from peyvand.endpoints import Trouble
from peyvand.terminal.progress_bars import Advance
from recovery.restore import MARK, new_mark
from run.server import build

MANIFEST = "manifest.json"
FORMAT = 1
BATCH = 1_000  # documents
BATCH_BYTES = 8 << 20
RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

Client = MongoClient[dict[str, Any]]


class Kept(msgspec.Struct, frozen=True):
    """One collection in a file."""

    documents: int
    bytes: int
    sha256: str


class Database(msgspec.Struct, frozen=True):
    """One database; of a service with its topic and where that ended before the backup, by partition."""

    collections: dict[str, Kept]
    made_at: datetime
    service: bool = True
    topic: str = ""
    begins: dict[int, int] = {}


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds; written last, so that a folder without one is no backup."""

    format: int
    version: str
    made_at: datetime
    databases: dict[str, Database]

    @property
    def documents(self) -> int:
        """In all its collections."""
        return sum(kept.documents for each in self.databases.values() for kept in each.collections.values())


def backup(
    url: str,
    folder: Path,
    topics: Mapping[str, str],
    ends: Mapping[str, int],
    advance: Advance,
    *,
    services: bool = True,
) -> Manifest:
    """Writes these databases (name -> topic, or "") into an empty folder; `ends` is where the log ends, asked before.

    Raises Trouble.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Trouble(f"{folder} is not empty", "name a new folder: a backup is never written over another")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    made_at, found = datetime.now(UTC), {}
    try:
        with Client(url, readConcernLevel="majority", tz_aware=True) as client:
            for name, topic in topics.items():
                begins = {int(p.rpartition("/")[2]): n for p, n in ends.items() if p.rpartition("/")[0] == topic}
                found[name] = Database(
                    _dump(client, name, folder, advance), datetime.now(UTC), services, topic, begins if topic else {}
                )
    except PyMongoError as e:
        raise Trouble(f"the stores cannot be read: {e}", "is MongoDB up, and may this user read them all?") from e
    manifest = Manifest(FORMAT, build(), made_at, found)
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def _dump(client: Client, name: str, folder: Path, advance: Advance) -> dict[str, Kept]:
    """Every collection of a database as it was at one moment."""
    database, kept = client[name], {}
    if database[MARK].find_one({}) is not None:
        raise Trouble(f"{name} was restored and is not complete yet", "wait until `peyvand status` says that it is")
    (folder / name).mkdir()
    collections = sorted(database.list_collection_names(filter={"type": "collection"}))
    with client.start_session(snapshot=True) as session:
        for each in (c for c in collections if not c.startswith("system.")):
            total = database[each].estimated_document_count()
            digest, documents, length = hashlib.sha256(), 0, 0
            with _file(folder, name, each).open("wb") as out:
                found: Any = database.get_collection(each, codec_options=RAW)
                for d in found.find({}, session=session, batch_size=BATCH):
                    out.write(d.raw)
                    digest.update(d.raw)
                    documents, length = documents + 1, length + len(d.raw)
                    if documents % BATCH == 0:
                        advance(f"{name}.{each}", BATCH, total)
            advance(f"{name}.{each}", documents % BATCH, documents)
            kept[each] = Kept(documents, length, digest.hexdigest())
    return kept


def read_manifest(folder: Path) -> Manifest:
    """What a backup says of itself. Raises Trouble."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as e:
        raise Trouble(f"{folder} holds no whole backup: {e}", "name the folder that `peyvand backup` wrote") from e
    if manifest.format != FORMAT:
        raise Trouble(f"{folder} has format {manifest.format}, this is {FORMAT}", "restore it with its own version")
    return manifest


def check(folder: Path, manifest: Manifest, advance: Advance) -> None:
    """Every file is as it was written. Raises Trouble."""
    for name, each in manifest.databases.items():
        for collection, kept in each.collections.items():
            digest = hashlib.sha256()
            try:
                with _file(folder, name, collection).open("rb") as f:
                    while chunk := f.read(1 << 20):
                        digest.update(chunk)
                        advance(f"checking {name}", len(chunk), sum(k.bytes for k in each.collections.values()))
            except OSError as e:
                raise Trouble(f"{name}.{collection} cannot be read: {e}", "take another backup") from e
            if digest.hexdigest() != kept.sha256:
                raise Trouble(
                    f"{name}.{collection} is not what was written (its digest differs)", "take another backup"
                )


def restore(url: str, folder: Path, advance: Advance) -> Manifest:
    """Writes a checked backup into databases that are empty, or half restored; marks those of services.

    Raises Trouble.
    """
    manifest = read_manifest(folder)
    check(folder, manifest, advance)
    try:
        with Client(url, w="majority", journal=True, tz_aware=True) as client:
            for name in manifest.databases:
                _must_be_empty(client, name)
            for name, each in manifest.databases.items():
                _load(client, name, each, folder, advance)
    except PyMongoError as e:
        raise Trouble(f"the stores cannot be written: {e}", "mend MongoDB, then restore again: it starts anew") from e
    return manifest


def _must_be_empty(client: Client, name: str) -> None:
    """Empty, or left by a restore that was interrupted, which is cleared away."""
    half = client[name][MARK].find_one({"whole": False})
    if half is not None:
        client.drop_database(name)
        return
    for each in client[name].list_collection_names(filter={"type": "collection"}):
        if client[name][each].find_one({}, {"_id": 1}) is not None:
            raise Trouble(
                f"{name}.{each} is not empty",
                "a backup is never restored over data: end the services, and move away or drop what is there",
            )


def _load(client: Client, name: str, each: Database, folder: Path, advance: Advance) -> None:
    mark = new_mark(each.topic, each.begins, each.made_at)
    told = {**msgspec.structs.asdict(mark), "whole": False}
    client[name][MARK].replace_one({"_id": MARK}, told, upsert=True)
    for collection, kept in each.collections.items():
        if collection == MARK:
            continue
        into = client[name].get_collection(collection, codec_options=RAW)
        with _file(folder, name, collection).open("rb") as f:
            for batch in _batches(f):
                into.insert_many(batch, ordered=False)
                advance(f"{name}.{collection}", len(batch), kept.documents)
    if each.service:
        client[name][MARK].update_one({"_id": MARK}, {"$set": {"whole": True}})
    else:  # nobody completes it: what it holds nobody says
        client[name][MARK].drop()


def _batches(f: BinaryIO) -> Iterator[list[RawBSONDocument]]:
    batch: list[RawBSONDocument] = []
    length = 0
    try:
        for d in decode_file_iter(f, RAW):
            batch.append(d)
            length += len(d.raw)
            if len(batch) == BATCH or length > BATCH_BYTES:
                yield batch
                batch, length = [], 0
    except BSONError as e:
        raise Trouble(f"{f.name} is not BSON: {e}", "take another backup") from e
    if batch:
        yield batch


def _file(folder: Path, database: str, collection: str) -> Path:
    return folder / database / f"{collection}.bson"
