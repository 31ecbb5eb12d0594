"""What an archive holds of one database: lines, each an unbroken change stream with its base copies.

    FOLDER/DATABASE/LINE/stream/   the change stream
    FOLDER/DATABASE/LINE/BASE/     a base copy, which belongs to the stream from a frame of its own on

The names of lines and base copies are the times at which they began. A new line begins where the stream broke, and
after a restore.
"""

import shutil
import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from peyvand.archive.changes import EXACT, RAW
from peyvand.archive.frames import FrameLog

NAME = "%Y%m%dT%H%M%S%f"
STREAM = "stream"
# The collection with the heartbeat, whose one document names the line: a database is recognised by it.
COLLECTION = HEARTBEAT = "archive"

Header = dict[str, Any]


class Base:
    """A base copy: its first frame has the number of the stream's frame that follows, its last one when it was done."""

    def __init__(self, line: "Line", name: str) -> None:
        self.line, self.name, self.log = line, name, line.log(name)

    @property
    def began(self) -> datetime:
        """Return when it began."""
        return datetime.strptime(self.name, NAME).replace(tzinfo=UTC)

    def first_change(self) -> int:
        """Return the number of the first frame of the stream that may not be in it. Raise Damaged."""
        for content in self.log.read():
            return int(unpack(content)[0]["follows"])
        return 0

    def consistent(self) -> Timestamp | None:
        """Return the time that the stream must reach for this copy to be of one moment; None while it is not done.

        Raise Damaged.
        """
        last = self.log.open()
        return None if last is None else unpack(last)[0].get("consistent")


class Line:
    """An unbroken change stream of a database, with its base copies."""

    def __init__(self, folder: Path, key: AESGCM) -> None:
        self.folder, self._key = folder, key
        self.stream = self.log(STREAM)

    @property
    def name(self) -> str:
        """Return its name, which is the time at which it began."""
        return self.folder.name

    def log(self, name: str) -> FrameLog:
        """Return the log of its stream, or of a base copy."""
        return FrameLog(self.folder / name, f"{self.folder.parent.name}/{self.name}/{name}", self._key)

    def bases(self) -> Sequence[Base]:
        """Return its base copies, the oldest first."""
        names = (each.name for each in self.folder.iterdir() if each.is_dir() and each.name != STREAM)
        return [Base(self, name) for name in sorted(names)]


def lines(folder: Path, key: AESGCM) -> list[Line]:
    """Return the lines of a database, the oldest first."""
    return [Line(each, key) for each in sorted(folder.iterdir()) if each.is_dir()] if folder.is_dir() else []


def name_of(at: datetime) -> str:
    """Return the name of a line or a base copy that begins now."""
    return at.astimezone(UTC).strftime(NAME)


def remove_old(folder: Path, key: AESGCM, keep: timedelta, now: datetime) -> None:
    """Remove base copies that began before `keep`, once a newer one is usable, and the changes before the others.

    What was deleted from the database is then gone from the archive as well.
    """
    every = lines(folder, key)
    bases = [base for line in every for base in line.bases()]
    usable = [base.name for base in bases if base.consistent()]
    for line in every:
        kept = []
        for base in line.bases():
            if base.began < now - keep and usable and base.name < usable[-1]:
                shutil.rmtree(base.log.folder)
            else:
                kept.append(base)
        if kept:
            line.stream.remove_before(min(base.first_change() for base in kept))
        elif line is not every[-1]:
            shutil.rmtree(line.folder)


def pack(header: Header, documents: Iterable[RawBSONDocument] = ()) -> bytes:
    """Return the content of a frame: a header and documents, compressed."""
    return zlib.compress(b"".join([bson.encode(header), *(each.raw for each in documents)]), 1)


def unpack(content: bytes) -> tuple[Header, Sequence[RawBSONDocument]]:
    """Return header and documents of a frame."""
    header, *documents = bson.decode_all(zlib.decompress(content), RAW)
    return bson.decode(header.raw, EXACT), documents
