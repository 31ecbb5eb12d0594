"""`peyvand status`: the state of every store, cursor and process, and the actions that an operator should take.

It reads the stores and the log directly, and asks each process for its readiness.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

import msgspec
import typer

from base.kafka_access import KafkaAccess
from observability.health import ReadinessReason
from peyvand.commands.events import EventLog
from peyvand.commands.output import Json, Url, number_of, print_result
from peyvand.endpoints import CommandError, Endpoints, find_endpoints
from peyvand.process_status import ProcessStatus, process_statuses
from peyvand.store_status import Quantiles, ServiceStatus, store_statuses

PENDING_LIMIT = 60.0  # seconds that an event may be pending or early without an operator
RECONCILED_LIMIT = 900.0  # seconds; a cycle takes 300
OVERDUE_LIMIT = 3_600.0  # seconds of programme time
ERASURE_LIMIT = 300.0  # seconds


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("status")(show_status)


def show_status(as_json: Json = False, url: Url = "") -> int:
    """Show lag, pending and parked events, readiness, and required actions; exit code 1 if there are any."""
    from base.clock import file_clock
    from peyvand.local_cluster.workspace import current_workspace
    from peyvand.terminal.rendering import status_tables

    found = status(find_endpoints(url), file_clock(current_workspace().clock)().at)
    print_result(found, as_json, status_tables)
    return 0 if found.healthy else 1


class RequiredAction(msgspec.Struct, frozen=True):
    """Something that an operator should do: where, why, the command to begin with, and the runbook."""

    where: str
    code: str
    why: str
    command: str
    runbook: str


class Status(msgspec.Struct, frozen=True):
    """The whole platform at one moment; `errors` are the checks that could not be made."""

    public_url: str
    services: tuple[ServiceStatus, ...]
    processes: tuple[ProcessStatus, ...]
    errors: tuple[str, ...] = ()
    actions: tuple[RequiredAction, ...] = ()
    event_to_ranking: Quantiles = (None, None)  # p50 and p95 in seconds, of the newest events
    at: datetime | None = None  # machine time

    @property
    def healthy(self) -> bool:
        """Whether all checks were made, every process is ready, and no action is required."""
        return not self.errors and not required_actions(self)

    @property
    def hours_silent(self) -> dict[str, float]:
        """Return the hours since each province's last event, the longest first, for provinces that have had one."""
        hours: dict[str, float] = {}
        for process in self.processes:
            for province, n in process.hours_silent.items():
                hours[province] = min(n, hours.get(province, n))
        return dict(sorted(hours.items(), key=lambda item: -item[1]))


def status(endpoints: Endpoints, now: datetime) -> Status:
    """Return the state of the platform; `now` is programme time."""
    from base.clock import machine_now

    errors: list[str] = []
    services: tuple[ServiceStatus, ...] = ()
    to_ranking: Quantiles = (None, None)

    def ends() -> Mapping[str, int]:
        try:
            return log_ends(endpoints.require_kafka())
        except CommandError as e:
            errors.append(f"{e.message} ({e.hint})")
            return {}

    try:
        services, to_ranking = asyncio.run(store_statuses(endpoints.require_mongo(), ends, now))
    except CommandError as e:
        errors.append(f"{e.message} ({e.hint})")
    processes = process_statuses(endpoints)
    found = Status(endpoints.public_url, services, processes, tuple(errors), (), to_ranking, machine_now())
    return msgspec.structs.replace(found, actions=required_actions(found))


def required_actions(found: Status) -> tuple[RequiredAction, ...]:
    """Return the actions that an operator should take: processes first, then stores."""
    not_ready = (process for process in found.processes if not process.ready)
    of_processes = (action for process in not_ready for action in _process_actions(process))
    return (*of_processes, *(action for service in found.services for action in _service_actions(service)))


def _process_actions(process: ProcessStatus) -> Iterator[RequiredAction]:
    """Yield one action for each topic with a broken log, and one for all other reasons."""
    why = "; ".join(each.text for each in process.reasons)
    broken = dict.fromkeys(each.topic for each in process.reasons if each.code == "log_broken")
    for topic in broken:
        command = f"peyvand replay reset-cursors {topic} --reason '...'"
        yield RequiredAction(process.name, "not_ready", why, command, "log-broken.md")
    if not broken:
        yield RequiredAction(process.name, "not_ready", why, "peyvand status --json", _runbook(process.reasons))


RUNBOOKS = {
    "paused": "consumer-paused.md",
    "clock_skew": "clock-skew.md",
    "fenced": "fenced.md",
    "indexes_missing": "missing-indexes.md",
    "no_partitions": "partitions-unassigned.md",
    "archive": "archive-behind.md",
}


def _runbook(reasons: tuple[ReadinessReason, ...]) -> str:
    return next((RUNBOOKS[each.code] for each in reasons if each.code in RUNBOOKS), "process-down.md")


Check = tuple[str, Callable[[ServiceStatus], bool], Callable[[ServiceStatus], str], str, str]

CHECKS: tuple[Check, ...] = (  # code, condition, reason, command, runbook
    (
        "pending",
        lambda s: s.pending_oldest_seconds > PENDING_LIMIT,
        lambda s: f"{number_of(s.pending, 'event')} pending, the oldest for {s.pending_oldest_seconds:,.0f} s",
        "peyvand events tail",
        "outbox-stalled.md",
    ),
    (
        "stuck",
        lambda s: s.stuck,
        lambda s: f"{number_of(s.lag, 'event')} behind, and no cursor moves",
        "peyvand status",
        "consumer-lag-high.md",
    ),
    (
        "dead_letters",
        lambda s: s.dead_letters > 0,
        lambda s: (
            f"{number_of(s.dead_letters, 'source')} parked, the oldest for {s.dead_letters_oldest_seconds:,.0f} s"
        ),
        "peyvand dead-letters list --service {service}",
        "dead-letters.md",
    ),
    (
        "undecodable",
        lambda s: s.undecodable > 0,
        lambda s: number_of(s.undecodable, "undecodable record"),
        "peyvand dead-letters list --service {service}",
        "undecodable-records.md",
    ),
    (
        "missing",
        lambda s: s.early_oldest_seconds > PENDING_LIMIT,
        lambda s: (
            f"an event is missing for {number_of(s.early, 'source')}, the oldest for {s.early_oldest_seconds:,.0f} s"
        ),
        "peyvand events show ID",
        "event-missing.md",
    ),
    (
        "events_lost",
        lambda s: s.repaired > 0,
        lambda s: f"{number_of(s.repaired, 'event')} lost, found within the last hour, and taken from their owners",
        "peyvand reconcile --service {service}",
        "events-lost.md",
    ),
    (
        "disagreements",
        lambda s: s.disagreements > 0,
        lambda s: f"{number_of(s.disagreements, 'subject')} of which the owner does not hold what was handled",
        "peyvand reconcile --service {service}",
        "records-disagree.md",
    ),
    (
        "not_reconciled",
        lambda s: s.reconciled_oldest_seconds > RECONCILED_LIMIT,
        lambda s: f"not compared with the owners of its events for {s.reconciled_oldest_seconds:,.0f} s",
        "peyvand reconcile --service {service}",
        "reconciliation-overdue.md",
    ),
    (
        "overdue",
        lambda s: s.overdue_oldest_seconds > OVERDUE_LIMIT,
        lambda s: f"overdue for {s.overdue_oldest_seconds:,.0f} s",
        "peyvand status",
        "scheduler-overdue.md",
    ),
    (
        "erasure",
        lambda s: s.erasure_oldest_seconds > ERASURE_LIMIT,
        lambda s: f"the key of an erased applicant has not been destroyed for {s.erasure_oldest_seconds:,.0f} s",
        "peyvand apply",
        "key-destruction-overdue.md",
    ),
)


def _service_actions(service: ServiceStatus) -> Iterator[RequiredAction]:
    for code, applies, why, command, runbook in CHECKS:
        if applies(service):
            yield RequiredAction(service.service, code, why(service), command.format(service=service.service), runbook)


def log_ends(kafka: KafkaAccess) -> dict[str, int]:
    """Return `topic/partition` -> the offset of the next record. Raise CommandError."""
    log = EventLog(kafka)
    try:
        return {f"{tp.topic}/{tp.partition}": end for tp, end in log.end_offsets().items()}
    finally:
        log.close()
