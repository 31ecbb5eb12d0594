"""The second way in which records change: `process` a batch of consumed events, and `drain` parked ones."""

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import msgspec
from msgspec.structs import replace

from base.clock import Clock, Moment
from contracts.envelope import decode
from contracts.subjects import kind_of
from kernel.commands import at_one_moment
from kernel.errors import CircuitOpen, Fenced, ProjectionFailed, Transient
from kernel.record import Fault, Message, Parked, consume, discard, park
from kernel.store import Effects, OffsetRanges, Projection, Snapshot, Source, Store

CHUNK = 2_000  # parked events in one transaction
SOURCES = 200  # of so many subjects
SUBJECTS_LIMIT = 50  # subjects that one fault may park ...
WINDOW = timedelta(minutes=1)  # ... within this time
PASS_ON = (Fenced, Transient, CircuitOpen)
Changer = Callable[[Snapshot, Moment], Effects]
BySubject = Mapping[str, Sequence[Message]]


class CircuitBreaker:
    """Stops a worker when one fault parks many subjects within a minute: broken rules must not park everything."""

    def __init__(self) -> None:
        self.parked: dict[str, deque[tuple[datetime, str]]] = defaultdict(deque)  # fingerprint -> when, which subject
        self.checked: tuple[datetime, Sequence[Parked]] | None = None  # in a transaction that is not committed yet

    def check(self, faults: Sequence[Parked], at: datetime) -> None:
        """Raise CircuitOpen if these faults, which are not stored yet, are too many with those recorded."""
        self.checked = at, faults
        subjects = defaultdict[str, set[str]](set)
        for each in faults:
            recent = {subject for since, subject in self.parked[each.fingerprint] if at - since < WINDOW}
            subjects[each.fingerprint] |= {each.subject, *recent}
            if len(subjects[each.fingerprint]) > SUBJECTS_LIMIT:
                raise CircuitOpen(f"{each.fault.error} in {each.fault.where}: {each.fault.message}")

    def record(self) -> None:
        """Remember the faults that were checked last: their transaction is committed."""
        checked, self.checked = self.checked, None
        if checked is None:
            return
        at, faults = checked
        for each in faults:
            recent = self.parked[each.fingerprint]
            recent.append((at, each.subject))
            while at - recent[0][0] >= WINDOW:
                recent.popleft()


async def process(
    store: Store,
    messages: Sequence[Message],
    ranges: OffsetRanges,
    clock: Clock,
    projection: Projection | None = None,
    breaker: CircuitBreaker | None = None,
) -> Effects:
    """Handle a batch in one transaction with the cursors of its partitions and the projection.

    A batch that fails is halved down to the subject at fault, whose events are parked.
    Raise Fenced, Transient, CircuitOpen; then the last transaction has changed nothing.
    """
    by_subject = defaultdict[str, list[Message]](list)
    for message in messages:
        if kind_of(message.envelope.subject) in store.rules:  # other kinds do not concern this service
            by_subject[message.envelope.subject].append(message)
    batch = _Batch(store, clock, projection, breaker or CircuitBreaker())
    return await batch.process(by_subject, ranges)


class _Batch(msgspec.Struct):
    """What the parts of a bisected batch have in common."""

    store: Store
    clock: Clock
    projection: Projection | None
    breaker: CircuitBreaker

    async def process(self, by_subject: BySubject, ranges: OffsetRanges) -> Effects:
        """Handle these events, in parts if they fail together."""
        try:
            return await self.handle(by_subject, ranges)
        except PASS_ON:
            raise
        except Exception as e:
            if len(by_subject) > 1:
                return await self.bisect(by_subject, ranges, e)
            change = partial(_park_all, by_subject, Fault.of(_root(e)), self.breaker)
            try:
                return await self.transact(by_subject, change, ranges, None)
            except PASS_ON:
                raise
            except Exception as again:  # parking fails as well: this does not depend on the subject
                raise CircuitOpen(repr(again)) from e

    async def bisect(self, by_subject: BySubject, ranges: OffsetRanges, error: Exception) -> Effects:
        """Handle the halves one after the other. Every part checks the cursors; the last one moves them."""
        subjects = list(by_subject)
        first = {subject: by_subject[subject] for subject in subjects[: len(subjects) // 2]}
        second = {subject: by_subject[subject] for subject in subjects[len(subjects) // 2 :]}
        fence = {tp: (start, start) for tp, (start, _) in ranges.items()}
        if isinstance(error, ProjectionFailed):
            await self.check_projection(first, second, fence)
        one = await self.process(first, fence)
        two = await self.process(second, ranges)
        return _joined(one, two)

    async def check_projection(self, first: BySubject, second: BySubject, fence: OffsetRanges) -> None:
        """Raise CircuitOpen if both halves fail in the projection with the same fault: no single subject causes it.

        A half that succeeds is stored; handling it again changes nothing.
        """
        faults = []
        for half in (first, second):
            try:
                await self.handle(half, fence)
                return
            except ProjectionFailed as e:
                faults.append(Fault.of(_root(e)))
        if (faults[0].error, faults[0].where) == (faults[1].error, faults[1].where):
            raise CircuitOpen(f"projection: {faults[0].error} in {faults[0].where}: {faults[0].message}")

    async def handle(self, by_subject: BySubject, ranges: OffsetRanges) -> Effects:
        """Handle these events in one transaction."""
        change = partial(_consume_all, self.store, by_subject, self.breaker)
        return await self.transact(by_subject, change, ranges, self.projection)

    async def transact(
        self, by_subject: BySubject, change: Changer, ranges: OffsetRanges, projection: Projection | None
    ) -> Effects:
        """Run a transaction and remember the faults that it stored."""
        written = await _transact(self.store, by_subject.keys(), change, ranges, self.clock, projection)
        self.breaker.record()
        return written


async def drain(
    store: Store,
    partitions: Collection[int],
    clock: Clock,
    projection: Projection | None = None,
    breaker: CircuitBreaker | None = None,
) -> int:
    """Handle parked events that are ready, in order and up to a gap or a fault; return the number of subjects.

    Up to SOURCES subjects share a transaction. If it fails, each of them gets one of its own.
    Raise Fenced, Transient, CircuitOpen.
    """
    ready = {subject: (subject, source) for subject, source in await store.parked.ready(partitions, SOURCES)}
    if not ready:
        return 0
    breaker = breaker or CircuitBreaker()
    try:
        await drain_sources(store, list(ready.values()), clock, projection, breaker)
    except PASS_ON:
        raise
    except Exception:
        for source in ready.values():
            try:
                await drain_sources(store, [source], clock, projection, breaker)
            except PASS_ON:
                raise
            except Exception as e:
                block = partial(_block, source, Fault.of(_root(e)), breaker)
                await _transact(store, [source[0]], block, {}, clock, None)
                breaker.record()
    return len(ready)


async def drain_sources(
    store: Store, sources: Sequence[Source], clock: Clock, projection: Projection | None, breaker: CircuitBreaker
) -> None:
    """Handle a chunk of the parked events of each source, at most one source of a subject, in one transaction.

    The chunks are read inside the transaction: otherwise what is parked behind them meanwhile would never drain.
    """
    limit = CHUNK // len(sources) + 1  # the last one is only looked at: it becomes the head
    change = partial(_drain_all, store, sources, limit, breaker)
    await _transact(store, [subject for subject, _ in sources], change, {}, clock, projection, limit)
    breaker.record()


async def discard_one(
    store: Store, source: Source, sequence: int, reason: str, who: str, clock: Clock, projection: Projection | None
) -> bool:
    """Discard the event that blocks the parked ones of a subject and source; return whether it was this one.

    It is parked itself, or missing.
    """

    def change(snapshot: Snapshot, moment: Moment) -> Effects:
        before, parked = snapshot.record(source[0]), snapshot.parked.get(source, ())
        if not parked or before.inbox.get(source[1], 0) + 1 != sequence:
            return Effects()
        if parked[0].sequence < sequence:
            return Effects()  # handled already: it must drain first, or what is parked behind it would lose its head
        after = discard(before, source[1], sequence, reason, who, moment)
        left = [each for each in parked if each.sequence > sequence]
        return Effects([(before, after)], (), {source: sequence}, _head_of({source: after.inbox}, left))

    written = await _transact(store, [source[0]], change, {}, clock, projection, parked=2)
    return bool(written.changes)


async def insert_parked(store: Store, message: Message, clock: Clock) -> bool:
    """Park an event for the owner of its partition to handle; return False if it has been handled already."""
    subject, source = message.envelope.subject, message.envelope.source

    def change(snapshot: Snapshot, moment: Moment) -> Effects:
        inbox = snapshot.inbox(subject)
        if not _is_new(message, inbox):
            return Effects()
        parked = [park(message, "early", moment)]
        return Effects((), parked, {}, _heads(snapshot, parked, {(subject, source): inbox}))

    return bool((await _transact(store, [subject], change, {}, clock, None)).parked)


async def _transact(
    store: Store,
    subjects: Collection[str],
    change: Changer,
    ranges: OffsetRanges,
    clock: Clock,
    projection: Projection | None,
    parked: int = 1,
) -> Effects:
    return await store.transact(
        subjects, lambda read: at_one_moment(clock, partial(change, read)), ranges, projection, parked=parked
    )


def _consume_all(
    store: Store,
    by_subject: BySubject,
    breaker: CircuitBreaker,
    snapshot: Snapshot,
    moment: Moment,
) -> Effects:
    changes, parked, inboxes = [], list[Parked](), dict[Source, Mapping[str, int]]()
    heads = _by_subject(snapshot.heads) if snapshot.parked else {}
    for subject, messages in by_subject.items():
        if (unreadable := snapshot.unreadable.get(subject)) is not None:
            inbox = unreadable.inbox
            fault = Fault(unreadable.reason, unreadable.why)
            more = [park(m, unreadable.reason, moment, fault) for m in messages if _is_new(m, inbox)]
        else:
            before = snapshot.records[subject]
            rules = store.rules[kind_of(subject)]
            after, more = consume(before, rules, store.service, messages, moment, heads.get(subject, {}))
            inbox = after.inbox
            if after is not before:
                changes.append((before, after))
        parked += more
        if more or subject in heads:
            inboxes |= {(subject, source): inbox for source in {*heads.get(subject, ()), *(p.source for p in more)}}
    breaker.check([each for each in parked if each.reason == "fault"], moment.recorded)
    return Effects(changes, parked, {}, _heads(snapshot, parked, inboxes) if inboxes else {})


def _drain_all(
    store: Store, sources: Sequence[Source], limit: int, breaker: CircuitBreaker, snapshot: Snapshot, moment: Moment
) -> Effects:
    changes, unparked, heads = [], dict[Source, int](), dict[Source, Parked]()
    for source in sources:
        (subject, name), chunk = source, snapshot.parked.get(source, ())
        if not chunk or chunk[0].reason != "ready":
            continue  # drained meanwhile
        if (unreadable := snapshot.unreadable.get(subject)) is not None:
            fault = Fault(unreadable.reason, unreadable.why)
            heads[source] = replace(chunk[0], reason=unreadable.reason, fault=fault)
            continue
        before, rest = snapshot.records[subject], chunk[limit - 1 :]
        messages = [Message(decode(each.raw), each.raw) for each in chunk[: limit - 1]]
        after, stopped = consume(before, store.rules[kind_of(subject)], store.service, messages, moment)
        if after is not before:
            changes.append((before, after))
        # Not past what was read: after a completion the inbox may be further on, and the next head must still exist.
        unparked[source] = min([after.inbox.get(name, 0), *(each.sequence - 1 for each in rest)])
        left = [replace(each, since=chunk[0].since) for each in (*stopped, *(() if stopped else rest))]
        heads |= _head_of({source: after.inbox}, left)
    breaker.check([each for each in heads.values() if each.reason == "fault"], moment.recorded)
    return Effects(changes, (), unparked, heads)


def _block(source: Source, fault: Fault, breaker: CircuitBreaker, snapshot: Snapshot, moment: Moment) -> Effects:
    """Mark a head with the fault that its draining met."""
    if source not in snapshot.heads:
        return Effects()
    head = replace(snapshot.heads[source], reason="fault", fault=fault)
    breaker.check([head], moment.recorded)
    return Effects(heads={source: head})


def _park_all(
    by_subject: BySubject,
    fault: Fault,
    breaker: CircuitBreaker,
    snapshot: Snapshot,
    moment: Moment,
) -> Effects:
    """Park everything: what is next in its source with the fault, the rest behind it."""
    parked, inboxes = list[Parked](), dict[Source, Mapping[str, int]]()
    for subject, messages in by_subject.items():
        inbox = snapshot.inbox(subject)
        for message in messages:
            source, sequence = message.envelope.source, message.envelope.sequence
            missing = sequence - inbox.get(source, 0) - 1
            if missing >= 0:
                parked.append(park(message, "early", moment) if missing else park(message, "fault", moment, fault))
                inboxes[subject, source] = inbox
    breaker.check([each for each in parked if each.reason == "fault"], moment.recorded)
    return Effects((), parked, {}, _heads(snapshot, parked, inboxes))


def _heads(
    snapshot: Snapshot, parked: Sequence[Parked], inboxes: Mapping[Source, Mapping[str, int]]
) -> dict[Source, Parked]:
    """Return the first parked events that change, or behind which something is parked.

    The latter are written although they stay the same, so that a concurrent drain conflicts.
    """
    known = {source: events[0] for source, events in snapshot.parked.items() if source in inboxes}
    heads = _head_of(inboxes, [*known.values(), *parked])
    behind = {(each.subject, each.source) for each in parked}
    return {source: head for source, head in heads.items() if source in behind or head != known.get(source)}


def _head_of(inboxes: Mapping[Source, Mapping[str, int]], parked: Sequence[Parked]) -> dict[Source, Parked]:
    """Return the first event of each subject and source; `ready` if everything before it is handled."""
    heads: dict[Source, Parked] = {}
    for each in parked:
        source = each.subject, each.source
        if source not in heads or each.sequence < heads[source].sequence:
            heads[source] = each
    for source, head in heads.items():
        handled = inboxes[source].get(source[1], 0)
        if head.sequence <= handled or (head.reason == "early" and head.sequence == handled + 1):
            heads[source] = replace(head, reason="ready")
    return heads


def _by_subject(heads: Mapping[Source, Parked]) -> dict[str, dict[str, Parked]]:
    found = defaultdict[str, dict[str, Parked]](dict)
    for (subject, source), head in heads.items():
        found[subject][source] = head
    return found


def _root(e: Exception) -> BaseException:
    """Return what a projection raised, or the error itself."""
    return e.__cause__ if isinstance(e, ProjectionFailed) and e.__cause__ else e


def _is_new(message: Message, inbox: Mapping[str, int]) -> bool:
    return message.envelope.sequence > inbox.get(message.envelope.source, 0)


def _joined(one: Effects, two: Effects) -> Effects:
    return Effects(
        [*one.changes, *two.changes],
        [*one.parked, *two.parked],
        {**one.unparked, **two.unparked},
        {**one.heads, **two.heads},
    )
