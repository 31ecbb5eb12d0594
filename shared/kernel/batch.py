"""The second way in which records change: `process` a batch of consumed events, and `drain` parked ones."""

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import dropwhile

import msgspec
from msgspec.structs import replace

from base.clock import Clock, Moment
from contracts.envelope import Envelope, InvalidEvent, UnhandledEvent
from contracts.events import TYPES
from contracts.subjects import kind_of
from kernel.commands import at_one_moment
from kernel.errors import CircuitOpen, Conflict, Fenced, ProjectionFailed, Transient
from kernel.record import Fault, Message, Parked, Reason, Undecodable, consume, park, unpark
from kernel.rules import Rules
from kernel.store import Effects, OffsetRanges, Projection, Snapshot, Source, Store, forged

CHUNK = 2_000  # parked events in one transaction
SOURCES = 200  # subjects in one drain
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
        if concerns(store.rules, message.envelope):
            by_subject[message.envelope.subject].append(message)
    batch = _Batch(store, clock, projection, breaker or CircuitBreaker())
    return await batch.process(by_subject, ranges)


def concerns(rules: Mapping[str, Rules], envelope: Envelope) -> bool:
    """Return whether a service with these rules handles the event, or its next version may; or it is invalid."""
    if kind_of(envelope.subject) in rules:
        return True
    event = envelope.event
    return isinstance(event, UnhandledEvent) and (isinstance(event, InvalidEvent) or event.type not in TYPES)


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
                return await self.run(by_subject, change, ranges, None)
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
        done = await self.check_projection(first, second, fence) if isinstance(error, ProjectionFailed) else Effects()
        one = await self.process(first, fence)
        two = await self.process(second, ranges)
        return _joined(_joined(done, one), two)

    async def check_projection(self, first: BySubject, second: BySubject, fence: OffsetRanges) -> Effects:
        """Raise CircuitOpen if both halves fail in the projection with the same fault: no single subject causes it.

        Return the effects of a half that succeeds: it is stored, and handling it again changes nothing.
        """
        faults = []
        for half in (first, second):
            try:
                return await self.handle(half, fence)
            except ProjectionFailed as e:
                faults.append(Fault.of(_root(e)))
        if (faults[0].error, faults[0].where) == (faults[1].error, faults[1].where):
            raise CircuitOpen(f"projection: {faults[0].error} in {faults[0].where}: {faults[0].message}")
        return Effects()

    async def handle(self, by_subject: BySubject, ranges: OffsetRanges) -> Effects:
        """Handle these events in one transaction."""
        change = partial(_consume_all, self.store, by_subject, self.breaker)
        return await self.run(by_subject, change, ranges, self.projection)

    async def run(
        self, by_subject: BySubject, change: Changer, ranges: OffsetRanges, projection: Projection | None
    ) -> Effects:
        """Run a transaction and remember the faults that it stored."""
        written = await transact(self.store, by_subject.keys(), change, ranges, self.clock, projection)
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

    Up to SOURCES subjects share a transaction.
    Raise Fenced, Transient, CircuitOpen.
    """
    ready = {subject: (subject, source) for subject, source in await store.parked.ready(partitions, SOURCES)}
    if ready:
        await _drain(store, list(ready.values()), clock, projection, breaker or CircuitBreaker())
    return len(ready)


async def _drain(
    store: Store, sources: Sequence[Source], clock: Clock, projection: Projection | None, breaker: CircuitBreaker
) -> None:
    """Drain in one transaction; if it fails, in halves. A single source that fails is blocked by its fault."""
    try:
        return await drain_sources(store, sources, clock, projection, breaker)
    except Exception as e:
        if isinstance(e, PASS_ON) and (len(sources) == 1 or not isinstance(e, Conflict)):
            raise
        error = e
    if len(sources) > 1:
        for half in (sources[: len(sources) // 2], sources[len(sources) // 2 :]):
            await _drain(store, half, clock, projection, breaker)
        return
    block = partial(_block, sources[0], Fault.of(_root(error)), breaker)
    await transact(store, [sources[0][0]], block, {}, clock, None)
    breaker.record()


async def drain_sources(
    store: Store, sources: Sequence[Source], clock: Clock, projection: Projection | None, breaker: CircuitBreaker
) -> None:
    """Handle a chunk of the parked events of each source, at most one source of a subject, in one transaction.

    The chunks are read inside the transaction: otherwise what is parked behind them meanwhile would never drain.
    """
    limit = CHUNK // len(sources) + 1  # the last one is only looked at: it becomes the head
    change = partial(_drain_all, store, sources, limit, breaker)
    await transact(store, [subject for subject, _ in sources], change, {}, clock, projection, limit)
    breaker.record()


async def transact(
    store: Store,
    subjects: Collection[str],
    change: Changer,
    ranges: OffsetRanges,
    clock: Clock,
    projection: Projection | None,
    parked: int = 1,
) -> Effects:
    """Run a transaction whose change also gets the moment at which it decides."""
    return await store.transact(
        subjects, lambda read: at_one_moment(clock, partial(change, read)), ranges, projection, parked=parked
    )


def _consume_all(
    store: Store, by_subject: BySubject, breaker: CircuitBreaker, snapshot: Snapshot, moment: Moment
) -> Effects:
    changes, parked, inboxes = [], list[Parked](), dict[Source, Mapping[str, int]]()
    heads, forgeries = _by_subject(snapshot.heads) if snapshot.parked else {}, list[Undecodable]()
    for subject, messages in by_subject.items():
        if (unreadable := snapshot.unreadable.get(subject)) is not None:
            inbox = unreadable.inbox
            fault = Fault(unreadable.reason, unreadable.why)
            more = _park_unhandled(messages, inbox, unreadable.reason, fault, moment, heads.get(subject, {}))
        else:
            before = snapshot.records[subject]
            rules = store.rules[kind_of(subject)]
            after, more = consume(before, rules, store.service, messages, moment, heads.get(subject, {}))
            inbox = after.inbox
            if after is not before:
                changes.append((before, after))
        if more:
            more = _without_forgeries(more, inbox, forgeries)
        parked += more
        if more or subject in heads:
            inboxes |= {(subject, source): inbox for source in {*heads.get(subject, ()), *(p.source for p in more)}}
    breaker.check([each for each in parked if each.reason == "fault"], moment.recorded)
    return Effects(changes, parked, {}, changed_heads(snapshot, parked, inboxes) if inboxes else {}, forgeries)


def _without_forgeries(
    parked: Sequence[Parked], inbox: Mapping[str, int], forgeries: list[Undecodable]
) -> list[Parked]:
    """Return what waits for its turn; the rest is invalid at a sequence that is handled: add it to the forgeries."""
    waiting, handled = list[Parked](), list[Parked]()
    for each in parked:
        (waiting if each.sequence > inbox.get(each.source, 0) else handled).append(each)
    forgeries += forged(handled)
    return waiting


def _drain_all(
    store: Store, sources: Sequence[Source], limit: int, breaker: CircuitBreaker, snapshot: Snapshot, moment: Moment
) -> Effects:
    changes, unparked, heads, forgeries = [], dict[Source, int](), dict[Source, Parked](), list[Undecodable]()

    def ignored(p: Parked) -> bool:
        return not concerns(store.rules, unpark(p).envelope)

    for source in sources:
        (subject, name), chunk = source, snapshot.parked.get(source, ())
        if not chunk or chunk[0].reason != "ready":
            continue  # drained meanwhile
        if (unreadable := snapshot.unreadable.get(subject)) is not None:
            left, reason = chunk, unreadable.reason
            if reason == "unknown_type":  # a kind without rules: what does not concern this service is dropped
                left = list(dropwhile(ignored, chunk[: limit - 1])) or chunk[limit - 1 :]
                unparked[source] = left[0].sequence - 1 if left else chunk[-1].sequence
                reason = "ready" if left and left[0] is not chunk[0] else reason  # to be looked at again
            if left:
                why = park(unpark(left[0]), reason, moment, Fault(reason, unreadable.why))
                heads[source] = replace(left[0], reason=why.reason, fault=why.fault)
            continue
        before, rest = snapshot.records[subject], chunk[limit - 1 :]
        messages = list(map(unpark, chunk[: limit - 1]))
        after, stopped = consume(before, store.rules[kind_of(subject)], store.service, messages, moment)
        if after is not before:
            changes.append((before, after))
        stopped = _without_forgeries(stopped, after.inbox, forgeries)
        # Not past what was read: after a completion the inbox may be further on, and the next head must still exist.
        unparked[source] = min([after.inbox.get(name, 0), *(each.sequence - 1 for each in rest)])
        left = [replace(each, since=chunk[0].since) for each in (*stopped, *(() if stopped else rest))]
        heads |= head_of({source: after.inbox}, left)
    breaker.check([each for each in heads.values() if each.reason == "fault"], moment.recorded)
    return Effects(changes, (), unparked, heads, forgeries)


def _block(source: Source, fault: Fault, breaker: CircuitBreaker, snapshot: Snapshot, moment: Moment) -> Effects:
    """Mark a head with the fault that its draining met, unless it was drained meanwhile."""
    head = snapshot.heads.get(source)
    heads = {source: replace(head, reason="fault", fault=fault)} if head and head.reason == "ready" else {}
    breaker.check(list(heads.values()), moment.recorded)
    return Effects(heads=heads)


def _park_all(
    by_subject: BySubject, fault: Fault, breaker: CircuitBreaker, snapshot: Snapshot, moment: Moment
) -> Effects:
    """Park everything with a fault."""
    parked, inboxes, forgeries = list[Parked](), dict[Source, Mapping[str, int]](), list[Undecodable]()
    heads = _by_subject(snapshot.heads)
    for subject, messages in by_subject.items():
        inbox = snapshot.inbox(subject)
        more = _park_unhandled(messages, inbox, "fault", fault, moment, heads.get(subject, {}))
        more = _without_forgeries(more, inbox, forgeries)
        inboxes |= {(subject, each.source): inbox for each in more}
        parked += more
    breaker.check([each for each in parked if each.reason == "fault"], moment.recorded)
    return Effects((), parked, {}, changed_heads(snapshot, parked, inboxes), forgeries)


def _park_unhandled(
    messages: Sequence[Message],
    inbox: Mapping[str, int],
    reason: Reason,
    fault: Fault,
    moment: Moment,
    heads: Mapping[str, Parked],
) -> list[Parked]:
    """Park what is next in its source for this reason, and the rest behind it."""
    parked = []
    for message in messages:
        source, missing = message.envelope.source, message.envelope.sequence - inbox.get(message.envelope.source, 0) - 1
        if reason != "unknown_type" and (missing > 0 or (missing == 0 and source in heads)):
            parked.append(park(message, "early", moment))
        elif missing >= 0 or isinstance(message.envelope.event, InvalidEvent):
            parked.append(park(message, reason, moment, fault))
    return parked


def changed_heads(
    snapshot: Snapshot, parked: Sequence[Parked], inboxes: Mapping[Source, Mapping[str, int]]
) -> dict[Source, Parked]:
    """Return the first parked events that change, or behind which something is parked.

    The latter are written although they stay the same, so that a concurrent drain conflicts.
    """
    known = {source: events[0] for source, events in snapshot.parked.items() if source in inboxes}
    heads = head_of(inboxes, [*known.values(), *parked])
    behind = {(each.subject, each.source) for each in parked}
    return {source: head for source, head in heads.items() if source in behind or head != known.get(source)}


def head_of(inboxes: Mapping[Source, Mapping[str, int]], parked: Sequence[Parked]) -> dict[Source, Parked]:
    """Return the first event of each subject and source; `ready` if everything before it is handled."""
    heads: dict[Source, Parked] = {}
    for each in parked:
        source = each.subject, each.source
        if source not in heads or _order(each) < _order(heads[source]):
            heads[source] = each
    for source, head in heads.items():
        handled = inboxes[source].get(source[1], 0)
        if head.sequence <= handled or (head.reason == "early" and head.sequence == handled + 1):
            heads[source] = replace(head, reason="ready")
    return heads


def _order(p: Parked) -> tuple[int, bool]:
    """Return by what parked events of one source are ordered: a valid one makes an invalid one with its id leave."""
    return p.sequence, p.reason == "invalid"


def _by_subject(heads: Mapping[Source, Parked]) -> dict[str, dict[str, Parked]]:
    found = defaultdict[str, dict[str, Parked]](dict)
    for (subject, source), head in heads.items():
        found[subject][source] = head
    return found


def _root(e: Exception) -> BaseException:
    """Return what a projection raised, or the error itself."""
    return e.__cause__ if isinstance(e, ProjectionFailed) and e.__cause__ else e


def _joined(one: Effects, two: Effects) -> Effects:
    return Effects(
        [*one.changes, *two.changes],
        [*one.parked, *two.parked],
        {**one.unparked, **two.unparked},
        {**one.heads, **two.heads},
        [*one.undecodable, *two.undecodable],
    )
