"""The first of the two ways in which records change: a command (`execute`)."""

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
from kernel.errors import Conflict, KeyReused, UniqueViolation
from kernel.record import Private, Record, StoredResponse, emit, event_time
from kernel.rules import Rules
from kernel.store import Changes, Known, Store, unique_values

T = TypeVar("T")

RESPONSES_KEPT = timedelta(days=7)


STALE = timedelta(seconds=5)  # between taking the time and the write


class CommandMetadata(msgspec.Struct, frozen=True):
    """Who asks, and under which idempotency key (already joined with the principal); `private` is kept beside."""

    actor: str = ""
    key: str = ""
    fingerprint: bytes = b""
    private: Private | None = None
    traceparent: str = ""
    new: bool = False  # about a subject whose id was made just now: it is not looked for first


class Result(msgspec.Struct, frozen=True):
    """The record afterwards and what it emitted; `repeated` where this key had been answered before."""

    record: Record
    events: tuple[Envelope, ...] = ()
    repeated: bool = False


async def execute(
    store: Store,
    subject: str,
    command: Any,
    clock: Clock,
    ask: CommandMetadata = CommandMetadata(),  # noqa: B008
) -> Result:
    """Decides on what is known and stores it; looks again if another was faster.

    Raises what `decide` raises, Taken for a unique field, KeyReused, RecordFull, Transient.
    """
    rules = store.rules[kind_of(subject)]
    fresh = Record(subject=subject, state=rules.State()) if ask.new else None
    while True:
        before, fresh = fresh or (await store.read([subject]))[subject], None
        if repeated := _answered_here(before, ask):
            return repeated
        try:
            after = at_one_moment(clock, partial(_decided, before, rules, store.service, command, ask))
            if after is before:
                return Result(before)
            if await store.swap(before, after):
                return Result(after, tuple(map(decode, after.emitted)))
        except (Refused, UniqueViolation):
            if repeated := await _answered_elsewhere(store, ask):
                return repeated
            raise


async def execute_many(
    store: Store,
    commands: Mapping[str, Any],
    clock: Clock,
    asks: Mapping[str, CommandMetadata] | CommandMetadata = CommandMetadata(),  # noqa: B008
) -> dict[str, Result | Refused | UniqueViolation | KeyReused]:
    """Decides on many subjects in one transaction, each for itself: what one is refused, the others are not.

    Where others keep writing the same records, in several smaller ones. Raises Transient.
    """
    outcomes: dict[str, Result | Refused | UniqueViolation | KeyReused] = {}
    left = dict(commands)

    def ask_of(subject: str) -> CommandMetadata:
        return asks if isinstance(asks, CommandMetadata) else asks.get(subject, CommandMetadata())

    def decided(known: Known, moment: Moment) -> Changes:
        changes = []
        for subject, command in left.items():
            before, ask = known[subject], ask_of(subject)
            try:
                if repeated := _answered_here(before, ask):
                    outcomes[subject] = repeated
                    continue
                after = _decided(before, store.rules[kind_of(subject)], store.service, command, ask, moment)
            except (Refused, KeyReused) as refused:
                outcomes[subject] = refused
                continue
            outcomes[subject] = Result(after, tuple(map(decode, after.emitted)))
            if after is not before:
                changes.append((before, after))
        return changes

    while left:
        try:
            await store.transact(left.keys(), lambda known: at_one_moment(clock, lambda moment: decided(known, moment)))
            break
        except UniqueViolation as taken:  # nothing was stored: the others go on without them
            gone = await _taken(store, {s: done.record for s, done in outcomes.items() if isinstance(done, Result)})
            if not gone.keys() & left.keys():
                if taken.subject not in left:
                    raise
                gone = {taken.subject: taken}
            for subject in gone.keys() & left.keys():
                del left[subject]
                outcomes[subject] = gone[subject]
        except Conflict:
            halves = list(left.items())
            for half in (halves[: len(left) // 2], halves[len(left) // 2 :]):
                outcomes |= await execute_many(store, dict(half), clock, asks)
            break
    for subject, outcome in outcomes.items():
        if isinstance(outcome, Refused | UniqueViolation):
            try:
                outcomes[subject] = await _answered_elsewhere(store, ask_of(subject)) or outcome
            except KeyReused as reused:
                outcomes[subject] = reused
    return outcomes


def at_one_moment(clock: Clock, decide: Callable[[Moment], T]) -> T:
    """What is decided at a moment; a process that was stopped meanwhile takes the time anew before it writes."""
    for _ in range(3):
        moment = clock()
        decided = decide(moment)
        if clock().recorded - moment.recorded <= STALE:
            break
    return decided


def _decided(before: Record, rules: Rules, service: str, command: Any, ask: CommandMetadata, moment: Moment) -> Record:
    events = rules.decide(before.state, command, event_time(before, moment))
    if not events:
        return before
    if ask.private is not None:
        before = replace(before, private=ask.private)
    after = emit(before, rules, service, events, moment, actor=ask.actor, traceparent=ask.traceparent)
    answered = after.answered
    if ask.key:
        answered = tuple(a for a in answered if moment.recorded - a.at < RESPONSES_KEPT)
        answered += (StoredResponse(ask.key, ask.fingerprint, moment.recorded, after.last_sequence),)
    return replace(after, version=before.version + 1, answered=answered)


def _answered_here(record: Record, ask: CommandMetadata) -> Result | None:
    for answer in record.answered if ask.key else ():
        if answer.key == ask.key:
            if answer.fingerprint != ask.fingerprint:
                raise KeyReused(ask.key)
            return Result(record, (), repeated=True)
    return None


async def _answered_elsewhere(store: Store, ask: CommandMetadata) -> Result | None:
    """A repeated request for a new subject meets what the first one took: its answer lies in that record."""
    elsewhere = (await store.holders("answered", [ask.key])).get(ask.key) if ask.key else None
    return _answered_here((await store.read([elsewhere]))[elsewhere], ask) if elsewhere else None


async def _taken(store: Store, records: Mapping[str, Record]) -> dict[str, UniqueViolation]:
    """Which of these cannot be stored, since others hold values of theirs."""
    taken: dict[str, UniqueViolation] = {}
    wanted: dict[str, dict[Any, str]] = {"answered": {a.key: s for s, r in records.items() for a in r.answered}}
    for field in store.unique:
        wanted[field] = {value: s for s, r in records.items() for value in unique_values(r, field)}
    for field, values in wanted.items():
        for value, holder in (await store.holders(field, values.keys())).items() if values else ():
            if holder != values[value]:
                taken[values[value]] = UniqueViolation(field, values[value])
    return taken
