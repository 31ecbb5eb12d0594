"""Who read an identity, when and why: rows in a chain of hashes, each written durably before the answer leaves."""

from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from typing import Any, Protocol

import msgspec
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError

from kernel.stores.mongodb import translate_errors


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of an identity."""

    n: int  # 1, 2, 3, without holes
    at: datetime  # machine time
    actor: str
    subject: str
    purpose: str
    previous: str  # hash of row n - 1
    hash: str = ""


class Audit(Protocol):
    """Where readings are written down."""

    async def read_identity(self, actor: str, subject: str, purpose: str, at: datetime) -> None:
        """Writes one row; when this returns it is safe, and only then may the identity be shown. Raises Transient."""


class MongoAudit:
    """The audit in MongoDB: the row's number is its key, so two writers cannot follow the same row."""

    def __init__(self, database: AsyncDatabase[dict[str, Any]]) -> None:
        self.rows = database.audit

    async def read_identity(self, actor: str, subject: str, purpose: str, at: datetime) -> None:
        """Writes one row."""
        async with translate_errors():
            while True:
                last = await self.rows.find_one({}, sort=[("_id", -1)])
                row = _next(_row(last) if last else None, actor, subject, purpose, at)
                try:
                    await self.rows.insert_one({"_id": row.n, **_document(row)})
                except DuplicateKeyError:
                    continue  # another row came first: follow that one
                return

    async def all(self) -> list[Row]:
        """Every row, in order."""
        async with translate_errors():
            return [_row(d) async for d in self.rows.find({}, sort=[("_id", 1)])]


class MemoryAudit:
    """The audit in memory."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    async def read_identity(self, actor: str, subject: str, purpose: str, at: datetime) -> None:
        """Writes one row."""
        self.rows.append(_next(self.rows[-1] if self.rows else None, actor, subject, purpose, at))


def broken(rows: Iterable[Row]) -> int:
    """The number of the first row that does not follow from the one before it; 0 where the chain holds."""
    last: Row | None = None
    for row in rows:
        if row != _next(last, row.actor, row.subject, row.purpose, row.at):
            return row.n
        last = row
    return 0


def _next(last: Row | None, actor: str, subject: str, purpose: str, at: datetime) -> Row:
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)  # BSON keeps ms
    n, previous = (last.n + 1, last.hash) if last else (1, "")
    row = Row(n=n, at=at, actor=actor, subject=subject, purpose=purpose, previous=previous)
    return msgspec.structs.replace(row, hash=blake2b(msgspec.json.encode(row), digest_size=16).hexdigest())


def _document(row: Row) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(row).items() if name != "n"}


def _row(d: dict[str, Any]) -> Row:
    return Row(n=d["_id"], **{name: value for name, value in d.items() if name != "_id"})
