"""What the operator sees of the log and of the stores: is it what lies there, and in plain words?"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from pymongo import MongoClient

from base.ids import uuid7
from contracts.envelope import Context, Envelope, encode
from contracts.events.screening import CaseDecided
from contracts.subjects import partition_of
from contracts.topics import TOPICS
from peyvand.commands import main
from peyvand.commands.events import Heard, cloud_event, line
from peyvand.commands.status import (
    SERVICES,
    ProcessStatus,
    ServiceStatus,
    Status,
    lag,
    needs,
    quantile,
    reasons,
    status,
)
from peyvand.endpoints import Addresses, Part
from peyvand.local_cluster.workspace import ROOT
from peyvand.terminal.rendering import status_tables
from tests.support.servers import Servers

NOON = datetime(2025, 10, 1, 8, 30, tzinfo=UTC)


def _decided(subject: str, sequence: int) -> Envelope:
    event = CaseDecided(
        outcome="approved", reasons=("meets_conditions",), rule_version="1404-1", working_hours=16, within_sla=True
    )
    context = Context(round="1404", province="IR-20", county="2001")
    return Envelope(source="screening", subject=subject, sequence=sequence, time=NOON, event=event, context=context)


def _heard(envelope: Envelope) -> Heard:
    return Heard("peyvand.screening", 3, 17, encode(envelope), envelope)


def test_an_event_is_one_line_that_a_stranger_understands() -> None:
    told = line(_heard(_decided("0199-a", 2)))
    assert told.startswith("1404-07-09 12:00:00  screening")
    for word in ("case.decided", "IR-20/2001", "0199-a/2", "outcome=approved", "reasons=meets_conditions"):
        assert word in told
    assert "\n" not in told


def test_an_event_as_json_is_what_its_bytes_say_and_where_they_lie() -> None:
    told = cloud_event(_heard(_decided("0199-a", 2)))
    assert (told["topic"], told["partition"], told["offset"]) == ("peyvand.screening", 3, 17)
    assert told["event"]["id"] == "screening/0199-a/2" and told["event"]["specversion"] == "1.0"


def test_what_is_no_event_is_shown_as_that() -> None:
    each = Heard("peyvand.screening", 3, 17, b"\xff", None, "no JSON")
    assert line(each) == "peyvand.screening/3@17  unreadable: no JSON"
    assert cloud_event(each)["unreadable"] == "no JSON"


def test_lag_is_what_a_service_hears_and_has_not_passed() -> None:
    ends = {"peyvand.registration/0": 10, "peyvand.screening/0": 5, "peyvand.market/0": 7}
    assert lag("screening", {"peyvand.registration/0": 4}, ends) == 6
    assert lag("reporting", {}, ends) == 22
    assert lag("registration", {"peyvand.screening/0": 9}, ends) == 0


@pytest.mark.parametrize(
    ("buckets", "wanted"),
    [
        ([], None),
        ([(1.0, 0.0), (float("inf"), 0.0)], None),
        ([(0.1, 50.0), (0.2, 100.0), (float("inf"), 100.0)], 0.19),
        ([(0.1, 10.0), (float("inf"), 100.0)], 0.1),
    ],
)
def test_a_quantile_lies_within_its_bucket(buckets: list[tuple[float, float]], wanted: float | None) -> None:
    assert quantile(0.95, buckets) == (None if wanted is None else pytest.approx(wanted))


def test_a_process_says_why_it_is_not_ready() -> None:
    assert reasons(200, b"whatever") == ()
    assert reasons(503, b'{"ready":false,"reasons":["paused: TooManyFaults"]}') == ("paused: TooManyFaults",)
    assert reasons(503, b"<html>") == ("answered 503",)
    assert reasons(0, b"no answer: refused") == ("no answer: refused",)


def _service(**changed: Any) -> ServiceStatus:
    quiet: dict[str, Any] = {name: 0 for name in ServiceStatus.__struct_fields__ if name != "service"}
    return ServiceStatus(service="screening", **{**quiet, **changed})


@pytest.mark.parametrize(
    ("found", "well"),
    [
        (Status("u", (_service(lag=9, unsent=3, parked_early=1),), (ProcessStatus("p", 1, 2, True),)), True),
        (Status("u", (_service(parked_faulty=1),), ()), False),
        (Status("u", (_service(unreadable=1),), ()), False),
        (Status("u", (), (ProcessStatus("p", 1, 2, False, ("paused",)),)), False),
        (Status("u", (), (), ("MongoDB cannot be asked",)), False),
    ],
)
def test_all_is_well_only_where_nothing_waits_for_a_person(found: Status, well: bool) -> None:
    assert found.well is well
    assert ("all is well" in status_tables(found)[-1]) is well


@pytest.mark.parametrize(
    ("changed", "code", "command"),
    [
        ({"unsent": 3, "unsent_oldest_seconds": 61.0}, "unsent", "peyvand events tail"),
        ({"lag": 9, "stuck": True}, "stuck", "peyvand status"),
        ({"parked_faulty": 2}, "dead_letters", "peyvand dead-letters list --service screening"),
        ({"unreadable": 2}, "unreadable", "peyvand dead-letters list --service screening"),
        ({"parked_early": 1, "parked_early_oldest_seconds": 61.0}, "missing", "peyvand events show ID"),
        ({"overdue_oldest_seconds": 3_601.0}, "overdue", "peyvand status"),
    ],
)
def test_each_need_says_why_and_what_to_do(changed: dict[str, Any], code: str, command: str) -> None:
    (need,) = needs(Status("u", (_service(**changed),), ()))
    assert (need.where, need.code, need.command) == ("screening", code, command) and need.why
    assert (ROOT / "deploy" / "runbooks" / need.runbook).is_file()
    told = status_tables(msgspec.structs.replace(Status("u", (_service(**changed),), ()), needs=(need,)))
    assert any(need.command in str(each) and need.runbook in str(each) for each in told)


def test_a_province_is_silent_only_where_every_worker_says_so() -> None:
    workers = (
        ProcessStatus("reporting-worker", 1, 2, True, (), silent={"IR-20": 1.0, "IR-10": 50.0}),
        ProcessStatus("reporting-worker-2", 1, 2, True, (), silent={"IR-20": 5.0}),
    )
    assert Status("u", (), workers).silent == {"IR-10": 50.0, "IR-20": 1.0}


@pytest.fixture
def system(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Addresses]:
    """Real parts, and nobody at the public address."""
    monkeypatch.setenv("PEYVAND_PUBLIC_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PEYVAND_KAFKA", servers.kafka)
    monkeypatch.setenv("PEYVAND_MONGO", servers.mongo)
    yield Addresses("http://127.0.0.1:9", servers.kafka, servers.mongo)


async def _topics(servers: Servers) -> None:
    from kafka.admin import KafkaAdminClient

    client = KafkaAdminClient(bootstrap_servers=servers.kafka)
    try:
        missing = [topic.name for topic in TOPICS if topic.name not in client.list_topics()]
    finally:
        client.close()
    if missing:
        await servers.topics(*missing)


def _publish(servers: Servers, *raws: tuple[str, bytes]) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=servers.kafka)
    try:
        for subject, raw in raws:
            sent = producer.send("peyvand.screening", key=subject.encode(), value=raw, partition=partition_of(subject))
            sent.get(10)
    finally:
        producer.close()


@pytest.mark.server
async def test_the_log_is_read_from_its_beginning_one_line_an_event(
    servers: Servers, system: Addresses, capsys: pytest.CaptureFixture[str]
) -> None:
    await _topics(servers)
    subject = uuid7()
    _publish(servers, *((subject, encode(_decided(subject, n))) for n in (1, 2, 3)), (subject, b"no event"))
    tail = ["events", "tail", "--from", "beginning", "--no-follow", "--service", "screening", "--subject", subject]
    assert main.main(tail) == 0
    told = capsys.readouterr().out.splitlines()
    assert [f"{subject}/{n}" in each for n, each in zip((1, 2, 3), told, strict=False)] == [True] * 3
    assert len(told) == 4 and "unreadable" in told[3]
    assert main.main([*tail, "--limit", "2", "--json"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [json.loads(each)["event"]["sequence"] for each in told] == [1, 2]
    assert main.main(["events", "show", f"screening/{subject}/2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["event"]["id"] == f"screening/{subject}/2"
    assert main.main(["events", "show", f"screening/{subject}/9"]) == 1
    assert "peyvand status" in capsys.readouterr().err
    assert main.main(["events", "show", "nonsense"]) == 1
    assert main.main(["events", "tail", "--service", "nobody"]) == 1


@pytest.mark.server
async def test_the_state_of_the_stores_is_what_lies_in_them(servers: Servers, system: Addresses) -> None:
    await _topics(servers)
    now, names = datetime.now(UTC), [uuid7() for _ in range(2)]
    with MongoClient[dict[str, Any]](servers.mongo, tz_aware=True) as client:
        market = client["market"]
        unsent = {"last_sequence": 5, "relayed": 2, "unrelayed_since": now - timedelta(seconds=90)}
        faulty = {"last_sequence": 1, "relayed": 1, "faulty_since": now - timedelta(seconds=30)}
        due = {"indexed": {"due": now - timedelta(hours=1)}}
        market.records.insert_many(
            [{"_id": names[0], "partition": 0, **unsent}, {"_id": names[1], "partition": 31, **faulty, **due}]
        )
        market.unreadable.insert_one({"_id": names[0]})
        marks = client["reporting"].marks
        marks.insert_one({"_id": "test", "latest": [[4_000_000_000_000, n] for n in range(1_000)]})
        try:
            found = _status(system, now)
        finally:
            market.records.delete_many({"_id": {"$in": names}})
            market.unreadable.delete_one({"_id": names[0]})
            marks.delete_one({"_id": "test"})
    seen = {each.service: each for each in found.services}
    assert tuple(seen) == SERVICES
    assert seen["market"].unsent >= 3 and seen["market"].unsent_oldest_seconds >= 90
    assert seen["market"].parked_faulty >= 1 and seen["market"].unreadable >= 1
    assert seen["market"].overdue_oldest_seconds >= 3600
    assert found.event_to_ranking == (0.5, 0.95)
    assert found.processes == (
        ProcessStatus("front door", 0, 0, False, ("no answer: [Errno 111] Connection refused",)),
    )
    assert not found.well and not found.troubles


def _status(system: Addresses, now: datetime) -> Status:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as elsewhere:  # `status` runs a loop of its own
        return elsewhere.submit(status, system, now).result()


@pytest.mark.server
def test_what_cannot_be_asked_is_said_and_the_rest_is_told(servers: Servers) -> None:
    half = Addresses("http://127.0.0.1:9", servers.kafka, "", (Part("market-worker", 1, 9), Part("kafka", 2, 9)))
    found = status(half, NOON)
    assert len(found.troubles) == 1 and "MongoDB's address is not known" in found.troubles[0]
    assert [each.name for each in found.processes] == ["market-worker"]
