"""Back up the stores, each database as a snapshot in BSON files with a manifest, and restore them into empty ones.

The end offsets of the log are read before the stores: the stores then hold every event before them, and a restored
service completes itself with the later ones from its own topic (see `recovery`). Wrapped keys have their own folder.
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

from observability.health import build_version
from peyvand.endpoints import CommandError
from peyvand.terminal.progress_bars import ReportProgress
from recovery.restore_mark import COLLECTION as MARK
from recovery.restore_mark import new_mark

MANIFEST = "manifest.json"
FORMAT = 2
BATCH = 1_000  # documents
BATCH_BYTES = 8 << 20
RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

Mongo = MongoClient[dict[str, Any]]


class CollectionFile(msgspec.Struct, frozen=True):
    """The file of one collection."""

    documents: int
    bytes: int
    sha256: str


class Database(msgspec.Struct, frozen=True):
    """One database; if it is a service's, also its topic with the end offsets before the backup, by partition."""

    collections: dict[str, CollectionFile]
    made_at: datetime
    service: bool = True
    topic: str = ""
    begins: dict[int, int] = {}


class Manifest(msgspec.Struct, frozen=True):
    """The contents of a backup; written last, so that a folder without a manifest is no backup."""

    format: int
    version: str
    made_at: datetime
    databases: dict[str, Database]

    @property
    def documents(self) -> int:
        """Return how many documents all collections hold."""
        return sum(file.documents for each in self.databases.values() for file in each.collections.values())


def backup(
    url: str,
    folder: Path,
    topics: Mapping[str, str],
    ends: Mapping[str, int],
    progress: ReportProgress,
    *,
    services: bool = True,
) -> Manifest:
    """Write databases (name -> topic, or "") into an empty folder; `ends` are the end offsets, read before.

    Raise CommandError.
    """
    if folder.exists() and any(folder.iterdir()):
        raise CommandError(f"{folder} is not empty", "name a new folder: a backup is never written over another")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    made_at, databases = datetime.now(UTC), {}
    try:
        with Mongo(url, readConcernLevel="majority", tz_aware=True) as client:
            for name, topic in topics.items():
                begins = {int(p.rpartition("/")[2]): n for p, n in ends.items() if p.rpartition("/")[0] == topic}
                collections = _dump_database(client, name, folder, progress)
                databases[name] = Database(collections, datetime.now(UTC), services, topic, begins if topic else {})
    except PyMongoError as e:
        raise CommandError(f"the stores cannot be read: {e}", "is MongoDB up, and may this user read them all?") from e
    manifest = Manifest(FORMAT, build_version(), made_at, databases)
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def _dump_database(client: Mongo, name: str, folder: Path, progress: ReportProgress) -> dict[str, CollectionFile]:
    """Write a snapshot of every collection of a database."""
    database, files = client[name], {}
    if database[MARK].find_one({}) is not None:
        raise CommandError(
            f"{name} was restored and is not complete yet", "wait until `peyvand status` shows it as ready"
        )
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
                        progress(f"{name}.{each}", BATCH, total)
            progress(f"{name}.{each}", documents % BATCH, documents)
            files[each] = CollectionFile(documents, length, digest.hexdigest())
    return files


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a backup. Raise CommandError."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as e:
        raise CommandError(
            f"{folder} holds no complete backup: {e}", "name a folder that `peyvand backup` wrote"
        ) from e
    if manifest.format != FORMAT:
        raise CommandError(
            f"{folder} has format {manifest.format}, this is {FORMAT}", "restore it with the version that wrote it"
        )
    return manifest


def verify(folder: Path, manifest: Manifest, progress: ReportProgress) -> None:
    """Compare every file with its digest. Raise CommandError."""
    for name, database in manifest.databases.items():
        total = sum(each.bytes for each in database.collections.values())
        for collection, file in database.collections.items():
            digest = hashlib.sha256()
            try:
                with _file(folder, name, collection).open("rb") as f:
                    while chunk := f.read(1 << 20):
                        digest.update(chunk)
                        progress(f"checking {name}", len(chunk), total)
            except OSError as e:
                raise CommandError(f"{name}.{collection} cannot be read: {e}", "take another backup") from e
            if digest.hexdigest() != file.sha256:
                raise CommandError(f"{name}.{collection} is damaged: its digest differs", "take another backup")


def restore(url: str, folder: Path, progress: ReportProgress) -> Manifest:
    """Write a verified backup into databases that are empty or half restored; mark those of services as restored.

    Raise CommandError.
    """
    manifest = read_manifest(folder)
    verify(folder, manifest, progress)
    try:
        with Mongo(url, w="majority", journal=True, tz_aware=True) as client:
            for name in manifest.databases:
                _require_empty(client, name)
            for name, database in manifest.databases.items():
                _restore_database(client, name, database, folder, progress)
    except PyMongoError as e:
        raise CommandError(
            f"the stores cannot be written: {e}", "repair MongoDB, then restore again: it starts from the beginning"
        ) from e
    return manifest


def _require_empty(client: Mongo, name: str) -> None:
    """Drop a database that an interrupted restore left. Raise CommandError if it holds other data."""
    if client[name][MARK].find_one({"whole": False}) is not None:
        client.drop_database(name)
        return
    for each in client[name].list_collection_names(filter={"type": "collection"}):
        if client[name][each].find_one({}, {"_id": 1}) is not None:
            raise CommandError(
                f"{name}.{each} is not empty",
                "a backup is never restored over data: end the services, and move away or drop what is there",
            )


def _restore_database(client: Mongo, name: str, database: Database, folder: Path, progress: ReportProgress) -> None:
    mark = new_mark(database.topic, database.begins, database.made_at)
    document = {**msgspec.structs.asdict(mark), "whole": False}
    client[name][MARK].replace_one({"_id": MARK}, document, upsert=True)
    for collection, file in database.collections.items():
        if collection == MARK:
            continue
        target = client[name].get_collection(collection, codec_options=RAW)
        with _file(folder, name, collection).open("rb") as f:
            for batch in _batches(f):
                target.insert_many(batch, ordered=False)
                progress(f"{name}.{collection}", len(batch), file.documents)
    if database.service:
        client[name][MARK].update_one({"_id": MARK}, {"$set": {"whole": True}})
    else:  # no topic holds its data: there is nothing to complete it with
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
        raise CommandError(f"{f.name} is not BSON: {e}", "take another backup") from e
    if batch:
        yield batch


def _file(folder: Path, database: str, collection: str) -> Path:
    return folder / database / f"{collection}.bson"
