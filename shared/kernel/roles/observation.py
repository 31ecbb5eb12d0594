"""What a worker reports about its batches."""

from collections import Counter
from collections.abc import Sequence

import structlog

from base.clock import machine_now
from contracts.envelope import InvalidEvent, UnhandledEvent, type_of
from contracts.events import Event
from kernel.record import CONTRADICTION, LogPosition, Message, Undecodable
from kernel.store import Effects
from observability import metrics

LATENCIES_PER_BATCH = 1_000  # of a larger batch only every n-th latency is observed
LOGGED_PER_BATCH = 100  # records that hold no valid event; of the others only the number is logged
UNKNOWN = "unknown"  # the label of types that this version does not know: a foreign name would be an unbounded label

log = structlog.get_logger(__name__)


def observe_batch(service: str, messages: Sequence[Message], effects: Effects) -> None:
    """Count what became of each event of a batch, and observe how long after its emission it was handled."""
    now = machine_now()
    inboxes = {after.subject: (before.inbox, after.inbox) for before, after in effects.changes}
    parked = {(each.subject, each.source, each.sequence) for each in effects.parked}
    outcomes: Counter[tuple[type[Event], str]] = Counter()
    handled = []
    for message in messages:
        e = message.envelope
        before, after = inboxes.get(e.subject, ({}, {}))
        if (e.subject, e.source, e.sequence) in parked:
            outcome = "parked"
        elif before.get(e.source, 0) < e.sequence <= after.get(e.source, 0):
            outcome = "handled"
            handled.append(message)
        else:
            outcome = "repeated"
        outcomes[type(e.event), outcome] += 1
    for (event, outcome), n in outcomes.items():
        name = UNKNOWN if issubclass(event, UnhandledEvent) else event.TYPE
        metrics.EVENTS_CONSUMED.labels(service, name, outcome).inc(n)
    contradicting = {each.raw for each in effects.parked if each.reason == "invalid"}
    if contradicting or any(event is InvalidEvent for event, _ in outcomes):
        invalid = [m for m in messages if isinstance(m.envelope.event, InvalidEvent) or m.raw in contradicting]
        _observe_invalid(service, invalid)
    seconds = metrics.EVENT_TO_HANDLED.labels(service)
    for message in handled[:: len(handled) // LATENCIES_PER_BATCH + 1]:
        if message.envelope.recorded is not None:
            seconds.observe(max(0.0, (now - message.envelope.recorded).total_seconds()))


def observe_undecodable(service: str, found: Sequence[Undecodable]) -> None:
    """Count records that hold no event, and log where they are."""
    for each in found:
        metrics.UNDECODABLE.labels(service, each.position.topic, str(each.position.partition)).inc()
    for each in found[:LOGGED_PER_BATCH]:
        topic, producer, partitions = _whereabouts(each.position)
        log.error(
            "undecodable record",
            service=service,
            topic=topic,
            producer=producer,
            partitions=partitions,
            reason=each.code,
        )
    if len(found) > LOGGED_PER_BATCH:
        log.error("more undecodable records", service=service, records=len(found) - LOGGED_PER_BATCH)


def _observe_invalid(service: str, found: Sequence[Message]) -> None:
    """Count events that do not match their schema, and log where they are and what is wrong."""
    for each in found:
        topic, partition = (each.position.topic, each.position.partition) if each.position else ("", "")
        metrics.INVALID.labels(service, topic, str(partition)).inc()
    for each in found[:LOGGED_PER_BATCH]:
        e = each.envelope
        where = e.event.where if isinstance(e.event, InvalidEvent) else CONTRADICTION.where
        topic, producer, partitions = _whereabouts(each.position)
        log.error(
            "invalid event",
            service=service,
            topic=topic,
            producer=producer,
            partitions=partitions,
            event_id=f"{e.source}/{e.subject}/{e.sequence}",
            type=type_of(e.event),
            path=where,
        )
    if len(found) > LOGGED_PER_BATCH:
        log.error("more invalid events", service=service, records=len(found) - LOGGED_PER_BATCH)


def _whereabouts(position: LogPosition | None) -> tuple[str, str, list[str]]:
    """Return topic, its producer, and partition with offset."""
    return (position.topic, position.topic.rpartition(".")[2], [str(position)]) if position else ("", "", [])
