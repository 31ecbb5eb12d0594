"""`peyvand status`: lag, backlog and readiness as stored and reported, and the actions that follow from them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from pymongo import MongoClient

from base.ids import uuid7
from observability.health import ReadinessReason
from peyvand.commands.status import Status, required_actions, status
from peyvand.endpoints import Endpoints, ProcessEndpoint
from peyvand.local_cluster.topology import SERVICES
from peyvand.local_cluster.workspace import ROOT
from peyvand.process_status import ProcessStatus, quantile, readiness_reasons
from peyvand.store_status import ServiceStatus, lag
from peyvand.terminal.rendering import status_tables
from tests.support.servers import Servers
from tests.support.topics import create_topics

NOON = datetime(2025, 10, 1, 8, 30, tzinfo=UTC)
PAUSED = ReadinessReason("paused", "ValueError in 51 subjects within a minute")
LOG_BROKEN = ReadinessReason("log_broken", "the cursor is outside of the log", "peyvand.market", 3)


def test_lag_is_what_a_service_has_yet_to_consume() -> None:
    ends = {"peyvand.registration/0": 10, "peyvand.screening/0": 5, "peyvand.market/0": 7}
    assert lag("screening", {"peyvand.registration/0": 4}, ends) == 6
    assert lag("reporting", {}, ends) == 22
    assert lag("registration", {"peyvand.screening/0": 9}, ends) == 0


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        ([], None),
        ([(1.0, 0.0), (float("inf"), 0.0)], None),
        ([(0.1, 50.0), (0.2, 100.0), (float("inf"), 100.0)], 0.19),
        ([(0.1, 10.0), (float("inf"), 100.0)], 0.1),
    ],
)
def test_a_quantile_is_interpolated_within_its_bucket(
    buckets: list[tuple[float, float]], expected: float | None
) -> None:
    assert quantile(0.95, buckets) == (None if expected is None else pytest.approx(expected))


def test_readiness_reasons_are_read_from_the_response() -> None:
    assert readiness_reasons(200, b"ignored") == ()
    body = msgspec.json.encode({"ready": False, "reasons": [PAUSED, LOG_BROKEN]})
    assert readiness_reasons(503, body) == (PAUSED, LOG_BROKEN)
    assert [each.text for each in readiness_reasons(503, b"<html>")] == ["answered 503"]
    assert [each.text for each in readiness_reasons(503, b'{"reasons":["text only"]}')] == ["answered 503"]
    assert [each.text for each in readiness_reasons(0, b"no answer: refused")] == ["no answer: refused"]


def _service(**changed: Any) -> ServiceStatus:
    idle: dict[str, Any] = {name: 0 for name in ServiceStatus.__struct_fields__ if name != "service"}
    return ServiceStatus(service="screening", **{**idle, **changed})


@pytest.mark.parametrize(
    ("found", "healthy"),
    [
        (Status("u", (_service(lag=9, pending=3, early=1),), (ProcessStatus("p", 1, 2, True),)), True),
        (Status("u", (_service(dead_letters=1),), ()), False),
        (Status("u", (_service(undecodable=1),), ()), False),
        (Status("u", (), (ProcessStatus("p", 1, 2, False, (PAUSED,)),)), False),
        (Status("u", (), (), ("MongoDB does not answer",)), False),
    ],
)
def test_healthy_only_if_no_action_is_required(found: Status, healthy: bool) -> None:
    assert found.healthy is healthy
    assert ("all is well" in status_tables(found)[-1]) is healthy


@pytest.mark.parametrize(
    ("changed", "code", "command"),
    [
        ({"pending": 3, "pending_oldest_seconds": 61.0}, "pending", "peyvand events tail"),
        ({"lag": 9, "stuck": True}, "stuck", "peyvand status"),
        ({"dead_letters": 2}, "dead_letters", "peyvand dead-letters list --service screening"),
        ({"undecodable": 2}, "undecodable", "peyvand dead-letters list --service screening"),
        ({"early": 1, "early_oldest_seconds": 61.0}, "missing", "peyvand events show ID"),
        ({"overdue_oldest_seconds": 3_601.0}, "overdue", "peyvand status"),
        ({"erasure_oldest_seconds": 301.0}, "erasure", "peyvand apply"),
    ],
)
def test_each_action_has_a_reason_a_command_and_a_runbook(changed: dict[str, Any], code: str, command: str) -> None:
    (action,) = required_actions(Status("u", (_service(**changed),), ()))
    assert (action.where, action.code, action.command) == ("screening", code, command) and action.why
    assert (ROOT / "deploy" / "runbooks" / action.runbook).is_file()
    shown = status_tables(msgspec.structs.replace(Status("u", (_service(**changed),), ()), actions=(action,)))
    assert any(action.command in str(each) and action.runbook in str(each) for each in shown)


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        ((LOG_BROKEN,), [("peyvand replay reset-cursors peyvand.market --reason '...'", "log-broken.md")]),
        (
            (LOG_BROKEN, ReadinessReason("log_broken", "the same", "peyvand.market", 4), PAUSED),
            [("peyvand replay reset-cursors peyvand.market --reason '...'", "log-broken.md")],
        ),
        ((PAUSED,), [("peyvand status --json", "consumer-paused.md")]),
        ((ReadinessReason("clock_skew", "6 s"),), [("peyvand status --json", "clock-skew.md")]),
        ((ReadinessReason("indexes_missing", "2"),), [("peyvand status --json", "missing-indexes.md")]),
        ((ReadinessReason("fenced", "20"),), [("peyvand status --json", "fenced.md")]),
        ((ReadinessReason("no_partitions", ""),), [("peyvand status --json", "partitions-unassigned.md")]),
        ((ReadinessReason("stopping", ""),), [("peyvand status --json", "process-down.md")]),
    ],
)
def test_the_action_for_a_process_follows_from_the_codes_of_its_reasons(
    reasons: tuple[ReadinessReason, ...], expected: list[tuple[str, str]]
) -> None:
    found = Status("u", (), (ProcessStatus("market-worker", 1, 2, False, reasons),))
    assert [(each.command, each.runbook) for each in required_actions(found)] == expected
    assert all((ROOT / "deploy" / "runbooks" / runbook).is_file() for _, runbook in expected)


def test_a_province_is_silent_only_for_every_worker() -> None:
    workers = (
        ProcessStatus("reporting-worker", 1, 2, True, hours_silent={"IR-20": 1.0, "IR-10": 50.0}),
        ProcessStatus("reporting-worker-2", 1, 2, True, hours_silent={"IR-20": 5.0}),
    )
    assert Status("u", (), workers).hours_silent == {"IR-10": 50.0, "IR-20": 1.0}


@pytest.fixture
def endpoints(servers: Servers) -> Iterator[Endpoints]:
    """Return the real servers, and a public URL at which there is no gateway."""
    yield Endpoints("http://127.0.0.1:9", servers.kafka, servers.mongo)


@pytest.mark.server
async def test_the_backlog_is_read_from_the_stores(servers: Servers, endpoints: Endpoints) -> None:
    await create_topics(servers)
    now, names = datetime.now(UTC), [uuid7() for _ in range(2)]
    with MongoClient[dict[str, Any]](servers.mongo, tz_aware=True) as client:
        market, progress = client["market"], client["reporting"].partition_progress
        pending = {"last_sequence": 5, "published": 2, "pending_since": now - timedelta(seconds=90)}
        erased = {"kind": "applicant", "indexed": {"erasing": now - timedelta(minutes=6)}}
        due = {"last_sequence": 1, "published": 1, "indexed": {"due": now - timedelta(hours=1)}}
        market.records.insert_many(
            [{"_id": names[0], "partition": 0, **pending}, {"_id": names[1], "partition": 31, **due}]
        )
        head = {"head": True, "subject": names[0], "since": now - timedelta(seconds=30)}
        parked = [
            {"_id": f"{names[0]}/registration/1", "partition": 0, "reason": "fault", **head},
            {"_id": f"{names[0]}/screening/2", "partition": 0, "reason": "early", **head},
        ]
        market.parked.insert_many(parked)
        client["registration"].records.insert_one({"_id": names[0], "partition": 0, **erased})
        market.undecodable.insert_one({"_id": names[0]})
        progress.insert_one({"_id": "test", "latest": [[4_000_000_000_000, n] for n in range(1_000)]})
        try:
            found = _status(endpoints, now)
        finally:
            market.records.delete_many({"_id": {"$in": names}})
            market.parked.delete_many({"subject": names[0]})
            client["registration"].records.delete_one({"_id": names[0]})
            market.undecodable.delete_one({"_id": names[0]})
            progress.delete_one({"_id": "test"})
    by_service = {each.service: each for each in found.services}
    assert tuple(by_service) == SERVICES
    market_status = by_service["market"]
    assert market_status.pending >= 3 and market_status.pending_oldest_seconds >= 90
    assert market_status.dead_letters >= 1 and market_status.dead_letters_oldest_seconds >= 30
    assert market_status.early >= 1 and market_status.undecodable >= 1
    assert market_status.overdue_oldest_seconds >= 3600
    assert by_service["registration"].erasure_oldest_seconds >= 360 > market_status.erasure_oldest_seconds
    assert found.event_to_ranking == (0.5, 0.95)
    (gateway,) = found.processes
    assert (gateway.name, gateway.ready) == ("gateway", False)
    assert "Connection refused" in gateway.reasons[0].text
    assert not found.healthy and not found.errors


def _status(endpoints: Endpoints, now: datetime) -> Status:
    with ThreadPoolExecutor(1) as thread:  # `status` runs an event loop of its own
        return thread.submit(status, endpoints, now).result()


@pytest.mark.server
def test_a_failed_check_is_reported_beside_the_others(servers: Servers) -> None:
    processes = (ProcessEndpoint("market-worker", 1, 9), ProcessEndpoint("kafka", 2, 9))
    found = _status(Endpoints("http://127.0.0.1:9", servers.kafka, processes=processes), NOON)
    assert len(found.errors) == 1 and "MongoDB's address is not known" in found.errors[0]
    assert [each.name for each in found.processes] == ["market-worker"]
