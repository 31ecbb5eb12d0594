"""`peyvand events`: events of the log as lines and as JSON, found by id, followed from the beginning."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from base.ids import uuid7
from contracts.envelope import Context, Envelope, decode, encode
from contracts.events.screening import CaseDecided
from peyvand.commands import main
from peyvand.commands.events import EventLog, LogEntry, cloud_event, line
from peyvand.local_cluster.topology import kafka_environment
from tests.support.servers import Servers
from tests.support.topics import create_topics, publish

NOON = datetime(2025, 10, 1, 8, 30, tzinfo=UTC)


def _decided(subject: str, sequence: int) -> Envelope:
    event = CaseDecided(
        outcome="approved", reasons=("meets_conditions",), rule_version="1404-1", working_hours=16, within_sla=True
    )
    context = Context(round="1404", province="IR-20", county="2001")
    return Envelope(source="screening", subject=subject, sequence=sequence, time=NOON, event=event, context=context)


def _entry(envelope: Envelope) -> LogEntry:
    return LogEntry("peyvand.screening", 3, 17, encode(envelope), envelope)


def test_an_event_is_one_readable_line() -> None:
    shown = line(_entry(_decided("0199-a", 2)))
    assert shown.startswith("1404-07-09 12:00:00  screening")
    for word in ("case.decided", "IR-20/2001", "0199-a/2", "outcome=approved", "reasons=meets_conditions"):
        assert word in shown
    assert "\n" not in shown


def test_an_event_as_json_has_its_content_and_position() -> None:
    shown = cloud_event(_entry(_decided("0199-a", 2)))
    assert (shown["topic"], shown["partition"], shown["offset"]) == ("peyvand.screening", 3, 17)
    assert shown["event"]["id"] == "screening/0199-a/2" and shown["event"]["specversion"] == "1.0"


def test_an_event_of_an_unknown_type_is_a_line() -> None:
    raw = encode(_decided("0199-a", 2)).replace(b"case.decided", b"case.photographed")
    assert "case.photographed" in line(LogEntry("peyvand.screening", 3, 17, raw, decode(raw)))


def test_an_undecodable_record_is_shown_as_such() -> None:
    entry = LogEntry("peyvand.screening", 3, 17, b"\xff", None, "no JSON")
    assert line(entry) == "peyvand.screening/3@17  undecodable: no JSON"
    assert cloud_event(entry)["undecodable"] == "no JSON"


@pytest.mark.server
def test_the_log_is_read_from_its_beginning_one_line_an_event(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PEYVAND_PUBLIC_URL", "http://127.0.0.1:9")
    for name, value in kafka_environment(servers.kafka).items():
        monkeypatch.setenv(name, value)
    asyncio.run(create_topics(servers))
    subject = uuid7()
    events = [(subject, encode(_decided(subject, n))) for n in (1, 2, 3)]
    publish(servers, "peyvand.screening", *events, (subject, b"no event"))
    tail = ["events", "tail", "--from", "beginning", "--no-follow", "--service", "screening", "--subject", subject]
    assert main.main(tail) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [f"{subject}/{n}" in each for n, each in zip((1, 2, 3), lines, strict=False)] == [True] * 3
    assert len(lines) == 4 and "undecodable" in lines[3]
    assert main.main([*tail, "--limit", "2", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(each)["event"]["sequence"] for each in lines] == [1, 2]
    assert main.main(["events", "show", f"screening/{subject}/2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["event"]["id"] == f"screening/{subject}/2"
    log, position = EventLog(servers.kafka), json.loads(lines[1])
    place = "{topic}/{partition}@".format(**position)
    found = [log.at(f"{place}{offset}") for offset in (position["offset"], 1 << 40)]
    assert found[0] is not None and found[1] is None and log.at("peyvand.unknown/0@0") is None
    assert cloud_event(found[0]) == position
    log.close()
    assert main.main(["events", "show", f"screening/{subject}/9"]) == 1
    assert "peyvand status" in capsys.readouterr().err
    assert main.main(["events", "show", "nonsense"]) == 1
    assert main.main(["events", "tail", "--service", "unknown"]) == 1
