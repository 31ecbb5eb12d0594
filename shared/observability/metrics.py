"""Metrics that every service has: what each means, and what to do when it moves."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600)
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})

# Every process

BUILD = Gauge(
    "peyvand_build_info",
    "Always 1; the labels name the version of the service and role that runs. Two versions for long: a rollout hangs.",
    ["service", "role", "version"],
)

# HTTP

REQUEST_SECONDS = Histogram(
    "peyvand_http_request_seconds",
    "Time from the arrival of a request to the start of its response, by route template, method and status class; its "
    "count is the number of requests. 5xx: search the log for the request id. Slow writes: look at "
    "peyvand_transaction_seconds of the workers, which share the database.",
    ["service", "route", "method", "status"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
RATE_LIMITED = Counter(
    "peyvand_http_rate_limited_total",
    "Requests answered with 429, by the name of the limit. Rising: national IDs or tracking codes are being "
    "enumerated, or a client retries too fast; the gateway's log has the addresses.",
    ["service", "limit"],
)
TOKENS_REFUSED = Counter(
    "peyvand_http_tokens_refused_total",
    "Access tokens that were refused. A few are expired ones; many: the issuer's keys have changed and PEYVAND_JWKS "
    "has not, or tokens are being forged; the log has the cause of each.",
    ["service"],
)
REVOCATION_POLLS = Counter(
    "peyvand_revocation_polls_total",
    "Readings of the issuer's list of ended sessions, every 5 seconds, by result: done or failed. Only failed: the "
    "issuer cannot be reached, and after a sign-out a copied token is accepted until it expires, 5 minutes at most.",
    ["service", "result"],
)
SHED = Counter(
    "peyvand_http_requests_shed_total",
    "Applications refused with 503 because too many events are pending or the database's disk is nearly full. Rising: "
    "applicants are turned away; restore Kafka or add disk space, the log names which.",
    ["service"],
)
CONNECTIONS_OPEN = Gauge(
    "peyvand_connections_open",
    "Open connections of this process. Near PEYVAND_MAX_CONNECTIONS: see peyvand_connections_refused_total; many "
    "connections from few addresses are to be blocked before the ingress.",
    ["service"],
)
CONNECTIONS_REFUSED = Counter(
    "peyvand_connections_refused_total",
    "Connections that a limit has refused or ended, by reason. head_timeout, body_timeout, response_timeout: the peer "
    "was too slow; a few are bad networks. evicted_address, evicted_total: closed, while waiting for the peer, to make "
    "space for a new one. refused_address, refused_total: all were busy; block addresses before the ingress, or raise "
    "PEYVAND_MAX_CONNECTIONS or PEYVAND_MAX_CONNECTIONS_PER_ADDRESS.",
    ["service", "reason"],
)

# The worker

EVENTS_PUBLISHED = Counter(
    "peyvand_events_published_total",
    "Events of this service that Kafka has acknowledged. Constant while events are pending: check Kafka.",
    ["service"],
)
EVENTS_CONSUMED = Counter(
    "peyvand_events_consumed_total",
    "Consumed events by type and outcome: handled, repeated (harmless), parked (see peyvand_parked_sources).",
    ["service", "type", "outcome"],
)
EVENT_TO_HANDLED = Histogram(
    "peyvand_event_to_handled_seconds",
    "Machine time from the emission of an event until it is handled here; of a large batch a sample. High without "
    "lag: the database or the linger time is slow; high with lag: the worker is behind.",
    ["service"],
    buckets=SECONDS,
)
TRANSACTION_SECONDS = Histogram(
    "peyvand_transaction_seconds",
    "One batch of events into MongoDB, conflicts included. Above 10 s: MongoDB is slow; its limit is 60 s.",
    ["service"],
    buckets=SECONDS,
)
LAG = Gauge(
    "peyvand_consumer_lag_events",
    "Events of a topic behind this worker's cursors. Growing: the service is slower than its producers.",
    ["service", "topic"],
)
PARTITIONS = Gauge(
    "peyvand_partitions_assigned",
    "Partitions assigned to this worker. 0 on every worker of a service: nothing is consumed, check Kafka's group.",
    ["service"],
)
CATCHING_UP = Gauge(
    "peyvand_catching_up_partitions",
    "Partitions read from the log instead of the live stream. Not back at 0 within minutes: check lag and transaction "
    "seconds.",
    ["service"],
)
PENDING = Gauge(
    "peyvand_outbox_pending_events",
    "Events that Kafka does not have yet. They are stored safely; growing: check Kafka and this worker's log.",
    ["service"],
)
PENDING_AGE = Gauge(
    "peyvand_outbox_oldest_seconds",
    "Age of the oldest event that Kafka does not have. Above 60 s: Kafka is down or no worker owns its partition.",
    ["service"],
)
PARKED = Gauge(
    "peyvand_parked_sources",
    "Pairs of subject and source with parked events, by the reason of the first one. early: an event before it is "
    "missing. fault: fix the rules, then retry the dead letters. invalid: fix its producer. unknown_type, newer_rules, "
    "unreadable_record: deploy the version that can handle it; it drains by itself. ready: being drained.",
    ["service", "reason"],
)
PARKED_AGE = Gauge(
    "peyvand_parked_oldest_seconds",
    "How long the oldest has been parked, by reason. early above 60 s: an event is missing, let its owner republish.",
    ["service", "reason"],
)
UNREADABLE = Counter(
    "peyvand_unreadable_records_total",
    "Times that a record was left out of a list, a page or a job because this version cannot read it, by reason. "
    "newer_rules: deploy the newer version. unreadable_record: something other than the service has modified the "
    "record; the log names it.",
    ["service", "reason"],
)
COUNTERS_CORRECTED = Counter(
    "peyvand_counters_corrected_total",
    "Counters that a full count corrected: after a restore, and when a version of the service counts otherwise. The "
    "second is normal; after a restore it is a defect to report.",
    ["service"],
)
DUE_AGE = Gauge(
    "peyvand_due_oldest_seconds",
    "How long the longest overdue subject has waited for the scheduler, in programme time. Growing: its rules emit "
    "nothing for a tick, or the scheduler fails; see the log.",
    ["service"],
)
EVENTS_PER_SUBJECT = Gauge(
    "peyvand_events_per_subject_max",
    "Events of the subject with the most, if above 500, else 0. At 5,000 its commands are refused: find out what "
    "makes one subject emit so many.",
    ["service"],
)
UNDECODABLE = Counter(
    "peyvand_undecodable_total",
    "Records of a topic that hold no event of its producer; they are kept. Find out what wrote them.",
    ["service", "topic", "partition"],
)
INVALID = Counter(
    "peyvand_invalid_events_total",
    "Events that do not match the published schema of their type, or are not about a subject of its kind; parked. The "
    "log names their offsets. Fix their producer, or find out what else wrote them.",
    ["service", "topic", "partition"],
)
SCHEDULER_FAULTS = Counter(
    "peyvand_scheduler_faults_total",
    "Ticks, identity checks and seat allocations that raised, once for each subject and attempt, and periodic jobs "
    "that failed as a whole. Other subjects were not affected. The log names them: fix the rules.",
    ["service"],
)
TRANSIENT_ERRORS = Counter(
    "peyvand_transient_errors_total",
    "Errors of the database or the broker that a loop retried. Steady: check the component that the log names.",
    ["service", "loop"],
)
FENCED = Counter(
    "peyvand_fenced_total",
    "Batches refused because another worker had moved the cursor. A few at a rebalance are normal; steady: two "
    "consumer groups use one database.",
    ["service"],
)
FENCED_CONSECUTIVE = Gauge(
    "peyvand_fenced_consecutive",
    "Batches fenced in a row. At 20 the worker is not ready: another worker or another group moves the same cursors; "
    "find it, or restart this worker.",
    ["service"],
)
PAUSED = Gauge(
    "peyvand_paused",
    "1 while a service consumes nothing because one fault parked more than 50 subjects within a minute. Deploy a "
    "version without the fault and restart.",
    ["service"],
)
LOG_UNANSWERED = Gauge(
    "peyvand_log_unanswered_partitions",
    "Owned partitions for which no broker answers: they have no leader, or it is frozen. The others flow on; these "
    "continue by themselves when a broker answers. Find out which broker is away.",
    ["service"],
)
LOG_BROKEN = Gauge(
    "peyvand_log_broken_partitions",
    "Partitions whose log lacks what the cursor needs: truncated, or a recreated topic. Nothing is skipped: "
    "`peyvand replay reset-cursors TOPIC` sets the cursors, `peyvand replay republish SERVICE` repeats the events.",
    ["service"],
)
MISSING_INDEXES = Gauge(
    "peyvand_missing_indexes",
    "Declared indexes that the database does not have, or is still building. Above 0 the API is closed, since the same "
    "person could register twice: `peyvand apply` creates them.",
    ["service"],
)
CALENDAR_DAYS = Gauge(
    "peyvand_calendar_days",
    "Days until the end of the calendar of working days, in programme time. Beyond it no deadline can be computed, and "
    "what needs one is parked: add a version of the calendar with the next years months before.",
    ["service"],
)
GENERATION_WAITING = Gauge(
    "peyvand_generation_waiting",
    "1: this worker waits until the generation of its version of the code is built: run `peyvand rebuild` of this "
    "version. Meanwhile the workers of the version before count what arrives.",
    ["service"],
)
CLOCK_SKEW = Gauge(
    "peyvand_clock_skew_seconds",
    "Difference between this machine's clock and the database's. Above 5 s the process is not ready, and an API "
    "refuses what it would date wrongly: repair time synchronisation.",
    ["service"],
)
RECONCILIATION_AGE = Gauge(
    "peyvand_reconciliation_age_seconds",
    "Since when a partition of this worker has not been compared with the owner of its events, the longest; a cycle "
    "takes 300 s. Above 900 s: `peyvand reconcile` shows which, and why; what is lost meanwhile stays unnoticed.",
    ["service"],
)
RECONCILIATION_MISSING = Counter(
    "peyvand_reconciliation_missing_events_total",
    "Events that this service should have handled and never got, by their owner; they were taken from it and are "
    "handled. Find out why the log lost them: a broker without its disk, a topic that was changed by hand.",
    ["service", "owner"],
)
RECONCILIATION_DISAGREEMENTS = Gauge(
    "peyvand_reconciliation_disagreements",
    "Subjects about which this service has handled events that their owner does not hold, or holds otherwise. Nothing "
    "is changed: the owner was restored without completion, or records were modified. `peyvand reconcile` shows them.",
    ["service", "owner"],
)


# The archive

ARCHIVE_LAG = Gauge(
    "peyvand_archive_lag_seconds",
    "Age of the newest instant of a database that its archive can restore; the start of the process counts until there "
    "is one. Above 5 s: what is stored meanwhile is lost with the database; the archive's log names the cause.",
    ["database"],
)
OPLOG_WINDOW = Gauge(
    "peyvand_archive_oplog_window_seconds",
    "How far MongoDB's oplog reaches back at the rate of the writes that it holds. An archive that stands still for "
    "longer loses its place and begins again with a base copy: enlarge the oplog (`replSetResizeOplog`).",
)


@cache
def _request_seconds(service: str, route: str, method: str, status: str) -> Histogram:
    return REQUEST_SECONDS.labels(service, route, method, status)


def observe_request(service: str, route: str, method: str, status: int, seconds: float) -> None:
    """Count one response; `route` is a template, so that labels stay bounded."""
    method = method if method in METHODS else "other"
    _request_seconds(service, route, method, f"{status // 100}xx").observe(seconds)
