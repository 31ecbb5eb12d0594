"""The drill: stores or a log are lost; a backup, the log, or its owner bring them back, and every figure is exact."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from pymongo import MongoClient

from contracts.subjects import PARTITIONS
from peyvand.api_client import Client, sign_in
from peyvand.commands import main
from peyvand.local_cluster.processes import wait_until
from tests.live.test_operator import HEADER
from tests.support.registration_api import a_national_id
from tests.support.system import RunningSystem, open_round

pytestmark = pytest.mark.server

ROUND = "1404"
WITHIN = 60.0  # seconds

Peyvand = Callable[..., tuple[int, Any]]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RunningSystem]:
    """A country of this test's own: it loses something."""
    system = RunningSystem(tmp_path / "run")
    system.start()
    yield system
    system.end()


@pytest.fixture
def peyvand(own: RunningSystem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Peyvand:
    """Runs a verb with --json where this country runs: exit code, and what it says."""
    monkeypatch.setenv("PEYVAND_RUN", str(own.home.run))
    for name in ("PEYVAND_TOKEN", "MONGO_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> tuple[int, Any]:
        code = main.main([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


def _apply(peyvand: Peyvand, folder: Path, numbers: range) -> None:
    rows = [
        f"{a_national_id(n)},1365-02-11,زهرا,نمونه,female,09123456789,IR-20,2001,JF001,independent,1404-1"
        for n in numbers
    ]
    file = folder / f"{numbers.start}.csv"
    file.write_text("\n".join([HEADER, *rows]) + "\n", "utf-8")
    code, done = peyvand("import", "applications", str(file), "--round", ROUND, "--province", "IR-20")
    assert code == 0 and done["registered"] == len(numbers), done


def _rests(peyvand: Peyvand, registered: int) -> bool:
    """Nothing is on its way, and the ranking counts so many."""
    code, found = peyvand("status")
    quiet = code == 0 and all(each["lag"] == 0 and each["unsent"] == 0 for each in found["services"])
    if not quiet:
        return False
    code, table = peyvand("ranking", "show")
    assert code == 0, table
    counted: int = sum(row["counts"]["registered"] for row in table["rows"])
    return counted == registered


def test_a_lost_country_comes_back_from_an_older_backup(own: RunningSystem, peyvand: Peyvand, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    open_round(own.url, ROUND, now - timedelta(days=1), now + timedelta(days=60))
    _apply(peyvand, tmp_path, range(1, 41))
    assert wait_until(lambda: _rests(peyvand, 40), WITHIN)
    code, made = peyvand("backup", str(tmp_path / "b"))
    assert code == 0 and made["documents"] > 100 and Path(made["keys"]).is_dir()
    assert peyvand("backup", str(tmp_path / "b"))[0] == 1  # never over another
    code, refused = peyvand("restore", str(tmp_path / "b"))
    assert code == 1 and "not empty" in refused["error"]

    _apply(peyvand, tmp_path, range(41, 61))
    assert wait_until(lambda: _rests(peyvand, 60), WITHIN)
    assert own.interrupt() == 0
    (own.home.data / "mongod").rename(tmp_path / "lost")
    code, back = peyvand("restore", str(tmp_path / "b"))
    assert code == 0 and back["documents"] >= made["documents"]

    own.start()
    assert wait_until(lambda: _rests(peyvand, 60), WITHIN), peyvand("status")
    with MongoClient[dict[str, Any]](own.state.mongo) as client:
        for service in ("registration", "screening"):
            for d in client[service].records.find({"kind": "applicant"}):
                assert len(d["emitted"]) == d["last_sequence"] == d["relayed"]
            assert client[service].records.count_documents({"kind": "applicant"}) == 60
            assert client[service].restored.find_one({}) is None
        known = client.registration.records.count_documents({"kind": "applicant", "private": {"$exists": True}})
        assert known == 40, "who registered after the backup is counted, and no event tells who it is"
        assert len(client.reporting.cursors.distinct("_id")) == 3 * PARTITIONS
    _apply(peyvand, tmp_path, range(61, 66))  # and it goes on
    assert wait_until(lambda: _rests(peyvand, 65), WITHIN)
    assert "completed" in (own.home.logs / "screening-worker.log").read_text()
    someone = Client(own.url, sign_in(own.url, "operator"))
    assert someone.get("/v1/dead-letters") == []


def test_a_lost_topic_is_said_again_by_its_owner(own: RunningSystem, peyvand: Peyvand, tmp_path: Path) -> None:
    """As the runbook says, with nobody stopped: everything is counted, once, and on record is who did what and why."""
    topic, why = "peyvand.registration", ("--reason", "the topic was deleted")
    now = datetime.now(UTC)
    open_round(own.url, ROUND, now - timedelta(days=1), now + timedelta(days=60))
    _apply(peyvand, tmp_path, range(1, 41))
    assert wait_until(lambda: _rests(peyvand, 40), WITHIN)
    admin = KafkaAdminClient(bootstrap_servers=own.state.kafka)
    admin.delete_topics([topic])
    admin.close()
    assert wait_until(lambda: "there is no such topic" in str(peyvand("status")), WITHIN)
    assert wait_until(lambda: peyvand("apply")[0] == 0, WITHIN)
    _apply(peyvand, tmp_path, range(41, 61))
    assert wait_until(lambda: "the topic was made anew" in str(peyvand("status")), WITHIN)
    told = [each["command"] for each in peyvand("status")[1]["needs"] if each["runbook"] == "log-broken.md"]
    assert told and set(told) == {f"peyvand log reread {topic} --reason '...'"}

    assert peyvand("log", "reread", "peyvand.nothing", *why)[0] == 1
    assert peyvand("log", "reread", topic, "--service", "registration", *why)[0] == 1
    assert peyvand("log", "republish", "reporting", *why)[0] == 1
    code, planned = peyvand("log", "reread", topic, *why, "--dry-run")
    assert code == 0 and {each["service"] for each in planned} == {"screening", "market", "reporting"}
    assert peyvand("log", "reread", topic, *why) == (0, [{**each, "dry_run": False} for each in planned])
    code, planned = peyvand("log", "republish", "registration", *why, "--dry-run")
    assert code == 0 and planned["events"] >= 40 and not _rests(peyvand, 60)
    assert peyvand("log", "republish", "registration", *why)[0] == 0
    assert wait_until(lambda: _rests(peyvand, 60), WITHIN), peyvand("status")

    someone = Client(own.url, sign_in(own.url, "operator"))
    assert someone.get("/v1/dead-letters") == someone.get("/screening/v1/dead-letters") == []
    with MongoClient[dict[str, Any]](own.state.mongo) as client:
        for service, action in (("registration", "republish"), ("screening", "reread"), ("reporting", "reread")):
            (act,) = client[service].acts.find()
            assert (act["action"], act["reason"]) == (action, why[1]) and act["who"]
