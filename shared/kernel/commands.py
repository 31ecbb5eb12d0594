"""The first way in which records change: `execute` a command of a person or of the scheduler."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from base.clock import Clock, Moment
from contracts.commands import Refused
from contracts.envelope import Envelope, decode
from contracts.subjects import kind_of
from kernel.errors import Conflict, KeyReused, NewerRules, UniqueViolation, UnreadableRecord
from kernel.record import Private, Record, StoredResponse, emit, event_time
from kernel.rules import Rules
from kernel.store import Effects, Snapshot, Store, unique_values

RESPONSES_KEPT = timedelta(days=7)
STALE = timedelta(seconds=5)  # between taking the time and the write

_encode = msgspec.json.Encoder().encode

T = TypeVar("T")


class CommandMetadata(msgspec.Struct, frozen=True):
    """Who sends a command, and under which idempotency key (the principal is part of it)."""

    actor: str = ""
    idempotency_key: str = ""
    fingerprint: bytes = b""  # of the request
    private: Private | None = None  # replaces what the record has
    traceparent: str = ""
    new_subject: bool = False  # the id was made just now: do not look for a record
    prepare: Callable[[Record], Record] | None = None  # changes what is in no event, once the command is accepted


class Result(msgspec.Struct, frozen=True):
    """The record afterwards and its new events; `repeated` if a response is stored under the key.

    A repeated request gets the record as it was: its state, version and last sequence at the time.
    """

    record: Record
    events: tuple[Envelope, ...] = ()
    repeated: bool = False


Outcome = Result | Refused | UniqueViolation | KeyReused | NewerRules | UnreadableRecord
NO_METADATA = CommandMetadata()


async def execute(
    store: Store, subject: str, command: Any, clock: Clock, metadata: CommandMetadata = NO_METADATA
) -> Result:
    """Decide on a command and store the events; start again if the record has changed meanwhile.

    Raise what `decide` raises, UniqueViolation, KeyReused, RecordFull, NewerRules, UnreadableRecord, Transient.
    """
    rules = store.rules[kind_of(subject)]
    new = Record(subject=subject, state=rules.State()) if metadata.new_subject else None
    while True:
        before, new = new or (await store.read([subject]))[subject], None
        if repeated := _repeated(before, metadata, rules):
            return repeated
        try:
            after = at_one_moment(clock, partial(_decide, before, rules, store.service, command, metadata))
            if after is before:
                return Result(before)
            if record := await store.swap(before, after):
                return Result(record, tuple(map(decode, after.new_events)))
        except (Refused, UniqueViolation):
            if response := await stored_response(store, metadata):
                return response
            raise


async def execute_many(
    store: Store,
    commands: Mapping[str, Any],
    clock: Clock,
    metadata: Mapping[str, CommandMetadata] | CommandMetadata = NO_METADATA,
) -> dict[str, Outcome]:
    """Decide on commands about many subjects in one transaction; what fails concerns its own subject only.

    Raise Transient.
    """
    by_subject = {
        s: metadata if isinstance(metadata, CommandMetadata) else metadata.get(s, NO_METADATA) for s in commands
    }
    outcomes = await _execute_all(store, dict(commands), clock, by_subject)
    for subject, outcome in outcomes.items():
        if isinstance(outcome, Refused | UniqueViolation):
            try:
                outcomes[subject] = await stored_response(store, by_subject[subject]) or outcome
            except KeyReused as reused:
                outcomes[subject] = reused
    return outcomes


async def _execute_all(
    store: Store, commands: dict[str, Any], clock: Clock, metadata: Mapping[str, CommandMetadata]
) -> dict[str, Outcome]:
    """Execute in one transaction, without those that violate a unique field; halve it if others keep interfering."""
    violations: dict[str, Outcome] = {}
    while True:
        outcomes: dict[str, Outcome] = {}
        decide_all = partial(_decide_all, store, commands, metadata, outcomes)
        try:
            written = await store.transact(
                commands.keys(),
                lambda read: at_one_moment(clock, partial(decide_all, read)),  # noqa: B023
            )
        except UniqueViolation as violation:
            candidates = {s: outcome.record for s, outcome in outcomes.items() if isinstance(outcome, Result)}
            found = await _violations(store, candidates) or {violation.subject: violation}
            if not found.keys() & commands.keys():
                raise
            violations |= found
            commands = {s: command for s, command in commands.items() if s not in found}
        except Conflict:
            if len(commands) < 2:
                raise
            subjects = list(commands)
            for half in (subjects[: len(subjects) // 2], subjects[len(subjects) // 2 :]):
                outcomes |= await _execute_all(store, {s: commands[s] for s in half}, clock, metadata)
            return violations | outcomes
        else:
            for _, after in written.changes:
                if isinstance(done := outcomes[after.subject], Result):
                    outcomes[after.subject] = replace(done, record=after)
            return violations | outcomes


def _decide_all(
    store: Store,
    commands: Mapping[str, Any],
    metadata: Mapping[str, CommandMetadata],
    outcomes: dict[str, Outcome],
    snapshot: Snapshot,
    moment: Moment,
) -> Effects:
    changes = []
    for subject, command in commands.items():
        try:
            before = snapshot.record(subject)
            outcomes[subject] = done = decide_one(store, before, command, metadata[subject], moment)
        except (Refused, KeyReused, NewerRules, UnreadableRecord) as e:  # its own subject only
            outcomes[subject] = e
            continue
        if not done.repeated and done.record is not before:
            changes.append((before, done.record))
    return Effects(changes)


def decide_one(store: Store, before: Record, command: Any, metadata: CommandMetadata, moment: Moment) -> Result:
    """Return the stored response, or the record with the events of a command. Raise what `execute` raises."""
    rules = store.rules[kind_of(before.subject)]
    if repeated := _repeated(before, metadata, rules):
        return repeated
    after = _decide(before, rules, store.service, command, metadata, moment)
    return Result(after, tuple(map(decode, after.new_events)))


def at_one_moment(clock: Clock, decide: Callable[[Moment], T]) -> T:
    """Decide at one moment; take the time again if the process was suspended meanwhile."""
    for _ in range(3):
        moment = clock()
        decided = decide(moment)
        if clock().recorded - moment.recorded <= STALE:
            break
    return decided


def _decide(
    before: Record, rules: Rules, service: str, command: Any, metadata: CommandMetadata, moment: Moment
) -> Record:
    key, events = metadata.idempotency_key, rules.decide(before.state, command, event_time(before, moment))
    if not events and not (key and before.version):
        return before
    if events and metadata.private is not None:
        before = replace(before, private=metadata.private)
    if events and metadata.prepare is not None:
        before = metadata.prepare(before)
    after = emit(before, rules, service, events, moment, actor=metadata.actor, traceparent=metadata.traceparent)
    if not key:
        return after
    kept = [each for each in after.stored_responses if moment.recorded - each.at < RESPONSES_KEPT]
    sequence, version, state = after.last_sequence, before.version + 1, _encode(after.state)
    response = StoredResponse(key, metadata.fingerprint, moment.recorded, sequence, version, state)
    return replace(after, stored_responses=(*kept, response))


def _repeated(record: Record, metadata: CommandMetadata, rules: Rules) -> Result | None:
    """Return the stored response. Raise KeyReused."""
    for response in record.stored_responses if metadata.idempotency_key else ():
        if response.key == metadata.idempotency_key:
            if metadata.fingerprint and response.fingerprint != metadata.fingerprint:
                raise KeyReused(metadata.idempotency_key)
            state = msgspec.json.decode(response.state, type=rules.State)
            as_it_was = replace(record, state=state, version=response.version, last_sequence=response.sequence)
            return Result(as_it_was, (), repeated=True)
    return None


async def stored_response(store: Store, metadata: CommandMetadata) -> Result | None:
    """Return the response stored under the key, whatever its subject: a repeated request may have generated a new id.

    Metadata without a fingerprint match any request. Raise KeyReused, NewerRules, UnreadableRecord, Transient.
    """
    if not (key := metadata.idempotency_key):
        return None
    if not (subject := (await store.find_by_unique("idempotency_key", [key])).get(key)):
        return None
    return _repeated((await store.read([subject]))[subject], metadata, store.rules[kind_of(subject)])


async def _violations(store: Store, records: Mapping[str, Record]) -> dict[str, Outcome]:
    """Return which of these records have a value of a unique field that another record has."""
    found: dict[str, Outcome] = {}
    values: dict[str, dict[Any, str]] = {
        "idempotency_key": {each.key: s for s, record in records.items() for each in record.stored_responses}
    }
    for field in store.unique:
        values[field] = {value: s for s, record in records.items() for value in unique_values(record, field)}
    for field, subjects in values.items():
        for value, owner in (await store.find_by_unique(field, subjects.keys())).items() if subjects else ():
            if owner != subjects[value]:
                found[subjects[value]] = UniqueViolation(field, subjects[value])
    return found
