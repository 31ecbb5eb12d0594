"""Recovery drill: after a loss of stores or of a topic, backup and replay restore every figure exactly."""

import os
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from pymongo import MongoClient

from contracts.subjects import PARTITIONS
from peyvand.api_client import ApiClient, sign_in
from peyvand.databases import database_of
from peyvand.local_cluster.processes import alive, wait_until
from peyvand.local_cluster.topology import ARCHIVE, ARCHIVED, KEY_ARCHIVE
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
    code, result = peyvand("applications", "import", str(file), "--round", ROUND, "--province", "IR-20")
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


def _until_archived(peyvand: Peyvand) -> None:
    """Wait until every archive has what is stored now."""
    now = datetime.now(UTC)

    def archived() -> bool:
        code, points = peyvand("restore", "--dry-run")
        return code == 0 and all(datetime.fromisoformat(each) > now for each in points.values())

    assert wait_until(archived, TIMEOUT)


def test_lost_stores_are_restored_from_an_older_archive(own: RunningSystem, peyvand: Peyvand, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    open_round(own.url, ROUND, now - timedelta(days=1), now + timedelta(days=60))
    _apply(peyvand, tmp_path, range(1, 41))
    _settles(peyvand, 40)
    code, refused = peyvand("restore")
    assert code == 1 and "not empty" in refused["error"]
    _until_archived(peyvand)
    for each in (own.workspace.archive, own.workspace.key_archive):  # a copy is a backup at any moment
        shutil.copytree(each, tmp_path / each.name)
    older = ("--archive", str(tmp_path / "archive"), "--keys", str(tmp_path / "key-archive"))

    with MongoClient[dict[str, Any]](own.state.mongo) as client:
        known = client.registration.records.find_one({"kind": "applicant"}, sort=[("_id", 1)])
        assert known and known["private"]["content"]["sealed"]
    erased, key_id = known["_id"], known["private"]["content"]["key_id"]
    erase = ("applications", "erase", erased, "--reason", "request", "--form", "20-1404-9", "--province", "IR-20")
    assert peyvand(*erase, "--dry-run")[1]["status"] != "erased"
    code, done = peyvand(*erase, "--yes")
    assert code == 0 and done["status"] == "erased"
    _apply(peyvand, tmp_path, range(41, 61))
    _settles(peyvand, 59)
    assert wait_until(lambda: _is_erased(own, erased, key_id), TIMEOUT)
    assert own.interrupt() == 0
    (own.workspace.data / "mongod").rename(tmp_path / "lost")
    code, restored = peyvand("restore", *older)
    assert code == 0 and restored.keys() == {*ARCHIVED[ARCHIVE], *ARCHIVED[KEY_ARCHIVE]}

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
        known_persons = client.registration.records.count_documents(with_identity)
        assert known_persons == 40, "later applicants are counted without identity, which no event has"
        assert len(database_of(client, "reporting").cursors.distinct("_id")) == 3 * PARTITIONS
    listed = ("applications", "unidentified", "--round", ROUND, "--province", "IR-20")
    code, lost = peyvand(*listed)
    assert code == 0 and len(lost) == 20
    row = application_file(tmp_path / "one.csv", [national_id(41)])
    identify = ("applications", "identify", lost[0]["id"], str(row), "--province", "IR-20")
    assert peyvand(*identify) == (0, lost[0]) and len(peyvand(*listed)[1]) == 19
    assert peyvand("applications", "identify", lost[1]["id"], str(row), "--province", "IR-20")[0] == 1
    _apply(peyvand, tmp_path, range(61, 66))
    _settles(peyvand, 64)
    _until_archived(peyvand)
    assert "completed" in (own.workspace.logs / "screening-worker.log").read_text()
    api = ApiClient(own.url, sign_in(own.url, "operator"))
    assert api.get("/v1/dead-letters") == []


def test_who_registered_before_everything_was_killed_cannot_register_again(
    own: RunningSystem, peyvand: Peyvand, tmp_path: Path
) -> None:
    """The drill: the database is thrown away in the middle of registrations, and restored from the archive."""
    now = datetime.now(UTC)
    open_round(own.url, ROUND, now - timedelta(days=1), now + timedelta(days=60))
    _apply(peyvand, tmp_path, range(1, 11))
    _until_archived(peyvand)
    for first in range(11, 61, 5):
        _apply(peyvand, tmp_path, range(first, first + 5))
    assert own.supervisor is not None
    own.supervisor.kill()
    own.supervisor.wait()
    for process in own.state.processes.values():
        if alive(process.identity):
            os.kill(process.identity.pid, signal.SIGKILL)
    shutil.rmtree(own.workspace.data / "mongod")
    code, points = peyvand("restore")
    assert code == 0, points

    own.start()
    with MongoClient[dict[str, Any]](own.state.mongo) as client:
        with_identity = {"kind": "applicant", "private.indexed.person": {"$exists": True}}
        archived = client.registration.records.count_documents(with_identity)
    assert archived >= 10
    file = application_file(tmp_path / "again.csv", map(national_id, range(1, 61)))
    _, again = peyvand("applications", "import", str(file), "--round", ROUND, "--province", "IR-20")
    assert again["already_registered"] == archived
    with MongoClient[dict[str, Any]](own.state.mongo) as client:
        applicants = list(client.registration.records.find({"kind": "applicant"}, {"indexed.person": 1}))
    persons = [str(each["indexed"]["person"]) for each in applicants if each["indexed"].get("person")]
    assert len(persons) == len(set(persons)) >= archived, "no one twice"


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
            (recorded,) = database_of(client, service).operator_actions.find()
            assert (recorded["action"], recorded["reason"]) == (action, reason[1]) and recorded["who"]
