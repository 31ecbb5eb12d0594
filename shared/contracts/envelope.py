"""An event as it travels: a CloudEvent 1.0 in structured JSON, with the context that makes it readable on its own."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from operator import attrgetter
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta
from msgspec.structs import astuple

from contracts.events import PRODUCERS, TYPES, Event
from contracts.events.fields import INSTANT_YEARS, YEARS
from contracts.subjects import PROVINCE, ROUND, SUBJECTS, ledger_subject, round_subject

CODE_SYSTEM = "ISO3166-2:IR:2020"
CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
LAST_SEQUENCE = 2**31 - 1  # CloudEvents integers have 32 bits
LONGEST_EVENT = 65_536  # bytes; ours have less than 2,000, but for a round with hundreds of job fields
KNOWN_LIMIT = 20_000  # values of an attribute remembered as valid
NEVER = datetime(1, 1, 1, tzinfo=UTC)

# Patterns of the attributes that are codes. Those of subjects: contracts.subjects.
PATTERNS = {
    "round": ROUND,
    "province": PROVINCE,
    "county": "(0[0-9]|[12][0-9]|30)[0-9]{2}",
    "field": "[A-Z]{2}[0-9]{3}",
    "policy": "[0-9]{4}-[0-9]{1,3}",
    "actor": "[a-z_]+:(?![0-9+]+$)[A-Za-z0-9._-]{0,64}",
    "cause": "[a-z]{1,32}/[1-9][0-9]{0,9}",
    "previous": "[0-9a-f]{32}",
    "traceparent": "[0-9a-f]{2}-[0-9a-f-]{1,120}",
}


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


class UnhandledEvent(Event, frozen=True, kw_only=True, gc=False):
    """An event that this version cannot handle. Of its envelope only source, subject and sequence are decoded."""

    type: str = ""  # empty if it is not the name of a type


class UnknownEvent(UnhandledEvent, frozen=True, kw_only=True, gc=False):
    """A newer producer emitted it: its type, or a code of a vocabulary in it, is unknown to this version."""


class InvalidEvent(UnhandledEvent, frozen=True, kw_only=True, gc=False):
    """It does not match its published schema, and no version will handle it as it is, or a faulty one emitted it."""

    why: str
    where: str  # path in the event: `$.data.quota`


class Envelope(msgspec.Struct, frozen=True, gc=False):
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


class _Written(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
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
    id: str = ""  # these are for other readers of CloudEvents
    codesystem: str = ""
    datacontenttype: str = ""
    specversion: str = ""


class _Identity(msgspec.Struct, gc=False):
    """What every record of a topic has, however little else can be read of it."""

    source: str
    subject: str
    sequence: int
    type: Any = ""


class _Mismatch(Exception):
    """An event does not match its published schema; `unknown` if only because of codes that a vocabulary lacks."""

    def __init__(self, why: str, where: str, unknown: bool = False) -> None:
        super().__init__(why)
        self.why, self.where, self.unknown = why, where, unknown


_Text = Annotated[str, Meta(min_length=1)]
_Instant = Annotated[datetime, Meta(tz=True)]
_CONTEXT = ("round", "province", "county", "field", "policy")
_PROVINCES = tuple(f"IR-{n:02}" for n in range(31))
_COUNTIES = {f"{province[3:]}{n:02}": province for province in _PROVINCES for n in range(100)}  # and their provinces
# Codes of which few exist are decoded into one string for all events.
_CODES: dict[str, Any] = {"province": Literal[_PROVINCES], "county": Literal[tuple(_COUNTIES)]}


def _wire_type(event: type[Event], producer: str) -> type[msgspec.Struct]:
    """Return the class that decodes and checks events of a type in one pass, except for patterns of attributes."""
    types = dict.fromkeys(_CONTEXT, _Text) | _CODES
    context: list[Any] = [
        (name, type_) if event.KIND == "applicant" else (name, type_, "") for name, type_ in types.items()
    ]
    fields: list[Any] = [
        ("source", Literal[producer]),
        ("subject", str),
        ("sequence", Annotated[int, Meta(ge=1, le=LAST_SEQUENCE)]),
        ("time", _Instant),
        ("data", event),
        *context,
        ("actor", _Text, ""),
        ("recorded", _Instant, None),
        ("cause", _Text, ""),
        ("previous", Annotated[str, Meta(min_length=32, max_length=32)], ""),
        ("traceparent", _Text, ""),
        ("codesystem", Literal[CODE_SYSTEM]),
        ("datacontenttype", Literal["application/json"]),
        ("specversion", Literal["1.0"]),
    ]
    return msgspec.defstruct(event.__name__, fields, tag_field="type", tag=event.TYPE, kw_only=True, gc=False)


class _Check:
    """What decoding does not check in the events of one type: their subject, and vocabularies and years in `data`.

    Millions of events share a few thousand values: what was valid once is looked up.
    """

    def __init__(self, event: type[Event]) -> None:
        self.kind, self.subjects, self.values = event.KIND, _subjects[event.KIND], dict[Any, Any]()
        self.codes, self.dates = dict[str, frozenset[str]](), list[str]()
        for field in msgspec.inspect.type_info(event).fields:  # type: ignore[attr-defined]
            declared = getattr(field.type, "item_type", field.type)
            inner = getattr(declared, "type", declared)
            if vocabulary := (getattr(declared, "extra_json_schema", None) or {}).get("enum"):
                self.codes[field.name] = frozenset(vocabulary)
            elif isinstance(inner, msgspec.inspect.DateType | msgspec.inspect.DateTimeType):
                self.dates.append(field.name)
        names = *self.codes, *self.dates
        values_of = attrgetter(*names) if names else None
        self.parts = self, self.subjects, _ABOUT_CONTEXT.get(event.KIND), values_of, self.values

    def check_subject(self, subject: str) -> str:
        """Return a subject of the kind of these events, and remember it."""
        if not _is_subject[self.kind](subject):
            raise _Mismatch(f"not a subject of the kind {self.kind}", "$.subject")
        known: str = _remember(self.subjects, subject)
        return known

    def check_values(self, event: Event) -> None:
        """Remember the codes and dates of an event."""
        for name in self.dates:
            if getattr(event, name).year not in YEARS:
                raise _Mismatch("a year out of bounds", f"$.data.{name}")
        for name, vocabulary in self.codes.items():
            value = getattr(event, name)
            if not vocabulary.issuperset(value if isinstance(value, tuple) else (value,)):
                raise _Mismatch("an unknown code", f"$.data.{name}", unknown=True)
        _remember(self.values, attrgetter(*self.codes, *self.dates)(event))


_ABOUT_CONTEXT: dict[str, Callable[[str, str], str]] = {  # kinds whose subject consists of codes of the context
    "round": lambda round, province: round_subject(round),
    "ledger": ledger_subject,
}
_subjects: dict[str, dict[str, str]] = {kind: {} for kind in SUBJECTS}  # valid ones
_is_subject = {kind: re.compile(pattern).fullmatch for kind, pattern in SUBJECTS.items()}
_is = {attribute: re.compile(pattern).fullmatch for attribute, pattern in PATTERNS.items()}
_is_readable = re.compile(r"[!-~]{1,128}").fullmatch  # a subject, whatever its kind
_is_type = re.compile(r"ir\.peyvand\.[a-z0-9_.]{1,180}").fullmatch
_producers = {event.TYPE: s for s, m in PRODUCERS.items() for event in TYPES.values() if event.__module__ == m.__name__}
_checks = {event: _Check(event).parts for event in TYPES.values()}
_decode_wire: Callable[[bytes], Any] = msgspec.json.Decoder(
    Union[tuple(_wire_type(event, _producers[event.TYPE]) for event in TYPES.values())]  # noqa: UP007
).decode
_decode_identity = msgspec.json.Decoder(_Identity).decode
_encode = msgspec.json.Encoder().encode

# Values that matched their patterns; an attribute that is absent is empty.
_KNOWN: dict[str, dict[str, str]] = {name: {} for name in ("round", "field", "policy", "actor", "cause")}
_rounds, _fields, _policies, _actors, _causes = _KNOWN.values()


def decode(raw: bytes) -> Envelope:
    """Return the envelope in these bytes: all that it holds obeys the published schema of its type.

    If the event does not, it is an InvalidEvent, or an UnknownEvent if a newer version may handle it.
    Raise DecodeError for bytes without a readable source, subject and sequence.
    """
    try:
        (
            source,
            subject,
            sequence,
            time,
            event,
            round,
            province,
            county,
            field,
            policy,
            actor,
            recorded,
            cause,
            previous,
            traceparent,
            _,
            _,
            _,
        ) = astuple(_decode_wire(raw))
        check, subjects, about_context, values_of, values = _checks[event.__class__]
        subject = subjects.get(subject) or check.check_subject(subject)
        if about_context is not None and subject != about_context(round, province):
            raise _Mismatch("round and province are not those of the subject", "$.round")
        if time.year not in INSTANT_YEARS or (recorded is not None and recorded.year not in INSTANT_YEARS):
            raise _Mismatch("a year out of bounds", "$.time")
        if county and _COUNTIES[county] != province:
            raise _Mismatch("a county of another province", "$.county")
        try:
            round, field, policy, actor, cause = (
                _rounds[round],
                _fields[field],
                _policies[policy],
                _actors[actor],
                _causes[cause],
            )
        except KeyError:
            _check_codes(round=round, field=field, policy=policy, actor=actor, cause=cause)
        if previous and previous.strip("0123456789abcdef"):  # twice as fast as the pattern
            raise _Mismatch("not a digest", "$.previous")
        if traceparent and not _is["traceparent"](traceparent):
            raise _Mismatch("not a trace context", "$.traceparent")
        if values_of is not None and values_of(event) not in values:
            check.check_values(event)
        context = Context(round=round, province=province, county=county, field=field, policy=policy)
        return Envelope(source, subject, sequence, time, event, context, actor, recorded, cause, previous, traceparent)
    except _Mismatch as e:
        return _unhandled(raw, e)
    except (msgspec.DecodeError, ValueError, RecursionError) as e:
        return _unhandled(raw, _explained(e))


def decode_from(topic: str, raw: bytes | None) -> Envelope:
    """Return the envelope in a record of a topic. Raise DecodeError, also if another producer emitted the event."""
    if raw is None:
        raise DecodeError("no_value", "no value")
    if len(raw) > LONGEST_EVENT:
        raise DecodeError("too_long", f"{len(raw)} bytes, more than any event has")
    envelope = decode(raw)
    if envelope.source != topic.rpartition(".")[2]:
        raise DecodeError("wrong_topic", f"an event of {envelope.source} in the topic of another producer")
    return envelope


def _check_codes(**values: str) -> None:
    """Remember codes that match their patterns; an absent one is empty."""
    for attribute, value in values.items():
        if value and not _is[attribute](value):
            raise _Mismatch("a code that does not match its pattern", f"$.{attribute}")
    for attribute, value in values.items():
        _remember(_KNOWN[attribute], value)


def _remember(known: dict[Any, Any], value: Any) -> Any:
    """Keep a value that is valid, so that events share it."""
    if len(known) >= KNOWN_LIMIT:
        known.clear()
    return known.setdefault(value, value)


def _explained(e: Exception) -> _Mismatch:
    """Return what msgspec found, without the value that it found."""
    why, _, where = str(e).partition(" - at `")
    where = re.sub(r"\[[0-9]+\]", "[]", where.rstrip("`"))[:100]
    return _Mismatch("an invalid value" if why.startswith("Invalid") else why[:200], where or "$")


def _unhandled(raw: bytes, mismatch: _Mismatch) -> Envelope:
    """Return the envelope of an event that is invalid, or of a newer producer. Raise DecodeError."""
    try:
        identity = _decode_identity(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as e:
        raise DecodeError("malformed", _explained(e).why) from None
    source, subject, type = identity.source, identity.subject, identity.type
    if source not in PRODUCERS:
        raise DecodeError("wrong_source", "an event of no service that produces events")
    if not 0 < identity.sequence <= LAST_SEQUENCE or not _is_readable(subject):
        raise DecodeError("out_of_bounds", "sequence or subject out of bounds")
    if not isinstance(type, str) or not _is_type(type):
        type, mismatch = "", _Mismatch("not the name of a type", "$.type")
    elif not type.startswith(f"ir.peyvand.{source}."):
        mismatch = _Mismatch(f"a type that {source} does not emit", "$.type")
    elif type not in TYPES:
        mismatch = _Mismatch("an unknown type", "$.type", unknown=True)
    event: Event = UnknownEvent(type=type)
    if not mismatch.unknown:
        event = InvalidEvent(type=type, why=mismatch.why, where=mismatch.where)
    return Envelope(source=source, subject=subject, sequence=identity.sequence, time=NEVER, event=event)


def is_valid(attribute: str, value: str) -> bool:
    """Return whether a value matches the published pattern of an attribute."""
    return _is[attribute](value) is not None


def type_of(event: Event) -> str:
    """Return the name of an event's type."""
    return event.type if isinstance(event, UnhandledEvent) else event.TYPE


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
