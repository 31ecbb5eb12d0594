"""A record: all that one service knows about one subject. An immutable value; `emit` and `consume` return a new one."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from base.clock import Moment
from contracts.commands import EventWithContext, Refused, UnknownVersion
from contracts.envelope import (
    NEVER,
    DecodeError,
    Envelope,
    InvalidEvent,
    UnhandledEvent,
    decode,
    digest,
    encode,
    type_of,
)
from contracts.events import Event
from kernel.counters import Names
from kernel.rules import Rules, contradicts, fold_at_once

EVENTS_ALERT = 500  # events of one subject, at which an alert is raised
EVENTS_LIMIT = 5_000  # events of one subject: a MongoDB document holds 16 MB
KEPT_BYTES = 4_096  # of undecodable bytes
EVENTS_RESERVED = 10  # of them, for events that apply at once: a full record can still be erased

# Why an event is parked. `early`: an event before it is missing or parked. `ready`: it can be handled now.
Reason = Literal["early", "fault", "invalid", "unknown_type", "newer_rules", "unreadable_record", "ready"]
BLOCKED: tuple[Reason, ...] = ("fault", "invalid", "unknown_type", "newer_rules", "unreadable_record")


class LogPosition(msgspec.Struct, frozen=True, gc=False):
    """Where the log holds an event."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


class Message(msgspec.Struct, frozen=True, gc=False):
    """A consumed event: its envelope, its bytes and where they came from."""

    envelope: Envelope
    raw: bytes
    position: LogPosition | None = None


class Undecodable(msgspec.Struct, frozen=True):
    """Bytes in a topic that hold no envelope."""

    position: LogPosition
    raw: bytes | None  # the first 4 KiB
    why: str
    code: str = ""  # of the DecodeError
    length: int = 0  # of the whole, which the log has

    @classmethod
    def of(cls, position: LogPosition, raw: bytes | None, why: str, code: str) -> "Undecodable":
        """Return what is kept of bytes: all of what may be an event, of more than 4 KiB only the beginning."""
        return cls(position, raw and raw[:KEPT_BYTES], why, code, len(raw or b""))


class Fault(msgspec.Struct, frozen=True):
    """An exception that the rules or the projection raised, or why a record cannot be read.

    Faults that need the same fix have the same `error` and `where`.
    """

    error: str = ""
    message: str = ""
    where: str = ""

    @classmethod
    def of(cls, e: BaseException) -> "Fault":
        """Describe an exception by its class, its message and the innermost line of its traceback."""
        trace = e.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else ""
        return cls(type(e).__name__, str(e)[:500], where)


NO_FAULT = Fault()
CONTRADICTION = Fault("ContradictsHistory", "it does not follow the event before it that was handled", "$.previous")


def fingerprint(*cause: str) -> str:
    """Return a short name of a cause."""
    return blake2b("\0".join(cause).encode(), digest_size=6).hexdigest()


class Parked(msgspec.Struct, frozen=True):
    """An event that cannot be handled now.

    The first one of a subject and source is their head, and counts the rest. Those are `early`, or known to be invalid.
    """

    subject: str
    source: str
    sequence: int
    type: str
    raw: bytes
    reason: Reason
    since: datetime  # machine time
    fault: Fault = NO_FAULT
    behind: int = 0  # of a head: parked events of the same subject and source that follow it
    position: LogPosition | None = None  # unknown if it does not come from the log

    @property
    def fingerprint(self) -> str:
        """Return what parked events with the same cause have in common: twelve hexadecimal digits, no subject."""
        return fingerprint(self.reason, self.source, self.type, self.fault.error, self.fault.where)


class StoredResponse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request was answered from, by its idempotency key: the same request again gets the same answer."""

    key: str
    fingerprint: bytes
    at: datetime  # machine time
    sequence: int  # of the record's last event at the time, as are version and state
    version: int
    state: bytes


class Discarded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event that an operator discarded, parked or missing."""

    source: str
    sequence: int
    reason: str
    who: str
    at: datetime
    hash: str = ""  # digest of the event, if it was parked


class Private(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What no event may contain: blind indexes and ciphertext. Stored with the record, never given to the rules."""

    indexed: Mapping[str, Any] = {}
    content: Mapping[str, Any] = {}


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """State, inbox and outbox of one subject."""

    subject: str
    state: Any
    indexed: Mapping[str, Any] = {}
    private: Private = Private()
    version: int = 0  # raised by the store with every write
    last_sequence: int = 0
    last_time: datetime = NEVER  # programme time
    last_hash: str = ""
    inbox: Mapping[str, int] = {}  # source -> sequence of the last event handled
    inbox_hashes: Mapping[str, str] = {}  # source -> digest of that event, which the next one names; empty if unknown
    stored_responses: tuple[StoredResponse, ...] = ()
    discarded: tuple[Discarded, ...] = ()
    new_events: tuple[bytes, ...] = ()  # not stored yet
    counted_as: Names | None = None  # what the counters hold of it, if it counts as something else by now


class InvalidEmission(Exception):
    """The rules emitted an event that does not match its published schema."""


class RecordFull(Refused):
    """The subject has as many events as one document can hold."""

    def __init__(self) -> None:
        super().__init__("record_full", limit=EVENTS_LIMIT)


def event_time(record: Record, moment: Moment) -> datetime:
    """Return the time of the subject's next event: now, but never before its last event."""
    return max(moment.at, record.last_time)


def emit(
    record: Record,
    rules: Rules,
    service: str,
    events: Iterable[Event | EventWithContext],
    moment: Moment,
    *,
    actor: str = "",
    traceparent: str = "",
) -> Record:
    """Append events to the record and fold them into its state. Raise RecordFull."""
    after = _append(record, rules, service, tuple(events), moment, actor=actor, traceparent=traceparent)
    return record if after is record else reindex(after, rules)


def consume(
    record: Record,
    rules: Rules,
    service: str,
    messages: Sequence[Message],
    moment: Moment,
    heads: Mapping[str, Parked] = {},
) -> tuple[Record, list[Parked]]:
    """Handle consumed events in the order in which they came; return the record and the events to park.

    `heads` are the first parked events by source: what follows one is parked behind it. A repeat changes nothing, but
    an invalid event is returned although its sequence is handled.
    An early event that applies at once is folded as well as parked. It is folded again in its turn, so its rules are
    idempotent, and only then reacted to: a restore takes the cause of a reaction, and all before it, as handled.
    An event that applies at once, which is an erasure, leaves no stored response.
    """
    if not heads and (done := fold_at_once(rules, record.state, record.inbox, record.inbox_hashes, messages)):
        with suppress(Exception):  # handled one by one, the event at fault is found
            return reindex(replace(record, state=done[0], inbox=done[1], inbox_hashes=done[2]), rules), []
    return _consume_each(record, rules, service, messages, moment, heads)


def _consume_each(
    record: Record, rules: Rules, service: str, messages: Sequence[Message], moment: Moment, heads: Mapping[str, Parked]
) -> tuple[Record, list[Parked]]:
    erased = any(message.envelope.event.APPLIES_AT_ONCE for message in messages)
    after, parked = replace(record, stored_responses=()) if erased else record, list[Parked]()
    state, inbox, hashes, at = record.state, dict(record.inbox), dict(record.inbox_hashes), event_time(record, moment)
    first_parked = {source: head.sequence for source, head in heads.items()}
    evolve, react = rules.evolve, rules.react
    for message in messages:
        envelope = message.envelope
        source, sequence = envelope.source, envelope.sequence
        missing = sequence - inbox.get(source, 0) - 1
        if missing < 0:
            if envelope.event.__class__ is InvalidEvent:  # a forgery, of no further effect
                parked.append(park(message, "invalid", moment))
            continue
        reason: Reason = "early"
        fault = NO_FAULT
        if not missing and (not first_parked or sequence < first_parked.get(source, sequence + 1)):
            if obstacle := _obstacle(envelope, hashes.get(source, "")):
                reason, fault = obstacle
            else:
                try:
                    evolved = evolve(state, envelope)
                    if reactions := react(evolved, envelope, at):
                        consumed = replace(after, state=evolved, inbox={**inbox, source: sequence})
                        cause = f"{source}/{sequence}"
                        after = _append(
                            consumed, rules, service, reactions, moment, cause=cause, traceparent=envelope.traceparent
                        )
                        evolved, at = after.state, event_time(after, moment)
                    state, inbox[source], hashes[source] = evolved, sequence, digest(message.raw)
                    continue
                except Exception as e:  # this subject waits, the other subjects continue
                    reason, fault = _reason(e), Fault.of(e)
        if reason == "early" and envelope.event.APPLIES_AT_ONCE:
            state = _evolve_early(state, envelope, rules)
        parked.append(park(message, reason, moment, fault))
        first_parked[source] = min(sequence, first_parked.get(source, sequence))
    if inbox == record.inbox and state is record.state:
        return record, parked
    try:
        return reindex(replace(after, state=state, inbox=inbox, inbox_hashes=hashes), rules), parked
    except Exception as e:
        if len(messages) == 1:
            return record, [park(messages[0], _reason(e), moment, Fault.of(e))]
        return _consume_singly(record, rules, service, messages, moment, heads)


def _obstacle(envelope: Envelope, last_hash: str) -> tuple[Reason, Fault] | None:
    """Return why the next event of a source cannot be given to the rules."""
    if isinstance(envelope.event, UnhandledEvent):
        return "unknown_type", NO_FAULT
    return ("invalid", CONTRADICTION) if contradicts(envelope, last_hash) else None


def _reason(e: Exception) -> Reason:
    """Return why an event is parked whose rules raised; what a newer version handles must not pause this one."""
    return "unknown_type" if isinstance(e, UnknownVersion) else "fault"


def _evolve_early(state: Any, envelope: Envelope, rules: Rules) -> Any:
    """Fold an event before its turn, unless this changes nothing or the rules raise: its turn will show the fault."""
    try:
        evolved = rules.evolve(state, envelope)
        return evolved if evolved != state and rules.indexed(evolved) is not None else state
    except Exception:
        return state


def _consume_singly(
    record: Record, rules: Rules, service: str, messages: Sequence[Message], moment: Moment, heads: Mapping[str, Parked]
) -> tuple[Record, list[Parked]]:
    """Find the event after which `indexed` raises: the ones before it are handled."""
    known, parked = dict(heads), list[Parked]()
    for message in messages:
        record, more = consume(record, rules, service, (message,), moment, known)
        parked += more
        for each in more:
            if each.sequence > record.inbox.get(each.source, 0):
                known[each.source] = min(each, known.get(each.source, each), key=lambda p: p.sequence)
    return record, parked


def park(message: Message, reason: Reason, moment: Moment, fault: Fault = NO_FAULT) -> Parked:
    """Describe an event that cannot be handled now. One that is invalid is `invalid`, whatever else it waits for."""
    e = message.envelope
    if isinstance(e.event, InvalidEvent):
        reason, fault = "invalid", Fault("InvalidEvent", e.event.why, e.event.where)
    return Parked(
        e.subject,
        e.source,
        e.sequence,
        type_of(e.event),
        message.raw,
        reason,
        moment.recorded,
        fault,
        position=message.position,
    )


def unpark(p: Parked) -> Message:
    """Return a parked event to be handled; one that this version cannot decode is invalid."""
    try:
        envelope = decode(p.raw)
    except DecodeError as e:
        event = InvalidEvent(type=p.type, why=str(e), where="$")
        envelope = Envelope(source=p.source, subject=p.subject, sequence=p.sequence, time=NEVER, event=event)
    return Message(envelope, p.raw, p.position)


def discard(record: Record, discarded: Discarded) -> Record:
    """Return the record with its next event of a source marked as handled although it is not."""
    source, sequence = discarded.source, discarded.sequence
    assert sequence == record.inbox.get(source, 0) + 1
    inbox, hashes = {**record.inbox, source: sequence}, {**record.inbox_hashes, source: discarded.hash}
    return replace(record, inbox=inbox, inbox_hashes=hashes, discarded=(*record.discarded, discarded))


def reindex(record: Record, rules: Rules) -> Record:
    """Compute the fields by which the record is queried. A field without a value is left out: no index may hold it."""
    indexed = rules.indexed(record.state)
    if record.private.indexed:
        indexed = {**indexed, **record.private.indexed}
    if None in indexed.values():
        indexed = {name: value for name, value in indexed.items() if value is not None}
    return replace(record, indexed=indexed)


def _append(
    record: Record,
    rules: Rules,
    service: str,
    events: Sequence[Event | EventWithContext],
    moment: Moment,
    *,
    actor: str = "",
    cause: str = "",
    traceparent: str = "",
) -> Record:
    if not events:
        return record
    state, sequence, last_hash, new_events = record.state, record.last_sequence, record.last_hash, [*record.new_events]
    at = event_time(record, moment)
    pairs = [(e.event, e.context) if isinstance(e, EventWithContext) else (e, None) for e in events]
    limit = EVENTS_LIMIT if any(event.APPLIES_AT_ONCE for event, _ in pairs) else EVENTS_LIMIT - EVENTS_RESERVED
    for event, context in pairs:
        sequence += 1
        if sequence > limit:
            raise RecordFull
        envelope = Envelope(
            source=service,
            subject=record.subject,
            sequence=sequence,
            time=at,
            event=event,
            context=rules.context(state) if context is None else context,
            actor=actor,
            recorded=moment.recorded,
            cause=cause,
            previous=last_hash,
            traceparent=traceparent,
        )
        state = rules.evolve(state, envelope)
        raw = encode(envelope)
        if isinstance(emitted := decode(raw).event, UnhandledEvent):  # it would be parked by every consumer, for ever
            raise InvalidEmission(f"{type_of(event)}: {emitted}")
        last_hash = digest(raw)
        new_events.append(raw)
    return replace(
        record, state=state, last_sequence=sequence, last_time=at, last_hash=last_hash, new_events=tuple(new_events)
    )
