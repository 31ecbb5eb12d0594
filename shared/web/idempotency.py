"""From a request to the metadata of its command: principal, Idempotency-Key, and a fingerprint of the request.

    metadata: Annotated[CommandMetadata, idempotent()]     then `execute(store, subject, command, clock, metadata)`

The same principal, key and request get the same response, byte for byte, whatever has happened since: a route builds
it from the state, version and sequence of `Result.record`, and from nothing that may change. Nothing is done again.
Another request under the same key raises KeyReused (422). A refusal is not stored: the same request is decided again.
The fingerprint is keyed: a plain hash of a body with a national ID would let anyone find the ID by trying all of them.
"""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from fastapi import Depends, Header
from msgspec.structs import replace
from pydantic import BaseModel
from starlette.requests import Request

from base.clock import Clock
from contracts.commands import Refused
from kernel.commands import CommandMetadata, Outcome, execute_many
from kernel.store import Store
from security.auth import PUBLIC, Principal
from web.authorization import authorized_principal

LARGE = 64 << 10  # bytes of a body above which its fingerprint is computed in a thread

_KEY = re.compile(r"[\x21-\x7e]{8,128}")
_canonical = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode


T = TypeVar("T", bound="ItemOutcome")


class ItemOutcome(BaseModel):
    """What became of one item of a list: done, or why it was refused."""

    code: str | None = None
    field: str | None = None
    detail: str | None = None
    detail_fa: str | None = None


class Outcomes(BaseModel, Generic[T]):
    """The outcomes in the order of the items."""

    items: list[T]
    done: int
    refused: int

    @classmethod
    def of(cls, items: Sequence[T]) -> "Outcomes[T]":
        """Return the outcomes with their numbers."""
        refused = sum(each.code is not None for each in items)
        return cls(items=list(items), done=len(items) - refused, refused=refused)


class Idempotent:
    """The dependency behind `idempotent`."""

    def __init__(self, required: bool) -> None:
        self.required = required

    async def __call__(
        self,
        request: Request,
        idempotency_key: Annotated[
            str | None,
            Header(
                alias="Idempotency-Key",
                description="A key of the caller's own, 8 to 128 visible ASCII characters, new for each new request: "
                "sent again with the same request, it gets the same answer and nothing is done twice. A refused one "
                "is decided again. Kept for 7 days.",
                examples=["6f1c7c0e-5d0b-4a53-9a86-2f7d1f0f8f11"],
            ),
        ] = None,
    ) -> CommandMetadata:
        """Return the metadata. Raise Refused: idempotency_key_missing, idempotency_key_invalid."""
        principal = await authorized_principal(request)
        if self.required and not idempotency_key:
            raise Refused("idempotency_key_missing")
        body = await request.body()
        if len(body) <= LARGE:
            return metadata_of(request, principal, idempotency_key or "", _in_one_spelling(request, body))
        content = await asyncio.to_thread(_in_one_spelling, request, body)
        return await asyncio.to_thread(metadata_of, request, principal, idempotency_key or "", content)


def idempotent(*, required: bool = False) -> Any:
    """Return a dependency on the metadata of a command; the Idempotency-Key is optional unless `required`."""
    return Depends(Idempotent(required))


def metadata_of(
    request: Request, principal: Principal, key: str, content: bytes | Mapping[str, Any]
) -> CommandMetadata:
    """Return the metadata of a command whose key came with a form. Raise Refused: idempotency_key_invalid."""
    if not key:
        return CommandMetadata(actor=principal.actor, traceparent=request.scope["peyvand.traceparent"])
    if not _KEY.fullmatch(key):
        raise Refused("idempotency_key_invalid", "Idempotency-Key")
    secret = secret_of(request)
    return CommandMetadata(
        actor=principal.actor,
        idempotency_key=stored_key(secret, principal, key),
        fingerprint=fingerprint(secret, request.method, request.scope["path"], content),
        traceparent=request.scope["peyvand.traceparent"],
    )


def secret_of(request: Request) -> bytes:
    """Return the key of fingerprints and stored keys."""
    secret: str = request.app.state.settings.fingerprint_key.get_secret_value()
    return secret.encode()


def fingerprint(secret: bytes, method: str, path: str, content: bytes | Mapping[str, Any]) -> bytes:
    """Return 32 bytes that distinguish requests and disclose nothing: HMAC-SHA256 of method, path, canonical body."""
    body = content if isinstance(content, bytes) else _canonical(content)
    return hmac.digest(secret, b"\0".join((method.encode(), path.encode(), body)), hashlib.sha256)


async def execute_each(
    store: Store,
    items: Sequence[tuple[str, Any]],
    permitted: Collection[str],
    clock: Clock,
    metadata: CommandMetadata,
) -> list[tuple[str, Outcome]]:
    """Execute (subject, command) items in one transaction and return the outcomes in their order.

    A subject that is not permitted is answered like a missing one; of a repeated subject only the first item is
    executed. A key belongs to one record, so each subject has its own: see `metadata_for`. Raise Transient.
    """
    commands = {subject: command for subject, command in reversed(items) if subject in permitted}
    own = {subject: metadata_for(subject, metadata) for subject in commands}
    outcomes = await execute_many(store, commands, clock, own) if commands else {}
    ordered: list[tuple[str, Outcome]] = []
    seen: set[str] = set()
    for subject, _ in items:
        repeated = subject in seen
        ordered.append((subject, Refused("row_repeated") if repeated else outcomes.get(subject, Refused("not_found"))))
        seen.add(subject)
    return ordered


def stored_key(secret: bytes, principal: Principal, key: str) -> str:
    """Return the key under which the response is stored: no other principal has it, whatever they are called.

    It is keyed, since a client may put anything into its key, a national ID too. 32 hexadecimal digits.
    """
    owner = "" if PUBLIC in principal.roles else principal.id
    return hmac.digest(secret, b"\0".join((b"key", key.encode(), owner.encode())), hashlib.sha256)[:16].hex()


def metadata_for(item: str, metadata: CommandMetadata) -> CommandMetadata:
    """Return the metadata of one item of a list, such as its subject or row: it has a key of its own."""
    if not metadata.idempotency_key:
        return metadata
    return replace(metadata, idempotency_key=f"{metadata.idempotency_key} {item}")


def _in_one_spelling(request: Request, body: bytes) -> bytes:
    """Return a body of JSON with sorted names, and any other as it came."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        return body
    try:
        return _canonical(_decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
