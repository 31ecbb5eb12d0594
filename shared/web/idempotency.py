"""From an HTTP request to what the kernel is asked: who asks, under which Idempotency-Key, with which body.

    ask: Annotated[Ask, idempotent()]          then `execute(store, subject, command, clock, ask)`

The same principal, key and request is answered again from the record (`Done.repeated`), without acting again; another
request under the same key raises KeyReused, which is a 422. The fingerprint is keyed: a plain hash of a body that holds
a national ID would tell it.
"""

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Header
from msgspec.structs import replace
from starlette.requests import Request

from base.clock import Clock
from contracts.commands import Refused
from kernel.commands import CommandMetadata, Result, execute_many
from kernel.store import Store
from security.auth import Principal, authorized_principal

_KEY = re.compile(r"[\x21-\x7e]{8,128}")
_canonical = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode


class Idempotent:
    """Makes the Ask of a request."""

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
                "sent again with the same request, it is answered again and nothing is done twice. Kept for 7 days.",
                examples=["6f1c7c0e-5d0b-4a53-9a86-2f7d1f0f8f11"],
            ),
        ] = None,
    ) -> CommandMetadata:
        """Raises Refused where the key is missing or cannot be one."""
        principal = await authorized_principal(request)
        if self.required and not idempotency_key:
            raise Refused("idempotency_key_missing")
        return metadata_of(request, principal, idempotency_key or "", await _content(request))


def idempotent(*, required: bool = False) -> Any:
    """A dependency that gives the Ask of a write; the Idempotency-Key is optional unless `required`."""
    return Depends(Idempotent(required))


def metadata_of(
    request: Request, principal: Principal, key: str, content: bytes | Mapping[str, Any]
) -> CommandMetadata:
    """The Ask of a request whose key did not come as a header (the hidden field of a form).

    Raises Refused("idempotency_key_invalid").
    """
    if not key:
        return CommandMetadata(actor=principal.actor, traceparent=request.scope["peyvand.traceparent"])
    if not _KEY.fullmatch(key):
        raise Refused("idempotency_key_invalid", "Idempotency-Key")
    secret = request.app.state.settings.fingerprint_key.get_secret_value().encode()
    return CommandMetadata(
        actor=principal.actor,
        key=f"{principal.id}/{key}",
        fingerprint=fingerprint(secret, request.method, request.scope["path"], content),
        traceparent=request.scope["peyvand.traceparent"],
    )


def fingerprint(secret: bytes, method: str, path: str, content: bytes | Mapping[str, Any]) -> bytes:
    """Tells two requests apart, and nothing about either: HMAC-SHA256 over method, path and canonical body."""
    body = content if isinstance(content, bytes) else _canonical(content)
    return hmac.digest(secret, b"\0".join((method.encode(), path.encode(), body)), hashlib.sha256)


async def _content(request: Request) -> bytes:
    """The body in one spelling: JSON with sorted names, a form's pairs, anything else as it came."""
    kind = request.headers.get("content-type", "")
    if kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data")):
        form = await request.form()
        return _canonical([(name, value) for name, value in form.multi_items() if isinstance(value, str)])
    body = await request.body()
    if "json" not in kind:
        return body
    try:
        return _canonical(_decode(body))
    except msgspec.DecodeError:
        return body


async def execute_each(
    store: Store, items: Sequence[tuple[str, Any]], inside: Collection[str], clock: Clock, ask: CommandMetadata
) -> list[tuple[str, Result | Exception, CommandMetadata]]:
    """Asks the same of many subjects in one transaction, each for itself: what became of each, in their order.

    Subjects that are not `inside` the caller's scope are as missing as any; of one that comes twice the first row
    counts. A key belongs to one record, so each subject is asked under a key of its own.
    """
    commands = {subject: command for subject, command in reversed(items) if subject in inside}
    asks = {subject: replace(ask, key=f"{ask.key}/{subject}") if ask.key else ask for subject in commands}
    became = await execute_many(store, commands, clock, asks) if commands else {}
    outcomes: list[tuple[str, Result | Exception, CommandMetadata]] = []
    seen: set[str] = set()
    for subject, _ in items:
        done = Refused("row_repeated") if subject in seen else became.get(subject, Refused("not_found"))
        outcomes.append((subject, done, asks.get(subject, ask)))
        seen.add(subject)
    return outcomes
