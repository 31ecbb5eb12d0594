"""Encryption of personal data: one key per person, wrapped by a master key, and blind indexes for lookups.

    key_id, key = await blocks.take()                    # from a block stored in advance: no write on the hot path
    sealed = keyring.seal(key, plain, about=subject)
    private = Private({"person": keyring.live_indexes(...)}, {"key": key_id, "identity": sealed})

Destroying the key of a person makes everything sealed with it unreadable, in backups of the data too.
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
from pymongo import UpdateOne
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from base.clock import machine_now
from base.tasks import TimeSlices

NONCE = 12  # bytes; random, since the key of one person seals only a few texts
KEY = 32  # bytes
FORMAT = b"\x01"
LAST_VERSION = 255  # of the keys: the first byte of a wrapped key names it
BLOCK = 500  # keys created in advance in one write

log = structlog.get_logger(__name__)


class KeySettings(Protocol):
    """The settings that hold keys."""

    @property
    def master_key(self) -> SecretStr:
        """Return the secret that wraps the key of each person."""

    @property
    def index_key(self) -> SecretStr:
        """Return the secret of the blind indexes."""

    @property
    def key_version(self) -> int:
        """Return the version of both, 1 to 255."""

    @property
    def older_keys(self) -> Mapping[int, tuple[SecretStr, ...]]:
        """Return older versions: master key, index key, and keys of other uses."""


class Sealed(Exception):
    """A sealed text cannot be opened: wrong key, wrong `about`, or modified."""


class Keyring:
    """The keys of the service: the current version, and older ones that stay valid during a rotation."""

    def __init__(
        self, master_key: str, index_key: str, version: int = 1, older: Mapping[int, tuple[str, str]] | None = None
    ) -> None:
        if version in (older or {}) or not all(0 < v <= LAST_VERSION for v in (version, *(older or {}))):
            raise ValueError("each key has a version of its own, from 1 to 255")
        self.version = version
        secrets = {version: (master_key, index_key), **(older or {})}  # the current one first
        self._secrets = [master for master, _ in secrets.values()]
        self._masters = {v: AESGCM(_derived(master, "wrap")) for v, (master, _) in secrets.items()}
        self._indexes = {v: _derived(index, "index") for v, (_, index) in secrets.items()}

    @classmethod
    def of(cls, settings: KeySettings) -> "Keyring":
        """Return the keyring of validated settings."""
        return cls(
            settings.master_key.get_secret_value(),
            settings.index_key.get_secret_value(),
            settings.key_version,
            {
                version: (master.get_secret_value(), index.get_secret_value())
                for version, (master, index, *_) in settings.older_keys.items()
            },
        )

    @property
    def versions(self) -> tuple[int, ...]:
        """Return the versions of all valid keys, the current one first."""
        return tuple(self._indexes)

    @property
    def rotating(self) -> bool:
        """Return whether other keys than the current ones are configured."""
        return len(self._masters) > 1

    def seal(self, key: bytes, plain: bytes, about: str = "") -> bytes:
        """Encrypt with the key of a person (AES-256-GCM), bound to `about`, for example subject and field."""
        nonce = os.urandom(NONCE)
        return FORMAT + nonce + AESGCM(key).encrypt(nonce, plain, about.encode())

    def open(self, key: bytes, sealed: bytes, about: str = "") -> bytes:
        """Return the plain text. Raise Sealed."""
        if sealed[:1] != FORMAT:
            raise Sealed("unknown format")
        try:
            return AESGCM(key).decrypt(sealed[1 : 1 + NONCE], sealed[1 + NONCE :], about.encode())
        except (InvalidTag, ValueError) as e:
            raise Sealed("wrong key, wrong subject, or modified") from e

    def key_for(self, purpose: str) -> bytes:
        """Return a key for one purpose of the service, for short-lived texts such as a draft in a cookie."""
        return self.keys_for(purpose)[0]

    def keys_for(self, purpose: str) -> list[bytes]:
        """Return the keys for one purpose of all valid versions, the current one first."""
        return [_derived(secret, purpose) for secret in self._secrets]

    def wrap(self, key: bytes, key_id: str) -> bytes:
        """Encrypt the key of a person with the current master key, bound to its id."""
        nonce = os.urandom(NONCE)
        return bytes([self.version]) + nonce + self._masters[self.version].encrypt(nonce, key, key_id.encode())

    def unwrap(self, wrapped: bytes, key_id: str) -> bytes:
        """Return the key. Raise Sealed."""
        master = self._masters.get(wrapped[0]) if wrapped else None
        if master is None:
            raise Sealed("no valid master key has this version")
        try:
            return master.decrypt(wrapped[1 : 1 + NONCE], wrapped[1 + NONCE :], key_id.encode())
        except (InvalidTag, ValueError) as e:
            raise Sealed("wrong master key, wrong id, or modified") from e

    def live_indexes(self, *parts: str) -> list[str]:
        """Return the blind index under every valid key, the current one first: `v1:` and a keyed hash of the parts.

        Without the key, trying all national IDs finds nothing. Storing all keeps the value unique during a rotation.
        """
        return [self._index(version, parts) for version in self._indexes]

    def current_index(self, *parts: str) -> str:
        """Return the blind index under the current key alone: unique where every process knows this key."""
        return self._index(self.version, parts)

    def _index(self, version: int, parts: tuple[str, ...]) -> str:
        message = b"".join(len(raw).to_bytes(4, "big") + raw for raw in (part.encode() for part in parts))
        return f"v{version}:{hmac.digest(self._indexes[version], message, hashlib.sha256).hex()}"


class KeyBlocks:
    """The wrapped keys of persons, in a database of their own that backups of the data do not contain."""

    def __init__(self, database: AsyncDatabase[dict[str, Any]], keyring: Keyring, block: int = BLOCK) -> None:
        self.keys, self.keyring, self.block = database.keys, keyring, block
        self._available: deque[tuple[str, bytes]] = deque()  # stored, not yet assigned to a person
        self._creating = asyncio.Lock()
        self._refill: asyncio.Task[None] | None = None

    async def take(self) -> tuple[str, bytes]:
        """Return a key for a new person and its id. It is stored already, so the caller needs one write only."""
        if len(self._available) <= self.block // 2 and (self._refill is None or self._refill.done()):
            self._refill = asyncio.create_task(self._create_in_advance(len(self._available)), name="key block")
        while not self._available:
            await self._create(0)
        return self._available.popleft()

    async def close(self) -> None:
        """Wait for a block that is being created."""
        if self._refill is not None:
            await self._refill

    async def keys_of(self, key_ids: Collection[str]) -> dict[str, bytes]:
        """Return the keys of several persons by id, without destroyed ones. Raise Sealed."""
        wrapped = await self._wrapped(key_ids)
        return {key_id: self.keyring.unwrap(each, key_id) for key_id, each in wrapped.items()}

    async def lost(self, key_ids: Collection[str]) -> set[str]:
        """Return those of which nothing is stored: of a destroyed key the time of its destruction is."""
        return set(key_ids) - await self._known(key_ids)

    async def rewrap(self, limit: int) -> tuple[int, set[str]]:
        """Wrap keys of former versions with the current master key; return how many, and which cannot be unwrapped.

        A key that is destroyed meanwhile stays destroyed.
        """
        renewed, damaged = dict[str, tuple[bytes, bytes]](), set[str]()
        for key_id, old in (await self._outdated(limit)).items():
            try:
                renewed[key_id] = old, self.keyring.wrap(self.keyring.unwrap(old, key_id), key_id)
            except Sealed:
                damaged.add(key_id)
        if renewed:
            await self._replace(renewed)
        return len(renewed), damaged

    async def count_outdated(self) -> int:
        """Return how many keys are wrapped with a former master key."""
        return await self.keys.count_documents(self._former)

    async def create_indexes(self) -> None:
        """Create the index by which keys of former versions are found."""
        await self.keys.create_index("version")

    async def destroy(self, key_ids: Collection[str]) -> None:
        """Destroy keys: everything sealed with them stays unreadable. Only the time of destruction remains."""
        await self.keys.update_many(
            {"_id": {"$in": list(key_ids)}, "wrapped": {"$exists": True}},
            {"$unset": {"wrapped": ""}, "$set": {"destroyed": machine_now(), "version": 0}},
        )

    async def _create_in_advance(self, known: int) -> None:
        try:
            await self._create(known)
        except PyMongoError as e:  # `take` tries again when none is left, and raises
            log.warning("creating a block of keys failed", database=self.keys.database.name, error=e)

    async def _create(self, known: int) -> None:
        """Create a block unless another call did: more than `known` keys are available. A crash leaves unused keys."""
        async with self._creating:
            if len(self._available) > known:
                return
            created = {os.urandom(16).hex(): os.urandom(KEY) for _ in range(self.block)}
            wrapped: dict[str, bytes] = {}
            slices = TimeSlices()
            for key_id, key in created.items():
                wrapped[key_id] = self.keyring.wrap(key, key_id)
                await slices()
            await self._store(wrapped, machine_now())
            self._available.extend(created.items())

    async def _store(self, wrapped: Mapping[str, bytes], at: datetime) -> None:
        await self.keys.insert_many(
            [
                {"_id": key_id, "wrapped": each, "version": self.keyring.version, "made": at}
                for key_id, each in wrapped.items()
            ],
            ordered=False,
        )

    @property
    def _former(self) -> dict[str, Any]:
        return {"version": {"$gt": 0, "$lt": self.keyring.version}}  # 0 is of destroyed keys

    async def _outdated(self, limit: int) -> dict[str, bytes]:
        documents = self.keys.find(self._former, {"wrapped": 1}, limit=limit, sort=[("version", 1)])
        return {document["_id"]: document["wrapped"] async for document in documents}

    async def _replace(self, renewed: Mapping[str, tuple[bytes, bytes]]) -> None:
        version = self.keyring.version
        await self.keys.bulk_write(
            [
                UpdateOne({"_id": key_id, "wrapped": old}, {"$set": {"wrapped": new, "version": version}})
                for key_id, (old, new) in renewed.items()
            ],
            ordered=False,
        )

    async def _known(self, key_ids: Collection[str]) -> set[str]:
        return {document["_id"] async for document in self.keys.find({"_id": {"$in": list(key_ids)}}, {"_id": 1})}

    async def _wrapped(self, key_ids: Collection[str]) -> dict[str, bytes]:
        documents = self.keys.find({"_id": {"$in": list(key_ids)}, "wrapped": {"$exists": True}}, {"wrapped": 1})
        return {document["_id"]: document["wrapped"] async for document in documents}


class MemoryKeyBlocks(KeyBlocks):
    """Key blocks in memory, for tests."""

    def __init__(self, keyring: Keyring, block: int = 8) -> None:
        self.keyring, self.block = keyring, block
        self._available, self._creating, self._refill = deque(), asyncio.Lock(), None
        self.stored: dict[str, bytes] = {}
        self.destroyed = set[str]()

    async def destroy(self, key_ids: Collection[str]) -> None:
        """Destroy keys."""
        self.destroyed |= {key_id for key_id in key_ids if self.stored.pop(key_id, None)}

    async def count_outdated(self) -> int:
        """Return how many keys are wrapped with a former master key."""
        return len(await self._outdated(len(self.stored)))

    async def create_indexes(self) -> None:
        """Create nothing."""

    async def _outdated(self, limit: int) -> dict[str, bytes]:
        former = [(key_id, each) for key_id, each in self.stored.items() if each[0] < self.keyring.version]
        return dict(former[:limit])

    async def _replace(self, renewed: Mapping[str, tuple[bytes, bytes]]) -> None:
        self.stored |= {key_id: new for key_id, (old, new) in renewed.items() if self.stored.get(key_id) == old}

    async def _store(self, wrapped: Mapping[str, bytes], at: datetime) -> None:
        self.stored.update(wrapped)

    async def _known(self, key_ids: Collection[str]) -> set[str]:
        return self.stored.keys() | self.destroyed

    async def _wrapped(self, key_ids: Collection[str]) -> dict[str, bytes]:
        return {key_id: self.stored[key_id] for key_id in key_ids if key_id in self.stored}


def _derived(secret: str, purpose: str) -> bytes:
    """Return a key of 256 bits for one purpose (the extract step of HKDF); the secret has enough entropy."""
    return hmac.digest(f"peyvand/{purpose}/v1".encode(), secret.encode(), hashlib.sha256)
