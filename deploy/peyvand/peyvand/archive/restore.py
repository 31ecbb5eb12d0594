"""Restore a database from its archive: a base copy, then the changes up to an instant, whole transactions only."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import bson
import msgspec
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pymongo import DeleteOne, MongoClient, ReplaceOne
from pymongo.database import Database
from pymongo.errors import PyMongoError

from peyvand.archive.archiver import heartbeat_of
from peyvand.archive.changes import EXACT, RAW, Documents, UnfitChange, apply
from peyvand.archive.folders import COLLECTION, HEARTBEAT, Base, lines, unpack
from peyvand.archive.frames import Damaged
from peyvand.endpoints import CommandError
from peyvand.terminal.progress_bars import ReportProgress
from recovery.restore_mark import COLLECTION as MARK
from recovery.restore_mark import new_mark

EVENTS = 10_000  # changes that are written together
OTHER_ARCHIVE = "name another folder or an earlier instant, or take its files from another copy of the archive"

Mongo = MongoClient[dict[str, Any]]


class RestorePoint(msgspec.Struct, frozen=True):
    """What one database is restored from, all of it read and authenticated."""

    base: Base
    consistent: Timestamp  # the first time at which base and changes are of one moment
    until: Timestamp  # the last change
    archived_at: datetime  # machine time of the last heartbeat until then
    documents: int
    changes: int


def restore_point(folder: Path, key: AESGCM, instant: datetime | None) -> RestorePoint:
    """Return the newest state of a database that its archive holds, or the last one up to an instant.

    Everything that it consists of is decrypted first. Raise CommandError.
    """
    limit = Timestamp(2**32 - 1 if instant is None else int(instant.timestamp()), 2**32 - 1)
    try:
        for line in reversed(lines(folder, key)):
            for base in reversed(line.bases()):
                if found := _point(base, limit):
                    return found
    except (Damaged, OSError) as e:
        raise CommandError(f"the archive {folder} cannot be read: {e}", OTHER_ARCHIVE) from e
    when = f"of {instant:%Y-%m-%d %H:%M:%S} UTC or earlier" if instant else "that can be restored"
    raise CommandError(f"{folder} holds no state {when}", "name another folder of an archive, or a later instant")


def _point(base: Base, limit: Timestamp) -> RestorePoint | None:
    """Return what a base copy and its changes up to a time lead to; None if that is not of one moment."""
    consistent, documents, changes = None, 0, 0
    for content in base.log.read():
        header, found = unpack(content)
        documents, consistent = documents + len(found), header.get("consistent")
    if consistent is None or consistent > limit:
        return None
    until, archived_at = Timestamp(0, 0), consistent.as_datetime()
    for event in _changes(base, limit):
        until, changes = event["clusterTime"], changes + 1
        archived_at = heartbeat_of(event) or archived_at
    if until < consistent:
        return None
    return RestorePoint(base, consistent, until, archived_at, documents, changes)


def _changes(base: Base, until: Timestamp) -> Iterator[RawBSONDocument]:
    """Yield the changes since a base copy began, up to a time. The events of a transaction have one time."""
    for content in base.line.stream.read(base.first_change()):
        for event in unpack(content)[1]:
            if event["clusterTime"] > until:
                return
            yield event


def restore(url: str, points: Mapping[str, RestorePoint], topics: Mapping[str, str], progress: ReportProgress) -> None:
    """Write databases that are empty or half restored; those in `topics` are marked as restored, with their topic.

    Raise CommandError.
    """
    try:
        with Mongo(url, w="majority", journal=True, tz_aware=True) as client:
            for name in points:
                _require_empty(client, name)
            for name, point in points.items():
                mark = new_mark(topics.get(name, ""), {}, point.archived_at)
                document = {**msgspec.structs.asdict(mark), "whole": False}
                client[name][MARK].replace_one({"_id": MARK}, document, upsert=True)
            for name, point in points.items():
                write(client[name], point, progress)
            with client.start_session() as session, session.start_transaction():  # all of them, or restore again
                for name in points:
                    if name in topics:
                        client[name][MARK].update_one({}, {"$set": {"whole": True}}, session=session)
                    else:  # no topic holds its data: there is nothing to complete it with
                        client[name][MARK].delete_one({}, session=session)
    except PyMongoError as e:
        raise CommandError(
            f"the stores cannot be written: {e}", "repair MongoDB, then restore again: it starts from the beginning"
        ) from e


def _require_empty(client: Mongo, name: str) -> None:
    """Drop a database that an interrupted restore left. Raise CommandError if it holds other data."""
    if client[name][MARK].find_one({"whole": False}) is not None:
        client.drop_database(name)
        return
    for each in client[name].list_collection_names(filter={"type": "collection"}):
        if client[name][each].find_one({}, {"_id": 1}) is not None:
            raise CommandError(
                f"{name}.{each} is not empty",
                "an archive is never restored over data: end the services, and move away or drop what is there",
            )


def write(database: Database[dict[str, Any]], point: RestorePoint, progress: ReportProgress) -> None:
    """Write a state into an empty database, but not the mark of an earlier restore. Raise CommandError, PyMongoError.

    The heartbeat then names no line: the archive begins a new one.
    """
    try:
        for content in point.base.log.read():
            header, documents = unpack(content)
            if documents and header["collection"] not in (MARK, COLLECTION):
                database.get_collection(header["collection"], codec_options=RAW).insert_many(documents, ordered=False)
                progress(f"{database.name}: base", len(documents), point.documents)
        waiting: list[RawBSONDocument] = []
        for event in _changes(point.base, point.until):
            if event["ns"]["coll"] not in (MARK, COLLECTION):
                waiting.append(event)
            if len(waiting) >= EVENTS:
                _write_changes(database, waiting, point.consistent)
                waiting = []
            progress(f"{database.name}: changes", 1, point.changes)
        _write_changes(database, waiting, point.consistent)
    except (Damaged, UnfitChange, OSError) as e:
        raise CommandError(f"the archive of {database.name} cannot be restored: {e}", OTHER_ARCHIVE) from e
    heartbeat = {"_id": HEARTBEAT, "line": "", "at": point.archived_at}
    database[COLLECTION].replace_one({"_id": HEARTBEAT}, heartbeat, upsert=True)


def _write_changes(database: Database[dict[str, Any]], events: list[RawBSONDocument], consistent: Timestamp) -> None:
    """Read the documents that events change, apply the events, and write what has changed, once each."""
    by_collection: dict[str, list[RawBSONDocument]] = {}
    for event in events:
        by_collection.setdefault(event["ns"]["coll"], []).append(event)
    for name, changes in by_collection.items():
        collection = database.get_collection(name, codec_options=EXACT)
        ids = {each["documentKey"].raw: each["documentKey"]["_id"] for each in changes}
        documents: Documents = dict.fromkeys(ids)
        for document in collection.find({"_id": {"$in": list(ids.values())}}):
            documents[bson.encode({"_id": document["_id"]})] = document
        for event in changes:
            apply(documents, event, exact=event["clusterTime"] > consistent)
        collection.bulk_write(
            [
                DeleteOne({"_id": ids[key]}) if each is None else ReplaceOne({"_id": ids[key]}, each, upsert=True)
                for key, each in documents.items()
            ],
            ordered=False,
        )
