"""What operators change about parked events: discard the one that blocks the others, or insert one to be handled."""

import asyncio
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from base.backoff import backoff
from base.clock import Clock, Moment
from contracts.envelope import digest
from contracts.subjects import kind_of, partition_of
from kernel.batch import changed_heads, head_of, transact
from kernel.errors import Fenced, Transient
from kernel.record import Discarded, Message, Parked, Reason, discard, park
from kernel.store import Effects, Projection, Snapshot, Source, Store

ATTEMPTS = 8  # of an insertion beside a worker ...
ATTEMPT_TIMEOUT, BACKOFF = 1.0, 0.02  # seconds for each, and between two at first


async def discard_one(
    store: Store, source: Source, sequence: int, reason: str, who: str, clock: Clock, projection: Projection | None
) -> bool:
    """Discard the event that blocks the parked ones of a subject and source; return whether it was this one.

    It is parked itself, or missing. An event that is ready is handled, not discarded. An invalid one, and one about a
    kind without rules, is only removed: it may be a forgery, and the event with its sequence still to come. Where none
    comes, the events behind it wait for a missing one, which can be discarded then. Raise NewerRules, UnreadableRecord,
    Transient.
    """

    def change(snapshot: Snapshot, moment: Moment) -> Effects:
        parked = snapshot.parked.get(source, ())
        if not parked or parked[0].reason == "ready" or parked[0].sequence < sequence:
            return Effects()  # if it is handled, it must drain first, or what is parked behind it would lose its head
        left = [each for each in parked if each.sequence > sequence]
        if kind_of(source[0]) not in store.rules:
            heads = {source: replace(left[0], reason="ready")} if left else {}
            return Effects(unparked={source: sequence}, heads=heads)
        before = snapshot.record(source[0])
        due = before.inbox.get(source[1], 0) + 1
        if parked[0].reason == "invalid" and due <= sequence == parked[0].sequence:
            return Effects(unparked={source: sequence}, heads=head_of({source: before.inbox}, left))
        if due != sequence:
            return Effects()
        hash = digest(parked[0].raw) if parked[0].sequence == sequence else ""
        after = discard(before, Discarded(source[1], sequence, reason, who, moment.recorded, hash))
        return Effects([(before, after)], (), {source: sequence}, head_of({source: after.inbox}, left))

    return bool((await transact(store, [source[0]], change, {}, clock, projection, parked=2)).unparked)


async def insert_parked(store: Store, message: Message, clock: Clock) -> bool:
    """Park an event of the log for the owner of its partition to handle; return False if it is handled already.

    Raise Transient, also if the owner is too busy.
    """
    assert message.position is not None
    return bool(await insert_missing(store, [message], message.position.topic, clock))


async def insert_missing(store: Store, messages: Sequence[Message], topic: str, clock: Clock) -> int:
    """Park events of one partition of a topic for its owner to handle; return how many were not handled already.

    The transaction writes the cursor of the partition although it does not move it: so it conflicts with every batch
    of the owner, and neither misses the other's head. Raise Transient, also if the owner is too busy.
    """
    (partition,) = {partition_of(message.envelope.subject) for message in messages}
    subjects, tp = {message.envelope.subject for message in messages}, (topic, partition)

    def change(snapshot: Snapshot, moment: Moment) -> Effects:
        parked, inboxes = list[Parked](), dict[Source, Mapping[str, int]]()
        for message in messages:
            subject, source = message.envelope.subject, message.envelope.source
            inbox = snapshot.inbox(subject)
            if message.envelope.sequence > inbox.get(source, 0):
                reason: Reason = "early" if kind_of(subject) in store.rules else "unknown_type"
                parked.append(park(message, reason, moment))
                inboxes[subject, source] = inbox
        return Effects((), parked, {}, changed_heads(snapshot, parked, inboxes))

    for attempt in range(ATTEMPTS):
        cursor = (await store.cursors([tp]))[tp]
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT):
                return len((await transact(store, subjects, change, {tp: (cursor, cursor)}, clock, None)).parked)
        except (Fenced, TimeoutError):  # the owner is storing a batch, or has moved the cursor meanwhile
            await asyncio.sleep(backoff(attempt, BACKOFF, ATTEMPT_TIMEOUT))
    raise Transient(f"the worker is busy with {topic} {partition}: retry when it has caught up")
