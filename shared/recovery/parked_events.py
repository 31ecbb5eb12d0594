"""What operators change about parked events: discard the one that blocks the others, or insert one to be handled."""

from base.clock import Clock, Moment
from contracts.subjects import partition_of
from kernel.batch import changed_heads, head_of, is_new, transact
from kernel.errors import Fenced
from kernel.record import Message, discard, park
from kernel.store import Effects, Projection, Snapshot, Source, Store


async def discard_one(
    store: Store, source: Source, sequence: int, reason: str, who: str, clock: Clock, projection: Projection | None
) -> bool:
    """Discard the event that blocks the parked ones of a subject and source; return whether it was this one.

    It is parked itself, or missing. An event that is ready is handled, not discarded. Raise NewerRules,
    UnreadableRecord, Transient.
    """

    def change(snapshot: Snapshot, moment: Moment) -> Effects:
        before, parked = snapshot.record(source[0]), snapshot.parked.get(source, ())
        if not parked or parked[0].reason == "ready" or before.inbox.get(source[1], 0) + 1 != sequence:
            return Effects()
        if parked[0].sequence < sequence:
            return Effects()  # handled already: it must drain first, or what is parked behind it would lose its head
        after = discard(before, source[1], sequence, reason, who, moment)
        left = [each for each in parked if each.sequence > sequence]
        return Effects([(before, after)], (), {source: sequence}, head_of({source: after.inbox}, left))

    written = await transact(store, [source[0]], change, {}, clock, projection, parked=2)
    return bool(written.changes)


async def insert_parked(store: Store, message: Message, clock: Clock) -> bool:
    """Park an event for the owner of its partition to handle; return False if it has been handled already.

    The transaction writes the cursor of the partition although it does not move it: so it conflicts with every batch
    of the owner, and neither misses the other's head. Raise Transient.
    """
    subject, source = message.envelope.subject, message.envelope.source
    assert message.position is not None
    tp = message.position.topic, partition_of(subject)

    def change(snapshot: Snapshot, moment: Moment) -> Effects:
        inbox = snapshot.inbox(subject)
        if not is_new(message, inbox):
            return Effects()
        parked = [park(message, "early", moment)]
        return Effects((), parked, {}, changed_heads(snapshot, parked, {(subject, source): inbox}))

    while True:
        cursor = (await store.cursors([tp]))[tp]
        try:
            return bool((await transact(store, [subject], change, {tp: (cursor, cursor)}, clock, None)).parked)
        except Fenced:
            continue  # the owner has moved the cursor meanwhile
