"""Every metric there is: what it means, and what to do when it moves."""

from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

import msgspec
from prometheus_client import Counter, Gauge, Histogram

from base.clock import machine_now
from contracts.events import Event

if TYPE_CHECKING:
    from kernel.batch import Processed
    from kernel.record import Message, Record
    from kernel.store import TopicPartition
    from kernel.stores.mongodb import MongoStore

LATENCIES_A_BATCH = 1_000  # of a longer batch only every n-th event's latency is observed
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600)

# Every process

BUILD = Gauge(
    "peyvand_build_info",
    "Always 1; its labels say which version of which service and role runs. Two versions for long: a rollout hangs.",
    ["service", "role", "version"],
)

# HTTP

REQUEST_SECONDS = Histogram(
    "peyvand_http_request_seconds",
    "From the arrival of a request to the start of its answer, by the template of its route, method and class of "
    "status; its count is the number of requests. 5xx: read the log by request id. Slow writes: look at "
    "peyvand_transaction_seconds of the workers, they share the database.",
    ["service", "route", "method", "status"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
LIMITED = Counter(
    "peyvand_http_limited_total",
    "Requests that were answered 429, by the name of the limit. Rising: somebody tries national IDs or tracking codes "
    "one after the other, or a script has no patience; the front door's log has the addresses.",
    ["service", "limit"],
)
TOKENS_REFUSED = Counter(
    "peyvand_http_tokens_refused_total",
    "Access tokens that did not hold. A few are expired ones; many: the issuer's keys were changed and PEYVAND_JWKS "
    "was not, or somebody forges tokens; the log says why each was refused.",
    ["service"],
)
SHED = Counter(
    "peyvand_http_shed_total",
    "Applications refused with 503 since the store holds all it can: too many unsent events, or too little disk. "
    "Rising: people are turned away; bring Kafka back or give the database room, the log says which.",
    ["service"],
)
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})

# Registration

ALREADY_REGISTERED = Counter(
    "peyvand_already_registered_total",
    "Applications refused since the person is registered in the round, by channel. Some are people who forgot; rising "
    "on one channel: somebody tries national IDs one after the other, look at peyvand_http_limited_total.",
    ["channel"],
)
SEATS = Gauge(
    "peyvand_seats",
    "Seats by province and kind (quota, admitted, available), as the allocator left them at its last pass. Available "
    "seats while people wait: the worker that owns the ledger's partition is not running.",
    ["province", "kind"],
)

# Reporting

PROVINCE_LAST_EVENT = Gauge(
    "peyvand_province_last_event_timestamp_seconds",
    "When the newest event was recorded that moved a province's figures, of those this worker has counted. Two days "
    "ago: the province is silent; ask its manager before anybody asks why its rank stands still.",
    ["province"],
)

# The worker

EVENTS_RELAYED = Counter(
    "peyvand_events_relayed_total",
    "Events of this service that Kafka has acknowledged. Standing still while events are unsent: look at Kafka.",
    ["service"],
)
EVENTS_HEARD = Counter(
    "peyvand_events_heard_total",
    "Events that arrived, by type and outcome: handled, repeated (harmless), early (waits for an earlier one), "
    "faulty (met a bug, or waits behind one). Faulty ones: fix the rules, then retry the dead letters.",
    ["service", "type", "outcome"],
)
EVENT_TO_HANDLED = Histogram(
    "peyvand_event_to_handled_seconds",
    "From the moment an event was emitted to the moment it is handled here, in machine time; of a long batch a sample. "
    "High while the lag is 0: the database or the linger time is slow; high with lag: the worker is behind.",
    ["service"],
    buckets=SECONDS,
)
TRANSACTION_SECONDS = Histogram(
    "peyvand_transaction_seconds",
    "One batch of events into MongoDB, conflicts included. Above 10 s: MongoDB is slow, its limit is 20 s.",
    ["service"],
    buckets=SECONDS,
)
LAG = Gauge(
    "peyvand_lag_events",
    "Events on a topic that this worker's cursors have not passed. Growing: the service is slower than its sources.",
    ["service", "topic"],
)
PARTITIONS = Gauge(
    "peyvand_partitions_owned",
    "Partitions this worker owns. 0 on every worker of a service: nobody consumes, look at Kafka's group.",
    ["service"],
)
CATCHING_UP = Gauge(
    "peyvand_catching_up_partitions",
    "Partitions read from the log instead of live. Not back at 0 within minutes: look at lag and transaction seconds.",
    ["service"],
)
UNSENT = Gauge(
    "peyvand_unsent_events",
    "Events emitted that Kafka does not have yet. They are safe; growing: look at Kafka and this worker's log.",
    ["service"],
)
UNSENT_AGE = Gauge(
    "peyvand_unsent_oldest_seconds",
    "Age of the oldest event that Kafka does not have. Above 60 s: Kafka is away or no worker owns its partition.",
    ["service"],
)
PARKED = Gauge(
    "peyvand_parked_subjects",
    "Subjects with parked events: early ones drain by themselves, faulty ones wait for a person (dead letters).",
    ["service", "why"],
)
PARKED_AGE = Gauge(
    "peyvand_parked_oldest_seconds",
    "How long the longest has been parked. Early above 60 s: an event is missing, republish it from its owner.",
    ["service", "why"],
)
STRANDED = Gauge(
    "peyvand_stranded_subjects",
    "Subjects whose next parked event only the log has. Not back at 0: the log cannot be read where it lies.",
    ["service"],
)
DUE_AGE = Gauge(
    "peyvand_due_oldest_seconds",
    "How long the longest overdue subject waits for the clock to call, in programme time. Growing: its rules say "
    "nothing when called, or the timer is in trouble.",
    ["service"],
)
EMITTED_LONGEST = Gauge(
    "peyvand_emitted_longest",
    "Events of the subject that emitted most, where above the alarm of 500, else 0. At 5,000 it is refused: look at "
    "what makes one subject emit so much.",
    ["service"],
)
UNREADABLE = Counter(
    "peyvand_unreadable_total",
    "Records on a topic that are no event of ours; kept in the list of the unreadable. Find who wrote them.",
    ["service", "topic"],
)
TICK_FAULTS = Counter(
    "peyvand_tick_faults_total",
    "Subjects on which a call of the clock met a bug; the others were called. The log names them: fix the rules.",
    ["service"],
)
TROUBLES = Counter(
    "peyvand_troubles_total",
    "Passing troubles of the database or the broker that a loop waited out. Steady: the part it names is unwell.",
    ["service", "loop"],
)
FENCED = Counter(
    "peyvand_fenced_total",
    "Batches refused because another worker had moved the cursor. A few at a rebalance are normal; steady: two "
    "groups share one database.",
    ["service"],
)
PAUSED = Gauge(
    "peyvand_paused",
    "1 while a service consumes nothing: 20 faults in a row, or records written by newer rules. Deploy the version "
    "that can, and start it anew.",
    ["service"],
)
LOG_BROKEN = Gauge(
    "peyvand_log_broken_partitions",
    "Partitions whose log does not hold what the cursor needs: truncated, or a topic made anew. Nothing is skipped: "
    "`peyvand log reread TOPIC` sets the cursors, `peyvand log republish SERVICE` has the owner say it again.",
    ["service"],
)
CLOCKS_APART = Gauge(
    "peyvand_clocks_apart_seconds",
    "Between this machine's clock and the database's. Above 5 s the worker is not ready: mend time synchronisation.",
    ["service"],
)


FENCED_IN_A_ROW = Gauge(
    "peyvand_fenced_in_a_row",
    "Batches refused in a row without one that went through. At 20 the worker is not ready: another worker or another "
    "group moves the same cursors; find it, or start this worker anew.",
    ["service"],
)


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in some partitions; ages in seconds of machine time, but `due_age` of programme time."""

    unsent: int = 0  # events
    unsent_age: float = 0.0
    early: int = 0  # subjects
    early_age: float = 0.0
    faulty: int = 0
    faulty_age: float = 0.0
    stranded: int = 0
    due_age: float = 0.0
    emitted_longest: int = 0  # 0 where no subject has passed the alarm


_UNMOVED: "tuple[Mapping[str, int], Record | None]" = {}, None


def observe_batch(service: str, messages: "Sequence[Message]", done: "Processed") -> None:
    """Counts what became of each event of a batch, and how long it took to get there."""
    now = machine_now()
    inboxes = {after.subject: (before.inbox, after) for before, after in done.changes}
    tally: dict[tuple[type[Event], str], int] = {}
    handled = []
    for m in messages:
        e = m.envelope
        source, sequence = e.source, e.sequence
        before, after = inboxes.get(e.subject, _UNMOVED)
        if after is None or sequence <= before.get(source, 0):
            outcome = "repeated"
        elif sequence <= after.inbox.get(source, 0):
            outcome = "handled"
            handled.append(m)
        else:
            outcome = "faulty" if source in after.parked and after.parked[source].fault else "early"
        kind = type(e.event), outcome
        tally[kind] = tally.get(kind, 0) + 1
    for (event, outcome), n in tally.items():
        EVENTS_HEARD.labels(service, event.TYPE, outcome).inc(n)
    seconds = EVENT_TO_HANDLED.labels(service)
    for m in handled[:: len(handled) // LATENCIES_A_BATCH + 1]:
        if m.envelope.recorded is not None:
            seconds.observe(max(0.0, (now - m.envelope.recorded).total_seconds()))


@cache
def _request_seconds(service: str, route: str, method: str, status: str) -> Histogram:
    return REQUEST_SECONDS.labels(service, route, method, status)


def observe_request(service: str, route: str, method: str, status: int, seconds: float) -> None:
    """One answered request; `route` is a template, so that labels stay bounded."""
    method = method if method in METHODS else "other"
    _request_seconds(service, route, method, f"{status // 100}xx").observe(seconds)


async def observe_worker(
    service: str,
    store: "MongoStore",
    cursors: "Mapping[TopicPartition, int]",
    ends: "Mapping[TopicPartition, int]",
    now: datetime,
) -> None:
    """What waits in the partitions that this worker owns; `now` is programme time. Raises Transient."""
    lag: Tally[str] = Tally()
    for tp, at in cursors.items():
        lag[tp[0]] += max(0, ends.get(tp, at) - at)
    for topic, n in lag.items():
        LAG.labels(service, topic).set(n)
    PARTITIONS.labels(service).set(len(cursors))
    seen = await store.backlog({tp[1] for tp in cursors}, now)
    UNSENT.labels(service).set(seen.unsent)
    UNSENT_AGE.labels(service).set(seen.unsent_age)
    PARKED.labels(service, "early").set(seen.early)
    PARKED.labels(service, "faulty").set(seen.faulty)
    PARKED_AGE.labels(service, "early").set(seen.early_age)
    PARKED_AGE.labels(service, "faulty").set(seen.faulty_age)
    STRANDED.labels(service).set(seen.stranded)
    DUE_AGE.labels(service).set(seen.due_age)
    EMITTED_LONGEST.labels(service).set(seen.emitted_longest)
