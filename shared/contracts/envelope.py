"""An event as it travels: a CloudEvent 1.0 in structured JSON, with the context that makes it readable alone."""

import re
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec

from contracts.events import PRODUCERS, TYPES, Event

CODE_SYSTEM = "ISO3166-2:IR:2020"
CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
LAST_SEQUENCE = 2**31 - 1  # an integer of CloudEvents has 32 bits; a document's has 64
LONGEST_SUBJECT = 128  # characters
MOST_CODES = 10_000  # that are remembered as good


class Context(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where in the programme a subject stands; every event about it carries this."""

    round: str = ""
    province: str = ""
    county: str = ""
    field: str = ""
    policy: str = ""  # the version of the policies that apply


class Envelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event, who emitted it, about whom, as which of its events about that subject (dense: 1, 2, 3)."""

    source: str
    subject: str
    sequence: int
    time: datetime  # programme time
    event: Event
    context: Context = Context()
    actor: str = ""  # the pseudonymous id of who asked
    recorded: datetime | None = None  # machine time
    cause: str = ""  # source/sequence of what a reaction answers
    previous: str = ""  # digest of the subject's previous event
    traceparent: str = ""


class DecodeError(ValueError):
    """These bytes are no event of ours."""


class _Heard(msgspec.Struct, omit_defaults=True, gc=False):
    type: str
    source: str
    subject: str
    sequence: int
    time: datetime
    data: msgspec.Raw
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


class _CloudEvent(_Heard, omit_defaults=True, gc=False):
    """With what is said for other readers, and tells us nothing."""

    id: str = ""
    codesystem: str = ""
    datacontenttype: str = ""
    specversion: str = ""


_heard = msgspec.json.Decoder(_Heard)
_data: dict[str, tuple[str, Any]] = {  # type -> who says it, and how its own fields are read
    name: (service, msgspec.json.Decoder(event))
    for service, module in PRODUCERS.items()
    for name, event in TYPES.items()
    if event.__module__ == module.__name__
}
_encode = msgspec.json.Encoder().encode


def decode(raw: bytes) -> Envelope:
    """The envelope in these bytes. Raises Unreadable, for what no record could keep as well."""
    try:
        c = _heard.decode(raw)
        speaker, data = _data[c.type]
        event = data.decode(c.data)
        if not 0 < c.sequence <= LAST_SEQUENCE or not 0 < len(c.subject) <= LONGEST_SUBJECT or c.time.tzinfo is None:
            raise DecodeError("a sequence or a subject outside its bounds, or a time without zone")
        if c.source != speaker:
            raise DecodeError(f"what {speaker} says, from another source")
        for code in (c.round, c.province, c.county, c.field, c.policy):
            if code not in _codes:
                _learn(code)
    except KeyError as e:
        raise DecodeError(f"unknown type {e}") from e
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError) as e:
        raise DecodeError(str(e)) from e
    return Envelope(
        source=c.source,
        subject=c.subject,
        sequence=c.sequence,
        time=c.time,
        event=event,
        context=Context(round=c.round, province=c.province, county=c.county, field=c.field, policy=c.policy),
        actor=c.actor,
        recorded=c.recorded,
        cause=c.cause,
        previous=c.previous,
        traceparent=c.traceparent,
    )


_codes: set[str] = set()  # of contexts, that were looked at: there are a thousand, and millions of events carry them
_is_code = re.compile(r"[A-Za-z0-9_-]{0,32}").fullmatch


def _learn(code: str) -> None:
    """Readers name their figures by these: whatever is no code would be a name of another shape. Raises Unreadable."""
    if not _is_code(code):
        raise DecodeError("a context that is made of other than codes")
    if len(_codes) >= MOST_CODES:
        _codes.clear()
    _codes.add(code)


def encode(envelope: Envelope) -> bytes:
    """The envelope as bytes; its id says the same to every reader."""
    e, x = envelope, envelope.context
    return _encode(
        _CloudEvent(
            type=e.event.TYPE,
            source=e.source,
            subject=e.subject,
            sequence=e.sequence,
            time=e.time,
            data=msgspec.Raw(_encode(e.event)),
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
    """What the next event about the same subject carries as `previous`: BLAKE2b, 128 bits, hexadecimal."""
    return blake2b(raw, digest_size=16).hexdigest()
