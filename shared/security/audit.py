"""Who read or erased an identity, when and why: chains of hashed rows, each stored durably before it is done.

Every process writes a chain of its own, so that none waits for another. Once a day a head names the last row of each
chain, follows the head before it, and is signed (`security.audit_heads`): what it covers can no longer be cut off.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Protocol

import msgspec
from pymongo.asynchronous.database import AsyncDatabase

from base.ids import uuid7
from kernel.group_commit import GroupCommit
from kernel.stores.mongodb import translate_errors

Entry = tuple[str, str, str, datetime]  # actor, subject, purpose, machine time


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of an identity, or one erasure."""

    chain: str  # of a process; chains sort by when they began
    n: int  # in its chain: 1, 2, 3 ... without gaps
    at: datetime  # machine time
    actor: str
    subject: str
    purpose: str
    previous: str  # hash of row n - 1 of the chain
    hash: str = ""  # of the row while this field is empty


class Audit(Protocol):
    """Where readings of identities, and erasures, are recorded."""

    async def append(self, actor: str, subject: str, purpose: str, at: datetime) -> None:
        """Append one row; the identity may be shown or erased once this has returned. Raise Transient."""


class MongoAudit:
    """The chain of this process in MongoDB. Rows that are waiting are written together."""

    def __init__(self, database: AsyncDatabase[dict[str, Any]]) -> None:
        self.rows = database.audit
        self.chain, self.last = uuid7(), None  # type: str, AuditRow | None
        self.writes = GroupCommit(self._write)

    async def append(self, actor: str, subject: str, purpose: str, at: datetime) -> None:
        """Append one row. Raise Transient."""
        await self.writes.put((actor, subject, purpose, at))

    async def _write(self, entries: Sequence[Entry]) -> Sequence[None]:
        rows, last = list[AuditRow](), self.last
        for entry in entries:
            rows.append(last := following(last, self.chain, *entry))
        try:
            async with translate_errors():
                await self.rows.insert_many([_document(row) for row in rows])
        except BaseException:  # how many were stored is not known: another chain goes on
            self.chain, self.last = uuid7(), None
            raise
        self.last = last
        return [None] * len(entries)

    async def all(self) -> list[AuditRow]:
        """Return the rows of all processes, chain by chain. Raise Transient."""
        return [row async for row in stored_rows(self.rows.database)]


class MemoryAudit:
    """A chain in memory, for tests."""

    def __init__(self) -> None:
        self.rows: list[AuditRow] = []

    async def append(self, actor: str, subject: str, purpose: str, at: datetime) -> None:
        """Append one row."""
        self.rows.append(following(self.rows[-1] if self.rows else None, "memory", actor, subject, purpose, at))

    async def all(self) -> list[AuditRow]:
        """Return every row, in order."""
        return list(self.rows)


async def stored_rows(database: AsyncDatabase[dict[str, Any]]) -> AsyncIterator[AuditRow]:
    """Yield the rows of all processes, chain by chain. Raise Transient."""
    async with translate_errors():
        async for document in database.audit.find({}, sort=[("_id", 1)]):
            yield row_of(document)


def first_broken(rows: Iterable[AuditRow]) -> tuple[str, int] | None:
    """Return chain and number of the first row that does not follow from the one before it; None if there is none."""
    last: AuditRow | None = None
    for row in rows:
        if not follows(row, last):
            return row.chain, row.n
        last = row
    return None


def follows(row: AuditRow, last: AuditRow | None) -> bool:
    """Return whether a row is what its process wrote after the last one, or the first one of its chain."""
    before = last if last and last.chain == row.chain else None
    return row == following(before, row.chain, row.actor, row.subject, row.purpose, row.at)


def following(last: AuditRow | None, chain: str, actor: str, subject: str, purpose: str, at: datetime) -> AuditRow:
    """Return the row that follows the last one of a chain."""
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)  # BSON keeps milliseconds
    n, previous = (last.n + 1, last.hash) if last else (1, "")
    row = AuditRow(chain=chain, n=n, at=at, actor=actor, subject=subject, purpose=purpose, previous=previous)
    return msgspec.structs.replace(row, hash=blake2b(msgspec.json.encode(row), digest_size=16).hexdigest())


def row_id(chain: str, n: int) -> str:
    """Return the id of a row; ids sort by chain and number."""
    return f"{chain}/{n:010}"


def row_of(document: dict[str, Any]) -> AuditRow:
    """Return the row in a document. Its id is not part of it: a row under another id is missing under its own."""
    chain, _, n = document["_id"].rpartition("/")
    return AuditRow(chain=chain, n=int(n), **{name: value for name, value in document.items() if name != "_id"})


def _document(row: AuditRow) -> dict[str, Any]:
    values = msgspec.structs.asdict(row)
    return {"_id": row_id(values.pop("chain"), values.pop("n")), **values}
