"""What a worker reports about its batches."""

from collections import Counter
from collections.abc import Sequence

from base.clock import machine_now
from contracts.envelope import UnknownEvent
from contracts.events import Event
from kernel.record import Message
from kernel.store import Effects
from observability import metrics

LATENCIES_PER_BATCH = 1_000  # of a larger batch only every n-th latency is observed
UNKNOWN = "unknown"  # the label of types that this version does not know: a foreign name would be an unbounded label


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
        name = UNKNOWN if event is UnknownEvent else event.TYPE
        metrics.EVENTS_CONSUMED.labels(service, name, outcome).inc(n)
    seconds = metrics.EVENT_TO_HANDLED.labels(service)
    for message in handled[:: len(handled) // LATENCIES_PER_BATCH + 1]:
        if message.envelope.recorded is not None:
            seconds.observe(max(0.0, (now - message.envelope.recorded).total_seconds()))
