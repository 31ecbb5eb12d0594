"""Daily heads of the audit chains: signed, each following the one before it; and the verification of both.

A row can be removed from the end of a chain, or a whole chain, without breaking any other row. A head names the last
row of each chain that grew, and the signing key is not in the database.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError

from kernel.stores.mongodb import translate_errors
from security.audit import AuditRow, follows, row_id, row_of, stored_rows
from security.encryption import Keyring

Database = AsyncDatabase[dict[str, Any]]
PURPOSE = "audit heads"  # of the signing key, see `Keyring.key_for`
LAST = "~"  # sorts behind every number
UNSIGNED = timedelta(days=2)  # after which rows are covered by a head: one is signed each day


class End(msgspec.Struct, frozen=True):
    """The last row of a chain."""

    n: int
    hash: str


class AuditHead(msgspec.Struct, frozen=True, kw_only=True):
    """The ends of all chains that grew since the head before it."""

    number: int  # 1, 2, 3 ... without gaps
    at: datetime  # machine time
    ends: Mapping[str, End]  # by chain
    previous: str  # digest of the head before it
    key: str  # public, hexadecimal
    signature: bytes = b""  # of the head while this field is empty

    @property
    def digest(self) -> str:
        """Return what the next head names as `previous`."""
        return blake2b(msgspec.json.encode(self), digest_size=32).hexdigest()

    def signed_by(self, key: Ed25519PrivateKey) -> "AuditHead":
        """Return the head with its signature."""
        return msgspec.structs.replace(self, signature=key.sign(self._signed))

    @property
    def valid(self) -> bool:
        """Return whether the signature is that of the key which the head names."""
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.key)).verify(self.signature, self._signed)
        except (InvalidSignature, ValueError):
            return False
        return True

    @property
    def _signed(self) -> bytes:
        return msgspec.json.encode(msgspec.structs.replace(self, signature=b""))


class Verification(msgspec.Struct, frozen=True):
    """What a verification found. `defects` say where: nothing that follows them is proven."""

    chains: int
    rows: int
    heads: int
    signed_until: datetime | None  # when the last head was signed
    unsigned_rows: int  # since then: they can still be cut off
    defects: tuple[str, ...]
    newest: str = ""  # digest of the last head, to be compared with the log


class ForeignHead(Exception):
    """The newest head is not the service's own: the next one would vouch for whatever it covers."""


def public_key(key: Ed25519PrivateKey) -> str:
    """Return the public key, hexadecimal."""
    return key.public_key().public_bytes_raw().hex()


def signing_key(keyring: Keyring) -> Ed25519PrivateKey:
    """Return the key that signs heads: it changes with the master key."""
    return signing_keys(keyring)[0]


def signing_keys(keyring: Keyring) -> list[Ed25519PrivateKey]:
    """Return the keys whose heads the service follows, the current one first."""
    return [Ed25519PrivateKey.from_private_bytes(each) for each in keyring.keys_for(PURPOSE)]


async def sign_head(
    database: Database, key: Ed25519PrivateKey, at: datetime, former: Collection[Ed25519PrivateKey] = ()
) -> AuditHead | None:
    """Sign a head of all chains that grew, and return it; None if another process did it first.

    Raise ForeignHead, Transient.
    """
    known, last = dict[str, End](), None
    async for last in stored_heads(database):
        known |= last.ends
    if last and not (last.valid and last.key in map(public_key, (key, *former))):
        raise ForeignHead(f"head {last.number}")
    ends = {chain: end async for chain, end in _ends(database) if known.get(chain) != end}
    head = AuditHead(
        number=last.number + 1 if last else 1,
        at=at.replace(microsecond=at.microsecond // 1000 * 1000),
        ends=ends,
        previous=last.digest if last else "",
        key=public_key(key),
    ).signed_by(key)
    document = {"_id": head.number, **msgspec.to_builtins(head, builtin_types=(datetime, bytes))}
    async with translate_errors():
        try:
            await database.audit_heads.insert_one(document)
        except DuplicateKeyError:
            return None
    return head


async def last_head(database: Database) -> AuditHead | None:
    """Return the newest head. Raise Transient."""
    async with translate_errors():
        found = await database.audit_heads.find_one({}, sort=[("_id", -1)])
    return _head(found) if found else None


async def stored_heads(database: Database) -> AsyncIterator[AuditHead]:
    """Yield all heads in order. Raise Transient."""
    async with translate_errors():
        async for document in database.audit_heads.find({}, sort=[("_id", 1)]):
            yield _head(document)


async def verify(database: Database, trusted: str, now: datetime) -> Verification:
    """Verify every row of every chain, and every head; the newest head must be signed by the trusted public key.

    It covers those before it, which former keys may have signed. The newest heads themselves can be removed, together
    with the rows that only they cover: the log of the worker names them all. Raise Transient.
    """
    defects, head, promised = list[str](), None, dict[str, dict[int, tuple[str, int]]]()
    heads = 0
    async for each in stored_heads(database):
        heads += 1
        if each.number != heads or each.previous != (head.digest if head else "") or not each.valid:
            defects.append(f"head {each.number}: does not follow the one before it, or its signature is wrong")
            heads = each.number
        for chain, end in each.ends.items():
            promised.setdefault(chain, {})[end.n] = end.hash, each.number
        head = each
    if head and head.key != trusted:
        defects.append(f"head {head.number}: not signed by the service")
    rows, chains, unsigned, overdue = 0, 0, 0, 0
    last: AuditRow | None = None
    async for row in stored_rows(database):
        rows += 1
        if last is None or last.chain != row.chain:
            chains += 1
            signed = max(promised.get(row.chain, {0: ("", 0)}))
        unsigned += row.n > signed
        overdue += row.n > signed and now - row.at > UNSIGNED
        if not follows(row, last):
            defects.append(f"chain {row.chain}: row {row.n} was changed, or those before it")
        expected = promised.get(row.chain, {}).pop(row.n, None)
        if expected and expected[0] != row.hash:
            defects.append(f"chain {row.chain}: row {row.n} is not the one of head {expected[1]}")
        last = row
    for chain, missing in promised.items():
        defects += [f"chain {chain}: row {n} of head {number} is missing" for n, (_, number) in missing.items()]
    if overdue:
        defects.append(f"{overdue} rows of earlier days are covered by no head")
    return Verification(
        chains, rows, heads, head.at if head else None, unsigned, tuple(defects), head.digest if head else ""
    )


async def _ends(database: Database) -> AsyncIterator[tuple[str, End]]:
    """Yield the last row of each chain; two reads of an index for each, whatever their lengths."""
    async with translate_errors():
        after = ""
        while first := await database.audit.find_one({"_id": {"$gt": after}}, {"_id": 1}, sort=[("_id", 1)]):
            chain = first["_id"].rpartition("/")[0]
            after = row_id(chain, 0)[:-10] + LAST
            last = await database.audit.find_one({"_id": {"$lt": after}}, sort=[("_id", -1)])
            assert last is not None
            row = row_of(last)
            yield chain, End(row.n, row.hash)


def _head(document: Mapping[str, Any]) -> AuditHead:
    values = {"number": document["_id"], **document}
    return msgspec.convert(values, AuditHead)
