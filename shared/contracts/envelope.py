"""An event as it travels: a CloudEvent 1.0 in structured JSON, with the context that makes it readable on its own."""

import re
from datetime import datetime
from hashlib import blake2b
from typing import Any, Union

import msgspec

from contracts.events import PRODUCERS, TYPES, Event

CODE_SYSTEM = "ISO3166-2:IR:2020"
CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
LAST_SEQUENCE = 2**31 - 1  # CloudEvents integers have 32 bits
LONGEST_SUBJECT = 128  # characters
LONGEST_TYPE = 200  # characters
KNOWN_CODES_LIMIT = 10_000  # context codes remembered as valid


class Context(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a subject stands in the programme. Every event about it carries this."""

    round: str = ""
    province: str = ""
    county: str = ""
    field: str = ""
    policy: str = ""  # version of the policies that apply


class UnknownEvent(Event, frozen=True, kw_only=True, gc=False):
    """An event of a type that this version does not know: a newer producer emitted it."""

    type: str


class Envelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event, its source, its subject, and its dense sequence (1, 2, 3) per source and subject."""

    source: str
    subject: str
    sequence: int
    time: datetime  # programme time
    event: Event
    context: Context = Context()
    actor: str = ""  # role and pseudonymous id of the person or job that caused it
    recorded: datetime | None = None  # machine time
    cause: str = ""  # source/sequence of the event that a reaction responds to
    previous: str = ""  # digest of the subject's previous event
    traceparent: str = ""


class DecodeError(ValueError):
    """Bytes that hold no event of ours."""


class _Wire(msgspec.Struct, kw_only=True, gc=False):
    source: str
    subject: str
    sequence: int
    time: datetime
    round: str = ""
    province: str = ""
    county: str = ""
    field: str = ""
    policy: str = ""
    actor: str = ""
    recorded: datetime | None = None
    cause: str = ""
    previous: str = ""
    traceparent: str = ""


class _Untyped(_Wire, kw_only=True, gc=False):
    type: str
    data: msgspec.Raw


class _CloudEvent(msgspec.Struct, omit_defaults=True, gc=False):
    """What is written. The attributes after `traceparent` are for other readers of CloudEvents."""

    type: str
    source: str
    subject: str
    sequence: int
    time: datetime
    data: Event
    round: str = ""
    province: str = ""
    county: str = ""
    field: str = ""
    policy: str = ""
    actor: str = ""
    recorded: datetime | None = None
    cause: str = ""
    previous: str = ""
    traceparent: str = ""
    id: str = ""
    codesystem: str = ""
    datacontenttype: str = ""
    specversion: str = ""


_source_of = {
    event: service
    for service, module in PRODUCERS.items()
    for event in TYPES.values()
    if event.__module__ == module.__name__
}
# One struct per type, distinguished by `type`: envelope and data are decoded in one pass.
_typed = {
    name: msgspec.defstruct(
        event.__name__, [("data", event)], bases=(_Wire,), tag_field="type", tag=name, kw_only=True, gc=False
    )
    for name, event in TYPES.items()
}
_decode_typed = msgspec.json.Decoder(Union[tuple(_typed.values())]).decode  # noqa: UP007
_decode_untyped = msgspec.json.Decoder(_Untyped).decode
_encode = msgspec.json.Encoder().encode


def decode(raw: bytes) -> Envelope:
    """Return the envelope in these bytes; of a type that this version does not know with an UnknownEvent.

    Raise DecodeError, also for values that no record could hold.
    """
    try:
        wire: Any = _decode_typed(raw)
        event = wire.data
        producer = _source_of[event.__class__]
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError) as e:
        wire, event = _unknown(raw, e)
        producer = wire.source
    if wire.source != producer:
        raise DecodeError(f"an event of {producer} from another source")
    if not 0 < wire.sequence <= LAST_SEQUENCE or not 0 < len(wire.subject) <= LONGEST_SUBJECT:
        raise DecodeError("sequence or subject out of bounds")
    if wire.time.tzinfo is None or (wire.recorded is not None and wire.recorded.tzinfo is None):
        raise DecodeError("a time without a time zone")
    if wire.cause and not _is_cause(wire.cause):
        raise DecodeError("a cause that is not source/sequence")
    for code in (wire.round, wire.province, wire.county, wire.field, wire.policy):
        if code not in _known_codes:
            _check_code(code)
    return Envelope(
        source=wire.source,
        subject=wire.subject,
        sequence=wire.sequence,
        time=wire.time,
        event=event,
        context=Context(
            round=wire.round, province=wire.province, county=wire.county, field=wire.field, policy=wire.policy
        ),
        actor=wire.actor,
        recorded=wire.recorded,
        cause=wire.cause,
        previous=wire.previous,
        traceparent=wire.traceparent,
    )


def _unknown(raw: bytes, error: Exception) -> tuple[_Untyped, UnknownEvent]:
    """Return an event of an unknown type of its source. Raise DecodeError."""
    try:
        wire = _decode_untyped(raw)
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError) as e:
        raise DecodeError(str(e)) from e
    if wire.type in TYPES:
        raise DecodeError(str(error)) from error
    if not wire.type.startswith(f"ir.peyvand.{wire.source}.") or len(wire.type) > LONGEST_TYPE:
        raise DecodeError(f"unknown type {wire.type[:LONGEST_TYPE]!r}")
    return wire, UnknownEvent(type=wire.type)


_known_codes: set[str] = set()  # a thousand codes occur in millions of events
_is_cause = re.compile(r"[a-z]{1,32}/[1-9][0-9]{0,9}").fullmatch
_is_code = re.compile(r"[A-Za-z0-9_-]{0,32}").fullmatch


def _check_code(code: str) -> None:
    """Remember a valid code of a context: consumers use them as names of fields. Raise DecodeError."""
    if not _is_code(code):
        raise DecodeError("a context code with characters that codes do not have")
    if len(_known_codes) >= KNOWN_CODES_LIMIT:
        _known_codes.clear()
    _known_codes.add(code)


def type_of(event: Event) -> str:
    """Return the name of an event's type."""
    return event.type if isinstance(event, UnknownEvent) else event.TYPE


def encode(envelope: Envelope) -> bytes:
    """Return the envelope as bytes. Its CloudEvents id is source/subject/sequence."""
    e, x = envelope, envelope.context
    return _encode(
        _CloudEvent(
            type=e.event.TYPE,
            source=e.source,
            subject=e.subject,
            sequence=e.sequence,
            time=e.time,
            data=e.event,
            round=x.round,
            province=x.province,
            county=x.county,
            field=x.field,
            policy=x.policy,
            actor=e.actor,
            recorded=e.recorded,
            cause=e.cause,
            previous=e.previous,
            traceparent=e.traceparent,
            id=f"{e.source}/{e.subject}/{e.sequence}",
            codesystem=CODE_SYSTEM,
            datacontenttype="application/json",
            specversion="1.0",
        )
    )


def digest(raw: bytes) -> str:
    """Return what the next event about the same subject carries as `previous`: BLAKE2b-128, hexadecimal."""
    return blake2b(raw, digest_size=16).hexdigest()
