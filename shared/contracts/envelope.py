"""An event as it travels: a CloudEvent 1.0 in structured JSON, with the context that makes it readable on its own."""

import re
from datetime import datetime
from hashlib import blake2b
from typing import Any

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

    def of_province(self) -> "Context":
        """Return the context without county and job field: what may be known of an erased applicant."""
        return Context(round=self.round, province=self.province, policy=self.policy)


class UnknownEvent(Event, frozen=True, kw_only=True, gc=False):
    """An event of a type that this version does not know: a newer producer emitted it.

    Or a parked event whose type this version knows but whose bytes it cannot decode; then `why` is the reason.
    """

    type: str
    why: str = ""


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
    """Bytes that hold no event of ours. `code` is the cause, the same for all with this cause."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Wire(msgspec.Struct, kw_only=True, gc=False):
    type: str
    source: str
    subject: str
    sequence: int
    time: datetime
    data: Any
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


class _Read(_Wire, kw_only=True, gc=False):
    data: msgspec.Raw


class _Written(_Wire, kw_only=True, omit_defaults=True, gc=False):
    """The attributes after `traceparent` are for other readers of CloudEvents."""

    id: str = ""
    codesystem: str = ""
    datacontenttype: str = ""
    specversion: str = ""


# Name of a type -> its producer and what decodes its data.
_known = {
    event.TYPE: (service, msgspec.json.Decoder(event).decode)
    for service, module in PRODUCERS.items()
    for event in TYPES.values()
    if event.__module__ == module.__name__
}
_decode = msgspec.json.Decoder(_Read).decode
_encode = msgspec.json.Encoder().encode


def decode(raw: bytes) -> Envelope:
    """Return the envelope in these bytes; of a type that this version does not know with an UnknownEvent.

    Raise DecodeError, also for values that no record could hold.
    """
    try:
        wire = _decode(raw)
        producer, decode_data = _known.get(wire.type, ("", None))
        event: Event = decode_data(wire.data) if decode_data else UnknownEvent(type=wire.type)
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError) as e:
        raise DecodeError("malformed", str(e)) from e
    if not producer and (not wire.type.startswith(f"ir.peyvand.{wire.source}.") or len(wire.type) > LONGEST_TYPE):
        raise DecodeError("foreign_type", f"unknown type {wire.type[:LONGEST_TYPE]!r}")
    if producer and wire.source != producer:
        raise DecodeError("wrong_source", f"an event of {producer} from another source")
    if not 0 < wire.sequence <= LAST_SEQUENCE or not 0 < len(wire.subject) <= LONGEST_SUBJECT:
        raise DecodeError("out_of_bounds", "sequence or subject out of bounds")
    if wire.time.tzinfo is None or (wire.recorded is not None and wire.recorded.tzinfo is None):
        raise DecodeError("no_time_zone", "a time without a time zone")
    if wire.cause and not _is_cause(wire.cause):
        raise DecodeError("invalid_cause", "a cause that is not source/sequence")
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


def decode_from(topic: str, raw: bytes | None) -> Envelope:
    """Return the envelope in a record of a topic. Raise DecodeError, also if another producer emitted the event."""
    if raw is None:
        raise DecodeError("no_value", "no value")
    envelope = decode(raw)
    if envelope.source != topic.rpartition(".")[2]:
        raise DecodeError("wrong_topic", f"an event of {envelope.source} in the topic of another producer")
    return envelope


_known_codes: set[str] = set()  # a thousand codes occur in millions of events
_is_cause = re.compile(r"[a-z]{1,32}/[1-9][0-9]{0,9}").fullmatch
_is_code = re.compile(r"[A-Za-z0-9_-]{0,32}").fullmatch


def _check_code(code: str) -> None:
    """Remember a valid code of a context: consumers use them as names of fields. Raise DecodeError."""
    if not _is_code(code):
        raise DecodeError("invalid_code", "a context code with characters that codes do not have")
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
        _Written(
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
