"""Recovery drill: after a loss of stores or of a topic, backup and replay restore every figure exactly."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from pymongo import MongoClient

from contracts.subjects import PARTITIONS
from peyvand.api_client import ApiClient, sign_in
from peyvand.local_cluster.processes import wait_until
from peyvand.simulation.people import national_id
from tests.support.application_files import application_file
from tests.support.command_line import Peyvand, command_line, is_quiescent
from tests.support.settling import settles
from tests.support.system import RunningSystem, open_round

pytestmark = pytest.mark.server

ROUND = "1404"
TIMEOUT = 60.0  # seconds


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RunningSystem]:
    """Start a platform of the test's own, since the test destroys some of its data."""
    system = RunningSystem(tmp_path / "run")
    system.start()
    yield system
    system.end()


@pytest.fixture
def peyvand(own: RunningSystem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Peyvand:
    return command_line(own, monkeypatch, capsys)


def _apply(peyvand: Peyvand, folder: Path, serials: range) -> None:
    """Register an applicant per serial number."""
    file = application_file(folder / f"{serials.start}.csv", map(national_id, serials))
    code, result = peyvand("import", "applications", str(file), "--round", ROUND, "--province", "IR-20")
    assert code == 0 and result["registered"] == len(serials), result


def _counted(peyvand: Peyvand) -> int:
    """Return how many registrations the ranking counts; 0 before it knows the round."""
    _, table = peyvand("ranking", "show")
    return sum(row["counts"]["registered"] for row in table.get("rows", ()))


def _settles(peyvand: Peyvand, registered: int) -> None:
    """Wait until the platform is quiescent with exactly so many registrations, and check that it stays so."""
    settles(lambda: _counted(peyvand), registered, TIMEOUT, quiescent=lambda: is_quiescent(peyvand))


def _is_erased(system: RunningSystem, subject: str, key_id: str) -> bool:
    """Return whether the worker has destroyed the key of an erased applicant, of whom nothing personal is left."""
    with MongoClient[dict[str, Any]](system.mongo_admin) as client:
        record = client.registration.records.find_one({"_id": subject}, {"events": 0})
        key = client.registration_keys.keys.find_one({"_id": key_id})
    assert record and key
    erased = record["indexed"]["status"] == "erased" and "erasing" not in record["indexed"]
    return erased and record["private"]["content"] == {"key_id": key_id} and "wrapped" not in key


def _holders(backup: Path, content: bytes) -> set[str]:
    """Return the databases whose files in a backup hold these bytes."""
    return {
        file.relative_to(backup).parts[0]
        for file in backup.rglob("*")
        if file.is_file() and content in file.read_bytes()
    }


def test_lost_stores_are_restored_from_an_older_backup(own: RunningSystem, peyvand: Peyvand, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    open_round(own.url, ROUND, now - timedelta(days=1), now + timedelta(days=60))
    _apply(peyvand, tmp_path, range(1, 41))
    _settles(peyvand, 40)
    code, backup = peyvand("backup", str(tmp_path / "b"))
    assert code == 0 and backup["documents"] > 100 and Path(backup["keys"]).is_dir()
    assert peyvand("backup", str(tmp_path / "b"))[0] == 1, "a backup is never written over another"
    code, refused = peyvand("restore", str(tmp_path / "b"))
    assert code == 1 and "not empty" in refused["error"]

    with MongoClient[dict[str, Any]](own.state.mongo) as client:
        backed_up = client.registration.records.find_one({"kind": "applicant"}, sort=[("_id", 1)])
        assert backed_up and backed_up["private"]["content"]["sealed"]
    with MongoClient[dict[str, Any]](own.mongo_admin) as client:
        wrapped = client.registration_keys.keys.find_one({"_id": backed_up["private"]["content"]["key_id"]})
    erased, key_id = backed_up["_id"], backed_up["private"]["content"]["key_id"]
    assert wrapped and _holders(tmp_path / "b", wrapped["wrapped"]) == {"registration_keys"}
    erase = ("applications", "erase", erased, "--reason", "request", "--province", "IR-20")
    assert peyvand(*erase, "--dry-run")[1]["status"] != "erased"
    code, done = peyvand(*erase, "--yes")
    assert code == 0 and done["status"] == "erased"
    _apply(peyvand, tmp_path, range(41, 61))
    _settles(peyvand, 59)
    assert wait_until(lambda: _is_erased(own, erased, key_id), TIMEOUT)
    assert own.interrupt() == 0
    (own.workspace.data / "mongod").rename(tmp_path / "lost")
    code, restored = peyvand("restore", str(tmp_path / "b"))
    assert code == 0 and restored["documents"] >= backup["documents"]

    own.start()
    assert _is_erased(own, erased, key_id), "before anything is served"
    _settles(peyvand, 59)
    with MongoClient[dict[str, Any]](own.state.mongo) as client:
        for service in ("registration", "screening"):
            for d in client[service].records.find({"kind": "applicant"}):
                assert len(d["events"]) == d["last_sequence"] == d["published"]
            assert client[service].records.count_documents({"kind": "applicant"}) == 60
            assert client[service].restore.find_one({}) is None
        with_identity = {"kind": "applicant", "private.indexed.person": {"$exists": True}}
        known = client.registration.records.count_documents(with_identity)
        assert known == 40, "later applicants are counted without identity, which no event has"
        assert len(client.reporting.cursors.distinct("_id")) == 3 * PARTITIONS
    listed = ("applications", "unidentified", "--round", ROUND, "--province", "IR-20")
    code, lost = peyvand(*listed)
    assert code == 0 and len(lost) == 20
    row = application_file(tmp_path / "one.csv", [national_id(41)])
    identify = ("applications", "identify", lost[0]["id"], str(row), "--province", "IR-20")
    assert peyvand(*identify) == (0, lost[0]) and len(peyvand(*listed)[1]) == 19
    assert peyvand("applications", "identify", lost[1]["id"], str(row), "--province", "IR-20")[0] == 1
    _apply(peyvand, tmp_path, range(61, 66))
    _settles(peyvand, 64)
    assert "completed" in (own.workspace.logs / "screening-worker.log").read_text()
    api = ApiClient(own.url, sign_in(own.url, "operator"))
    assert api.get("/v1/dead-letters") == []


def test_a_lost_topic_is_republished_from_its_producers_records(
    own: RunningSystem, peyvand: Peyvand, tmp_path: Path
) -> None:
    """As in the runbook, while all processes run: every registration is counted once, and the actions are recorded."""
    topic, reason = "peyvand.registration", ("--reason", "the topic was deleted")
    now = datetime.now(UTC)
    open_round(own.url, ROUND, now - timedelta(days=1), now + timedelta(days=60))
    _apply(peyvand, tmp_path, range(1, 41))
    _settles(peyvand, 40)
    admin = KafkaAdminClient(**own.kafka_admin.options())
    admin.delete_topics([topic])
    admin.close()
    assert wait_until(lambda: "the topic does not exist" in str(peyvand("status")), TIMEOUT)
    assert wait_until(lambda: peyvand("apply")[0] == 0, TIMEOUT)
    _apply(peyvand, tmp_path, range(41, 61))
    assert wait_until(lambda: "the topic was recreated" in str(peyvand("status")), TIMEOUT)
    actions = [each for each in peyvand("status")[1]["actions"] if each["runbook"] == "log-broken.md"]
    assert {each["command"] for each in actions} == {f"peyvand replay reset-cursors {topic} --reason '...'"}

    assert peyvand("replay", "reset-cursors", "peyvand.nothing", *reason)[0] == 1
    assert peyvand("replay", "reset-cursors", topic, "--service", "registration", *reason)[0] == 1
    assert peyvand("replay", "republish", "reporting", *reason)[0] == 1
    code, planned = peyvand("replay", "reset-cursors", topic, *reason, "--dry-run")
    assert code == 0 and {each["service"] for each in planned} == {"screening", "market", "reporting"}
    assert peyvand("replay", "reset-cursors", topic, *reason) == (0, [{**each, "dry_run": False} for each in planned])
    code, planned = peyvand("replay", "republish", "registration", *reason, "--dry-run")
    assert code == 0 and planned["events"] >= 40 and _counted(peyvand) < 60
    assert peyvand("replay", "republish", "registration", *reason)[0] == 0
    _settles(peyvand, 60)

    api = ApiClient(own.url, sign_in(own.url, "operator"))
    assert api.get("/v1/dead-letters") == api.get("/screening/v1/dead-letters") == []
    with MongoClient[dict[str, Any]](own.state.mongo) as client:
        expected = {"registration": "republish", "screening": "reset_cursors", "reporting": "reset_cursors"}
        for service, action in expected.items():
            (recorded,) = client[service].operator_actions.find()
            assert (recorded["action"], recorded["reason"]) == (action, reason[1]) and recorded["who"]
