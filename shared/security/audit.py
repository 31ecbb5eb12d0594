"""Who read or erased an identity, when and why: a chain of hashed rows, each stored durably before it is done."""

from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from typing import Any, Protocol

import msgspec
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError

from kernel.stores.mongodb import translate_errors


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of an identity, or one erasure."""

    n: int  # 1, 2, 3 ... without gaps
    at: datetime  # machine time
    actor: str
    subject: str
    purpose: str
    previous: str  # hash of row n - 1
    hash: str = ""  # of the row while this field is empty


class AuditChain(Protocol):
    """Where readings of identities, and erasures, are recorded."""

    async def append(self, actor: str, subject: str, purpose: str, at: datetime) -> None:
        """Append one row; the identity may be shown or erased once this has returned. Raise Transient."""


class MongoAuditChain:
    """The chain in MongoDB. The number of a row is its key, so two writers cannot follow the same row."""

    def __init__(self, database: AsyncDatabase[dict[str, Any]]) -> None:
        self.rows = database.audit

    async def append(self, actor: str, subject: str, purpose: str, at: datetime) -> None:
        """Append one row. Raise Transient."""
        async with translate_errors():
            while True:
                last = await self.rows.find_one({}, sort=[("_id", -1)])
                row = _next(_row(last) if last else None, actor, subject, purpose, at)
                try:
                    await self.rows.insert_one({"_id": row.n, **_document(row)})
                except DuplicateKeyError:
                    continue  # another writer appended this number: follow its row
                return

    async def all(self) -> list[AuditRow]:
        """Return every row, in order. Raise Transient."""
        async with translate_errors():
            return [_row(document) async for document in self.rows.find({}, sort=[("_id", 1)])]


class MemoryAuditChain:
    """The chain in memory, for tests."""

    def __init__(self) -> None:
        self.rows: list[AuditRow] = []

    async def append(self, actor: str, subject: str, purpose: str, at: datetime) -> None:
        """Append one row."""
        self.rows.append(_next(self.rows[-1] if self.rows else None, actor, subject, purpose, at))

    async def all(self) -> list[AuditRow]:
        """Return every row, in order."""
        return list(self.rows)


def first_broken(rows: Iterable[AuditRow]) -> int:
    """Return the number of the first row that does not follow from the one before it; 0 if the chain is intact."""
    last: AuditRow | None = None
    for row in rows:
        if row != _next(last, row.actor, row.subject, row.purpose, row.at):
            return row.n
        last = row
    return 0


def _next(last: AuditRow | None, actor: str, subject: str, purpose: str, at: datetime) -> AuditRow:
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)  # BSON keeps milliseconds
    n, previous = (last.n + 1, last.hash) if last else (1, "")
    row = AuditRow(n=n, at=at, actor=actor, subject=subject, purpose=purpose, previous=previous)
    return msgspec.structs.replace(row, hash=blake2b(msgspec.json.encode(row), digest_size=16).hexdigest())


def _document(row: AuditRow) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(row).items() if name != "n"}


def _row(document: dict[str, Any]) -> AuditRow:
    return AuditRow(n=document["_id"], **{name: value for name, value in document.items() if name != "_id"})
