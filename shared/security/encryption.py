"""What keeps a person private: a key each, wrapped by a master key; blind indexes that find without knowing.

    key_id, key = await blocks.take()                              # one of a block made ahead: no write on the hot path
    private = Private({"person": keyring.live_indexes(...)}, {"key": key_id, "identity": seal(key, plain, about=id)})

Destroying the key makes everything sealed with it unreadable, in backups of the data as well.
"""

import asyncio
import hashlib
import hmac
import os
from collections import deque
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Protocol

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from base.clock import machine_now

NONCE = 12  # bytes; random: a key of one person seals a handful of texts
KEY = 32  # bytes
FORMAT = b"\x01"
BLOCK = 500  # keys made ahead in one write

log = structlog.get_logger(__name__)


class KeySettings(Protocol):
    """The settings that hold keys."""

    @property
    def master_key(self) -> SecretStr:
        """Wraps the key of each person."""

    @property
    def index_key(self) -> SecretStr:
        """Key of the blind indexes."""

    @property
    def key_version(self) -> int:
        """Version of both keys."""

    @property
    def older_keys(self) -> dict[int, tuple[SecretStr, SecretStr]]:
        """Older versions: master key and index key."""


class Sealed(Exception):
    """This cannot be opened: another key, another subject, or somebody changed it."""


class Destroyed(Exception):
    """The key of this person was destroyed, or there never was one."""


class Keyring:
    """The service's own keys: the current version, and older ones that are alive during a rotation."""

    def __init__(
        self, master_key: str, index_key: str, version: int = 1, older: Mapping[int, tuple[str, str]] | None = None
    ) -> None:
        if version in (older or {}) or not all(0 < v < 256 for v in (version, *(older or {}))):
            raise ValueError("each key has a version of its own, from 1 to 255")
        self.version, self._secret = version, master_key
        secrets = {version: (master_key, index_key), **(older or {})}  # the current one comes first
        self._masters = {v: AESGCM(_derived(master, "wrap")) for v, (master, _) in secrets.items()}
        self._indexes = {v: _derived(index, "index") for v, (_, index) in secrets.items()}

    @classmethod
    def of(cls, settings: KeySettings) -> "Keyring":
        """The keyring that the settings describe; they have refused secrets that are missing or weak."""
        return cls(
            settings.master_key.get_secret_value(),
            settings.index_key.get_secret_value(),
            settings.key_version,
            {
                version: (master.get_secret_value(), index.get_secret_value())
                for version, (master, index) in settings.older_keys.items()
            },
        )

    def seal(self, key: bytes, plain: bytes, about: str = "") -> bytes:
        """Encrypts with a person's key (AES-256-GCM); it opens only under the same `about`, say subject and field."""
        nonce = os.urandom(NONCE)
        return FORMAT + nonce + AESGCM(key).encrypt(nonce, plain, about.encode())

    def open(self, key: bytes, sealed: bytes, about: str = "") -> bytes:
        """What was sealed. Raises Sealed."""
        if sealed[:1] != FORMAT:
            raise Sealed("unknown format")
        try:
            return AESGCM(key).decrypt(sealed[1 : 1 + NONCE], sealed[1 + NONCE :], about.encode())
        except (InvalidTag, ValueError) as e:
            raise Sealed("another key, another subject, or changed") from e

    def key_for(self, purpose: str) -> bytes:
        """A key of the service's own, for what is sealed for one purpose and soon over, say a draft in a cookie."""
        return _derived(self._secret, purpose)

    def wrap(self, key: bytes, key_id: str) -> bytes:
        """A person's key under the current master key; it unwraps only under its own id."""
        nonce = os.urandom(NONCE)
        return bytes([self.version]) + nonce + self._masters[self.version].encrypt(nonce, key, key_id.encode())

    def unwrap(self, wrapped: bytes, key_id: str) -> bytes:
        """The key. Raises Sealed."""
        master = self._masters.get(wrapped[0]) if wrapped else None
        if master is None:
            raise Sealed("no master key of this version is alive")
        try:
            return master.decrypt(wrapped[1 : 1 + NONCE], wrapped[1 + NONCE :], key_id.encode())
        except (InvalidTag, ValueError) as e:
            raise Sealed("another master key, another id, or changed") from e

    def blind_index(self, *parts: str) -> str:
        """`v1:` and a keyed hash, the same for the same parts; without the key nobody can try all national IDs."""
        return self._index(self.version, parts)

    def live_indexes(self, *parts: str) -> list[str]:
        """The blind index under every living key, the current one first: kept together, unique in a rotation too."""
        return [self._index(version, parts) for version in self._indexes]

    def _index(self, version: int, parts: tuple[str, ...]) -> str:
        told = b"".join(len(raw).to_bytes(4, "big") + raw for raw in (part.encode() for part in parts))
        return f"v{version}:{hmac.digest(self._indexes[version], told, hashlib.sha256).hex()}"


class KeyBlocks:
    """Keys of persons, wrapped, in a database of their own that no backup of the data holds."""

    def __init__(self, database: AsyncDatabase[dict[str, Any]], keyring: Keyring, block: int = BLOCK) -> None:
        self.keys, self.keyring, self.block = database.keys, keyring, block
        self._ahead: deque[tuple[str, bytes]] = deque()  # stored, and nobody's yet
        self._making = asyncio.Lock()
        self._soon: asyncio.Task[None] | None = None

    async def take(self) -> tuple[str, bytes]:
        """A new person's key and its id; it is stored already, so the caller's own write is the only one."""
        if len(self._ahead) <= self.block // 2 and (self._soon is None or self._soon.done()):
            self._soon = asyncio.create_task(self._make_ahead(len(self._ahead)), name="keys")
        while not self._ahead:
            await self._make(0)
        return self._ahead.popleft()

    async def close(self) -> None:
        """Lets a block that is being made come to its end."""
        if self._soon is not None:
            await self._soon

    async def key_of(self, key_id: str) -> bytes:
        """The key. Raises Destroyed, Sealed."""
        found = await self.keys_of([key_id])
        if key_id not in found:
            raise Destroyed(key_id)
        return found[key_id]

    async def keys_of(self, key_ids: Collection[str]) -> dict[str, bytes]:
        """The keys of many persons at once; one that was destroyed is missing. Raises Sealed."""
        wrapped = await self._wrapped(key_ids)
        return {key_id: self.keyring.unwrap(each, key_id) for key_id, each in wrapped.items()}

    async def destroy(self, key_id: str) -> None:
        """Makes everything under this key unreadable, for ever; only when it happened remains."""
        await self.keys.update_one(
            {"_id": key_id}, {"$unset": {"wrapped": ""}, "$set": {"destroyed": machine_now(), "version": 0}}
        )

    async def rewrap(self) -> int:
        """Wraps every key under the current master key, after a rotation; returns how many were under an older one."""
        moved = 0
        async for d in self.keys.find({"version": {"$nin": [0, self.keyring.version]}}):
            key = self.keyring.unwrap(d["wrapped"], d["_id"])
            done = await self.keys.update_one(
                {"_id": d["_id"], "wrapped": d["wrapped"]},
                {"$set": {"wrapped": self.keyring.wrap(key, d["_id"]), "version": self.keyring.version}},
            )
            moved += done.modified_count
        return moved

    async def _make_ahead(self, had: int) -> None:
        try:
            await self._make(had)
        except PyMongoError as e:  # whoever finds none left tries again, and is told
            log.warning("keys_ahead", trouble=repr(e))

    async def _make(self, had: int) -> None:
        """Makes a block, unless another call did meanwhile; a crash leaves keys of nobody behind, which is harmless."""
        async with self._making:
            if len(self._ahead) > had:
                return
            made = [(os.urandom(16).hex(), os.urandom(KEY)) for _ in range(self.block)]
            await self._store({key_id: self.keyring.wrap(key, key_id) for key_id, key in made}, machine_now())
            self._ahead.extend(made)

    async def _store(self, wrapped: Mapping[str, bytes], at: datetime) -> None:
        await self.keys.insert_many(
            [
                {"_id": key_id, "wrapped": each, "version": self.keyring.version, "made": at}
                for key_id, each in wrapped.items()
            ],
            ordered=False,
        )

    async def _wrapped(self, key_ids: Collection[str]) -> dict[str, bytes]:
        found = self.keys.find({"_id": {"$in": list(key_ids)}, "wrapped": {"$exists": True}}, {"wrapped": 1})
        return {d["_id"]: d["wrapped"] async for d in found}


class MemoryKeyBlocks(KeyBlocks):
    """The same promises without a database, for tests."""

    def __init__(self, keyring: Keyring, block: int = 8) -> None:
        self.keyring, self.block = keyring, block
        self._ahead, self._making, self._soon = deque(), asyncio.Lock(), None
        self.kept: dict[str, bytes] = {}

    async def destroy(self, key_id: str) -> None:
        """Forgets it."""
        self.kept.pop(key_id, None)

    async def rewrap(self) -> int:
        """Wraps every key anew."""
        older = {k: w for k, w in self.kept.items() if w[0] != self.keyring.version}
        for key_id, wrapped in older.items():
            self.kept[key_id] = self.keyring.wrap(self.keyring.unwrap(wrapped, key_id), key_id)
        return len(older)

    async def _store(self, wrapped: Mapping[str, bytes], at: datetime) -> None:
        self.kept.update(wrapped)

    async def _wrapped(self, key_ids: Collection[str]) -> dict[str, bytes]:
        return {key_id: self.kept[key_id] for key_id in key_ids if key_id in self.kept}


def _derived(secret: str, purpose: str) -> bytes:
    """A key of 256 bits for one purpose, from a secret that has enough chance in it (HKDF's first step)."""
    return hmac.digest(f"peyvand/{purpose}/v1".encode(), secret.encode(), hashlib.sha256)
