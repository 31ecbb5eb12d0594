"""One subject as one service knows it: a value that moves only by `emit` and `receive`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from contracts.commands import Said
from contracts.envelope import Context, Envelope, digest, read, write
from contracts.events import Event
from plumbing.clock import Moment

EMITTED_ALARM = 500  # events of one subject: somebody should look
EMITTED_LIMIT = 5_000  # a document holds 16 MB, and a batch with too large a one stops
PARKED_EVENTS = 200  # of one source that are kept as bytes; what comes after is kept as its place in the log
PARKED_BYTES = 256 << 10
NEVER = datetime(1, 1, 1, tzinfo=UTC)


class RecordFull(Exception):
    """The subject has emitted as much as one document can hold."""


class Rules(Protocol):
    """A module of a service's `domain`, one per kind of subject: pure functions; no I/O, no clock, no chance."""

    VERSION: int  # raised when states of the older rules are no longer read the same way
    State: type[Any]

    def decide(self, state: Any, command: Any, at: datetime) -> Sequence[Event | Said]:
        """Somebody asks, or the clock does (Tick). Raises Refused."""

    def react(self, state: Any, heard: Envelope, at: datetime) -> Sequence[Event | Said]:
        """Another service emitted this, and `state` knows it already. Never refuses."""

    def evolve(self, state: Any, envelope: Envelope) -> Any:
        """The state after one event, own or heard; an event it has no use for changes nothing."""

    def indexed(self, state: Any) -> Mapping[str, Any]:
        """What the record is looked up by. Where it has `due`, `decide(state, Tick(due), due)` says something."""

    def context(self, state: Any) -> Context:
        """Where the subject stands in the programme, for the next event about it."""


class Place(msgspec.Struct, frozen=True):
    """Where the log holds an event."""

    topic: str
    partition: int
    offset: int


class Message(msgspec.Struct, frozen=True):
    """An event that has arrived: the envelope, its bytes, and where the log holds them."""

    envelope: Envelope
    raw: bytes
    place: Place | None = None


class Parked(msgspec.Struct, frozen=True):
    """Events of one source that cannot be handled yet: a hole lies before them, or the first meets a fault.

    Kept as bytes: an older version may park what only a newer one reads. Beyond the bounds only their places are kept.
    """

    envelopes: dict[int, bytes | Place] = {}  # by sequence
    fault: str = ""
    since: datetime = NEVER  # machine time


class Answer(msgspec.Struct, frozen=True):
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


class Record(msgspec.Struct, frozen=True, kw_only=True):
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
    answered: tuple[Answer, ...] = ()
    discarded: tuple[Discarded, ...] = ()
    emitted: tuple[bytes, ...] = ()  # in this movement, not stored yet


def emit(
    record: Record,
    rules: Rules,
    service: str,
    events: Iterable[Event | Said],
    moment: Moment,
    *,
    actor: str = "",
    cause: str = "",
    traceparent: str = "",
) -> Record:
    """The record after events of its own. Raises RecordFull."""
    state, sequence, last_hash, emitted = record.state, record.last_sequence, record.last_hash, list(record.emitted)
    at = max(moment.at.replace(microsecond=moment.at.microsecond // 1000 * 1000), record.last_time)  # BSON keeps ms
    for said in events:
        event, context = (said.event, said.context) if isinstance(said, Said) else (said, rules.context(state))
        sequence += 1
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
        raw = write(envelope)
        last_hash = digest(raw)
        emitted.append(raw)
    if sequence == record.last_sequence:
        return record
    if sequence > EMITTED_LIMIT:
        raise RecordFull(record.subject)
    return replace(
        record,
        state=state,
        indexed={**rules.indexed(state), **record.private.indexed},
        last_sequence=sequence,
        last_time=at,
        last_hash=last_hash,
        emitted=tuple(emitted),
    )


def receive(record: Record, rules: Rules, service: str, message: Message, moment: Moment) -> Record:
    """The record after one event of another service.

    A repeat changes nothing, an early one waits, one that meets a fault holds what follows it from the same source.
    """
    envelope = message.envelope
    parked, last = record.parked.get(envelope.source, Parked()), record.inbox.get(envelope.source, 0)
    if envelope.sequence <= last:
        return record
    if parked.fault or envelope.sequence > last + 1:
        return record if envelope.sequence in parked.envelopes else park(record, message, parked.fault, moment)
    try:
        handled = _handle(record, rules, service, envelope, moment)
    except Exception as fault:  # this subject stops here, everyone else flows on
        return park(record, message, repr(fault), moment)
    return _drain(
        _keep(handled, envelope.source, _without(parked, envelope.sequence)), rules, service, envelope.source, moment
    )


def park(record: Record, message: Message, fault: str, moment: Moment) -> Record:
    """The record with this event waiting: early, or with the fault it met."""
    source, parked = message.envelope.source, record.parked.get(message.envelope.source, Parked(since=moment.recorded))
    kept = [each for each in parked.envelopes.values() if isinstance(each, bytes)]
    full = len(kept) >= PARKED_EVENTS or sum(map(len, kept)) + len(message.raw) > PARKED_BYTES
    waits = message.place if full and message.place else message.raw
    return _keep(
        record,
        source,
        Parked({**parked.envelopes, message.envelope.sequence: waits}, fault, parked.since),
    )


def retry(record: Record, rules: Rules, service: str, source: str, moment: Moment) -> Record:
    """The record after its parked events of one source were tried again, in order."""
    parked = record.parked.get(source, Parked())
    return _drain(_keep(record, source, replace(parked, fault="")), rules, service, source, moment)


def discard(record: Record, rules: Rules, service: str, source: str, reason: str, who: str, moment: Moment) -> Record:
    """The record with the first parked event of one source given up, and what waited behind it tried."""
    sequence, parked = record.inbox.get(source, 0) + 1, record.parked.get(source, Parked())
    given_up = replace(
        _keep(record, source, replace(_without(parked, sequence), fault="")),
        inbox={**record.inbox, source: sequence},
        discarded=(*record.discarded, Discarded(source, sequence, reason, who, moment.recorded)),
    )
    return _drain(given_up, rules, service, source, moment)


def stranded(record: Record) -> list[Place]:
    """Where the log holds the parked events whose turn it is: only their places were kept."""
    heads = ((source, each.envelopes.get(record.inbox.get(source, 0) + 1)) for source, each in record.parked.items())
    return [place for source, place in heads if isinstance(place, Place) and not record.parked[source].fault]


def _drain(record: Record, rules: Rules, service: str, source: str, moment: Moment) -> Record:
    while True:
        sequence, parked = record.inbox.get(source, 0) + 1, record.parked.get(source, Parked())
        raw = parked.envelopes.get(sequence)
        if not isinstance(raw, bytes):
            return record
        try:
            handled = _handle(record, rules, service, read(raw), moment)
        except Exception as fault:
            return _keep(record, source, replace(parked, fault=repr(fault)))
        record = _keep(handled, source, _without(parked, sequence))


def _handle(record: Record, rules: Rules, service: str, envelope: Envelope, moment: Moment) -> Record:
    state = rules.evolve(record.state, envelope)
    known = replace(
        record,
        state=state,
        indexed={**rules.indexed(state), **record.private.indexed},
        inbox={**record.inbox, envelope.source: envelope.sequence},
    )
    return emit(
        known,
        rules,
        service,
        rules.react(state, envelope, max(moment.at, record.last_time)),
        moment,
        cause=f"{envelope.source}/{envelope.sequence}",
        traceparent=envelope.traceparent,
    )


def _without(parked: Parked, sequence: int) -> Parked:
    if sequence not in parked.envelopes:
        return parked
    return replace(parked, envelopes={n: raw for n, raw in parked.envelopes.items() if n != sequence})


def _keep(record: Record, source: str, parked: Parked) -> Record:
    if not parked.envelopes and source not in record.parked:
        return record
    others = {s: each for s, each in record.parked.items() if s != source}
    return replace(record, parked={**others, source: parked} if parked.envelopes else others)
