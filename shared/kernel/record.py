"""One subject as one service knows it: a value that moves only by `emit` and `receive`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec
from msgspec.structs import replace

from base.clock import Moment
from contracts.commands import EventWithContext, Refused
from contracts.envelope import Envelope, decode, digest, encode
from contracts.events import Event
from kernel.rules import Rules

EVENTS_ALERT = 500  # events of one subject: somebody should look
EVENTS_LIMIT = 5_000  # a document holds 16 MB, and a batch with too large a one stops
PARKED_EVENTS = 200  # of one source that are kept as bytes; what comes after is kept as its place in the log
PARKED_BYTES = 256 << 10
STRANDED_EVENTS = 2_000  # of one record that are brought from the log at a time
NEVER = datetime(1, 1, 1, tzinfo=UTC)


class RecordFull(Refused):
    """The subject has emitted as much as one document can hold."""

    def __init__(self) -> None:
        super().__init__("record_full", limit=EVENTS_LIMIT)


class LogPosition(msgspec.Struct, frozen=True, gc=False):
    """Where the log holds an event."""

    topic: str
    partition: int
    offset: int


class Message(msgspec.Struct, frozen=True, gc=False):
    """An event that has arrived: the envelope, its bytes, and where the log holds them."""

    envelope: Envelope
    raw: bytes
    place: LogPosition | None = None


class Undecodable(msgspec.Struct, frozen=True):
    """What nobody can read, where the log holds it, and why."""

    place: LogPosition
    raw: bytes | None
    why: str


class Parked(msgspec.Struct, frozen=True):
    """Events of one source that cannot be handled yet: a hole lies before them, or the first meets a fault.

    Kept as bytes: an older version may park what only a newer one reads. Beyond the bounds only their places are kept.
    """

    envelopes: dict[int, bytes | LogPosition] = {}  # by sequence
    fault: str = ""
    since: datetime = NEVER  # machine time


class StoredResponse(msgspec.Struct, frozen=True):
    """A request that this record has answered: the same key is answered again from the record, never acted on again."""

    key: str
    fingerprint: bytes
    at: datetime  # machine time
    sequence: int  # the record's last when it was answered


class Discarded(msgspec.Struct, frozen=True):
    """A parked event that a person gave up; a rebuild passes over it as well."""

    source: str
    sequence: int
    reason: str
    who: str
    at: datetime


class Private(msgspec.Struct, frozen=True):
    """What no event may tell: blind indexes and ciphertext. It moves with the record, and no rule folds it."""

    indexed: Mapping[str, Any] = {}
    content: Mapping[str, Any] = {}


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """State, inbox and what was emitted, of one subject."""

    subject: str
    state: Any
    indexed: Mapping[str, Any] = {}
    private: Private = Private()
    version: int = 0
    last_sequence: int = 0  # how many events it has ever emitted
    last_time: datetime = NEVER  # programme time of the last one
    last_hash: str = ""
    inbox: dict[str, int] = {}  # source -> the sequence of its last event handled
    parked: dict[str, Parked] = {}  # source -> what waits
    answered: tuple[StoredResponse, ...] = ()
    discarded: tuple[Discarded, ...] = ()
    emitted: tuple[bytes, ...] = ()  # in this movement, not stored yet


def event_time(record: Record, moment: Moment) -> datetime:
    """When the subject's next event happens: now, and never before its last."""
    return max(moment.at, record.last_time)


def emit(
    record: Record,
    rules: Rules,
    service: str,
    events: Iterable[Event | EventWithContext],
    moment: Moment,
    *,
    actor: str = "",
    cause: str = "",
    traceparent: str = "",
) -> Record:
    """The record after events of its own. Raises RecordFull."""
    after = _say(record, rules, service, events, moment, actor, cause, traceparent)
    return record if after is record else reindex(after, rules)


def _say(
    record: Record,
    rules: Rules,
    service: str,
    events: Iterable[Event | EventWithContext],
    moment: Moment,
    actor: str,
    cause: str,
    traceparent: str,
) -> Record:
    if not (events := tuple(events)):
        return record
    state, sequence, last_hash, emitted = record.state, record.last_sequence, record.last_hash, list(record.emitted)
    at = event_time(record, moment)
    for said in events:
        event, context = (
            (said.event, said.context) if isinstance(said, EventWithContext) else (said, rules.context(state))
        )
        sequence += 1
        if sequence > EVENTS_LIMIT:
            raise RecordFull
        envelope = Envelope(
            source=service,
            subject=record.subject,
            sequence=sequence,
            time=at,
            event=event,
            context=context,
            actor=actor,
            recorded=moment.recorded,
            cause=cause,
            previous=last_hash,
            traceparent=traceparent,
        )
        state = rules.evolve(state, envelope)
        raw = encode(envelope)
        last_hash = digest(raw)
        emitted.append(raw)
    return replace(
        record,
        state=state,
        last_sequence=sequence,
        last_time=at,
        last_hash=last_hash,
        emitted=tuple(emitted),
    )


def receive(record: Record, rules: Rules, service: str, message: Message, moment: Moment) -> Record:
    """The record after one event of another service.

    A repeat changes nothing, an early one waits, one that meets a fault holds what follows it from the same source.
    """
    return receive_all(record, rules, service, (message,), moment)


def receive_all(record: Record, rules: Rules, service: str, messages: Iterable[Message], moment: Moment) -> Record:
    """The record after events of other services, in the order in which they came: each as `receive` takes it.

    What the record is looked up by is found once, at the end: most of what comes in between is never stored.
    """
    messages, after, done = tuple(messages), record, 0
    while done < len(messages):
        after, reached = _run(after, rules, service, messages, done, moment)
        if reached == done:
            after, reached = _receive(after, rules, service, messages[done], moment), done + 1
        done = reached
    if after is record:
        return record
    try:
        return reindex(after, rules)
    except Exception as fault:
        if len(messages) == 1:
            return park(record, messages[0], _why(fault), moment)
        for message in messages:  # one of them made it so, and those before it are handled
            record = receive_all(record, rules, service, (message,), moment)
        return record


def _run(
    record: Record, rules: Rules, service: str, messages: Sequence[Message], first: int, moment: Moment
) -> tuple[Record, int]:
    """The record after those events from the `first` on that can simply be folded, and which is the next.

    One that is answered ends the run; one that comes early or meets a fault is left to `_receive`.
    """
    if record.parked:
        return record, first
    state, inbox, reached = record.state, dict(record.inbox), first
    at, evolve, react = event_time(record, moment), rules.evolve, rules.react
    for message in islice(messages, first, None):
        envelope = message.envelope
        missing = _missing(inbox, envelope)
        if missing > 0:
            break
        if not missing:
            try:
                told = evolve(state, envelope)
                if answer := react(told, envelope, at):
                    known = replace(record, state=told, inbox={**inbox, envelope.source: envelope.sequence})
                    return _answer(known, rules, service, answer, envelope, moment), reached + 1
            except Exception:
                break
            state, inbox[envelope.source] = told, envelope.sequence
        reached += 1
    return (record if inbox == record.inbox else replace(record, state=state, inbox=inbox)), reached


def _missing(inbox: Mapping[str, int], envelope: Envelope) -> int:
    """How many of its source's events must come before this one; below 0 it is a repeat."""
    return envelope.sequence - inbox.get(envelope.source, 0) - 1


def _receive(record: Record, rules: Rules, service: str, message: Message, moment: Moment) -> Record:
    envelope, source = message.envelope, message.envelope.source
    missing, parked = _missing(record.inbox, envelope), record.parked.get(source)
    if missing < 0:
        return record
    if missing or (parked and parked.fault):
        return park(record, message, parked.fault if parked else "", moment)
    try:
        handled = _handle(record, rules, service, envelope, moment)
    except Exception as fault:  # this subject stops here, everyone else flows on
        return park(record, message, _why(fault), moment)
    return drain(handled, rules, service, source, moment) if parked else handled


def park(record: Record, message: Message, fault: str, moment: Moment) -> Record:
    """The record with this event waiting: early, or with the fault it met."""
    source, sequence = message.envelope.source, message.envelope.sequence
    parked = record.parked.get(source, Parked(since=moment.recorded))
    if sequence in parked.envelopes and parked.fault == fault:
        return record
    waits = message.place if message.place and _full(parked, message.raw) else message.raw
    return _keep(record, source, Parked({**parked.envelopes, sequence: waits}, fault, parked.since))


def retry(record: Record, rules: Rules, service: str, source: str, moment: Moment) -> Record:
    """The record after its parked events of one source were tried again, in order. Raises Refused: nothing_parked."""
    parked = _waiting(record, source)
    return drain(_keep(record, source, replace(parked, fault="")), rules, service, source, moment)


def discard(record: Record, rules: Rules, service: str, source: str, reason: str, who: str, moment: Moment) -> Record:
    """The record with the event that holds up one source given up, and what waited behind it tried.

    That event is parked with a fault, or has never come. Raises Refused: nothing_parked.
    """
    sequence, parked = record.inbox.get(source, 0) + 1, _waiting(record, source)
    given_up = replace(
        _keep(record, source, replace(parked, fault="")),
        inbox={**record.inbox, source: sequence},
        discarded=(*record.discarded, Discarded(source, sequence, reason, who, moment.recorded)),
    )
    return drain(given_up, rules, service, source, moment)


def stranded(record: Record) -> list[LogPosition]:
    """Where the log holds the parked events whose turn it is: only their places were kept."""
    places: list[LogPosition] = []
    for source, parked in record.parked.items():
        sequence = record.inbox.get(source, 0) + 1
        while not parked.fault and isinstance(place := parked.envelopes.get(sequence), LogPosition):
            places.append(place)
            sequence += 1
            if len(places) == STRANDED_EVENTS:
                return places
    return places


def drain(record: Record, rules: Rules, service: str, source: str, moment: Moment) -> Record:
    """Handles what waits, as far as it is dense, whole and without fault; forgets what has been handled meanwhile."""
    parked, fault = record.parked.get(source, Parked()), ""
    while isinstance(raw := parked.envelopes.get(record.inbox.get(source, 0) + 1), bytes):
        try:
            record = reindex(_handle(record, rules, service, decode(raw), moment), rules)
        except Exception as e:
            fault = _why(e)
            break
    last = record.inbox.get(source, 0)
    left = {sequence: waits for sequence, waits in parked.envelopes.items() if sequence > last}
    return _keep(record, source, Parked(left, fault, parked.since))


def _handle(record: Record, rules: Rules, service: str, envelope: Envelope, moment: Moment) -> Record:
    state = rules.evolve(record.state, envelope)
    known = replace(record, state=state, inbox={**record.inbox, envelope.source: envelope.sequence})
    said = rules.react(state, envelope, event_time(record, moment))
    return _answer(known, rules, service, said, envelope, moment) if said else known


def _answer(
    known: Record, rules: Rules, service: str, said: Sequence[Event | EventWithContext], heard: Envelope, moment: Moment
) -> Record:
    cause = f"{heard.source}/{heard.sequence}"
    return _say(known, rules, service, said, moment, "", cause, heard.traceparent)


def reindex(record: Record, rules: Rules) -> Record:
    """The record with what its state is looked up by; what has no value is not there: no index must meet it."""
    found = rules.indexed(record.state)
    both = {**found, **record.private.indexed} if record.private.indexed else found
    if None in both.values():
        both = {name: value for name, value in both.items() if value is not None}
    return replace(record, indexed=both)


def _waiting(record: Record, source: str) -> Parked:
    if source not in record.parked:
        raise Refused("nothing_parked", source=source)
    return record.parked[source]


def _full(parked: Parked, raw: bytes) -> bool:
    if len(parked.envelopes) >= PARKED_EVENTS:
        return True
    return len(raw) + sum(len(each) for each in parked.envelopes.values() if isinstance(each, bytes)) > PARKED_BYTES


def _keep(record: Record, source: str, parked: Parked) -> Record:
    others = {s: each for s, each in record.parked.items() if s != source}
    return replace(record, parked={**others, source: parked} if parked.envelopes else others)


def _why(fault: Exception) -> str:
    """The fault and where it happened: faults that read the same are mended the same way."""
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" in {trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else ""
    return f"{fault!r}{where}"
