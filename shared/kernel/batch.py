"""The second way records move: events of other services arrive (`process`)."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from base.clock import Clock, Moment
from contracts.subjects import kind_of
from kernel.commands import at_one_moment
from kernel.errors import CircuitOpen, Fenced, NewerRules, Transient
from kernel.record import Message, Record, park, receive_all
from kernel.store import Changes, Known, OffsetRanges, Projection, Store

FAULTS_IN_A_ROW = 20  # after which a service pauses


class Fault(msgspec.Struct, frozen=True):
    """A well-formed event that met a fault, and is parked with what follows it from the same source."""

    subject: str
    source: str
    sequence: int
    why: str


class Processed(msgspec.Struct, frozen=True):
    """What became of a batch."""

    changes: Changes = ()
    faults: tuple[Fault, ...] = ()
    faults_in_a_row: int = 0  # at its end, on well-formed events


async def process(
    store: Store,
    messages: Sequence[Message],
    ranges: OffsetRanges,
    clock: Clock,
    projection: Projection | None = None,
    *,
    faults_in_a_row: int = 0,
) -> Processed:
    """One batch is one transaction: its records, the cursors of every partition in it, and the projection.

    A batch that fails for another reason than Fenced or Transient is halved down to the subject, which is parked.
    Raises Fenced, Transient, NewerRules, TooManyFaults; then nothing of the batch has moved.
    """
    try:
        return await _together(store, messages, ranges, clock, projection, faults_in_a_row)
    except (Fenced, Transient, NewerRules, CircuitOpen):
        raise
    except Exception as fault:
        subjects = sorted({m.envelope.subject for m in messages if kind_of(m.envelope.subject) in store.rules})
        if not subjects:
            raise
        if len(subjects) == 1:
            try:
                return await _together(store, messages, ranges, clock, projection, faults_in_a_row, because=repr(fault))
            except (Fenced, Transient, NewerRules, CircuitOpen):
                raise
            except Exception as e:  # not even parking it can be stored: nobody's events would fare better
                raise CircuitOpen(repr(e)) from e
        first = set(subjects[: len(subjects) // 2])
        halves = (
            [m for m in messages if m.envelope.subject in first],
            [m for m in messages if m.envelope.subject not in first],
        )
        one = await process(
            store, halves[0], {}, clock, projection, faults_in_a_row=faults_in_a_row
        )  # the cursors move with the second half
        other = await process(store, halves[1], ranges, clock, projection, faults_in_a_row=one.faults_in_a_row)
        return Processed((*one.changes, *other.changes), one.faults + other.faults, other.faults_in_a_row)


async def _together(
    store: Store,
    messages: Sequence[Message],
    ranges: OffsetRanges,
    clock: Clock,
    projection: Projection | None,
    faults_in_a_row: int,
    because: str = "",
) -> Processed:
    done = Processed()

    by_subject = defaultdict[str, list[Message]](list)
    for m in messages:
        by_subject[m.envelope.subject].append(m)
    for subject in [each for each in by_subject if kind_of(each) not in store.rules]:
        del by_subject[subject]  # other kinds are read past

    def handled(known: Known, moment: Moment) -> Changes:
        nonlocal done
        changes, faults, row = [], list[Fault](), faults_in_a_row
        for subject, told in by_subject.items():
            before = known[subject]
            if because:
                after = _parked(before, told, because, moment)
            else:
                after = receive_all(before, store.rules[kind_of(subject)], store.service, told, moment)
            if after is before:
                continue
            changes.append((before, replace(after, version=before.version + 1)))
            if after.inbox != before.inbox:
                row = 0
            if after.parked and (new := _faults(before, after)):
                faults += new
                row += len(new)
                if row >= FAULTS_IN_A_ROW:
                    raise CircuitOpen(new[-1].why)
        done = Processed(changes, tuple(faults), row)
        return changes

    await store.transact(
        by_subject.keys(),
        lambda known: at_one_moment(clock, lambda moment: handled(known, moment)),
        ranges,
        projection,
    )
    return done


def _faults(before: Record, after: Record) -> list[Fault]:
    """What met a fault now, and had met none before."""
    return [
        Fault(after.subject, source, after.inbox.get(source, 0) + 1, parked.fault)
        for source, parked in after.parked.items()
        if parked.fault and not (source in before.parked and before.parked[source].fault)
    ]


def _parked(record: Record, messages: Sequence[Message], because: str, moment: Moment) -> Record:
    """The record with all of this waiting for a person."""
    for m in messages:
        if m.envelope.sequence > record.inbox.get(m.envelope.source, 0):
            record = park(record, m, because, moment)
    return record
