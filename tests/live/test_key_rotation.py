"""`peyvand keys` on a running platform: killed in the middle, ended when the database has nothing under old keys."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from base.ids import uuid7
from peyvand.keys import steps
from peyvand.local_cluster.processes import wait_until
from peyvand.local_cluster.topology import SERVICES
from peyvand.local_cluster.workspace import development_key, development_secrets, write_secrets
from peyvand.simulation.people import national_id
from security.encryption import Keyring
from tests.support.application_files import application_file
from tests.support.command_line import Peyvand, command_line
from tests.support.system import RunningSystem, open_round

pytestmark = pytest.mark.server

ROUND, SERIAL, PEOPLE = "1391", 391_100, 150
AGAIN = 20  # of them register again: more attempts in a row are refused
UNUSED = 30_000  # keys that were created in advance: enough that the worker is killed among them
TIMEOUT = 120.0  # seconds


@pytest.fixture
def peyvand(system: RunningSystem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Peyvand:
    return command_line(system, monkeypatch, capsys)


@pytest.fixture
def mongo(system: RunningSystem) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](system.mongo_admin) as client:
        yield client


def test_a_rotation_survives_its_worker_and_its_command(
    system: RunningSystem, peyvand: Peyvand, mongo: MongoClient[dict[str, Any]], tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    open_round(system.url, ROUND, now - timedelta(days=3_650), now + timedelta(days=3_650))
    first = str(application_file(tmp_path / "first.csv", [national_id(SERIAL + n) for n in range(PEOPLE)]))
    add = ("applications", "import", first, "--round", ROUND, "--province", "IR-20")
    code, done = peyvand(*add)
    assert code == 0 and done["registered"] == PEOPLE
    codes = [each["tracking_code"] for each in done["applications"]]
    secrets = development_secrets(system.workspace, SERVICES)
    version = secrets.key_version
    keyring = Keyring(secrets.master_key, secrets.index_key, version)
    keys = [{"_id": uuid7(), "version": version} for _ in range(UNUSED)]
    for each in keys:
        each["wrapped"] = keyring.wrap(os.urandom(32), str(each["_id"]))
    # The command was killed after it had written the new keys, before it restarted anything.
    write_secrets(system.workspace, steps.prepare(secrets, development_key))
    assert {tuple(each["versions"]) for each in peyvand("keys", "status")[1]["processes"]} == {(version,)}
    code, begun = peyvand("keys", "begin")
    assert code == 0 and begun["version"] == version + 1 and len(begun["restarted"]) == 4
    worker = system.process("registration-worker")
    stored = mongo.registration_keys.keys
    others = stored.count_documents({"version": version + 1})
    stored.insert_many(keys)  # after the restarts, which may take longer than the rotation
    assert wait_until(lambda: stored.count_documents({"version": version + 1}) > others + PEOPLE, TIMEOUT)
    os.kill(worker.identity.pid, signal.SIGKILL)
    assert stored.count_documents({"version": version}) > 0
    code, refused = peyvand("keys", "end")
    assert code == 1 and refused["error"]
    system.restarted("registration-worker", worker)
    assert peyvand("keys", "begin") == (0, {"version": version + 1, "restarted": []}), "the rotation goes on"
    assert wait_until(lambda: peyvand("keys", "verify")[0] == 0, 2 * TIMEOUT), peyvand("keys", "verify")
    assert wait_until(lambda: peyvand("keys", "status")[1]["left"] == {"master": 0, "index": 0}, TIMEOUT)

    code, ended = peyvand("keys", "end")
    assert code == 0 and len(ended["restarted"]) == 2
    assert {tuple(each["versions"]) for each in peyvand("keys", "status")[1]["processes"]} == {(version + 1,)}
    assert peyvand("keys", "end") == (0, {"restarted": []})
    code, counted = peyvand("keys", "verify")
    assert code == 0 and (counted["keys"], counted["applicants"]) == (0, 0) and counted["codes"] >= PEOPLE
    values = mongo.registration.records.distinct("indexed.person")
    assert values and not any(f":v{version}:" in each for each in values)
    code, again = peyvand(*add[:2], str(_another(first, tmp_path)), *add[3:])
    assert code == 1 and again["already_registered"] == AGAIN
    for each in codes[:3]:
        httpx.get(f"{system.url}/registration/v1/tracking/{each}", timeout=60).raise_for_status()
    open_round(system.url, ROUND, now - timedelta(days=3_650), now - timedelta(days=1))


def _another(file: str, folder: Path) -> Path:
    """Return a file with some of these people."""
    head, *rows = Path(file).read_text("utf-8").splitlines()
    other = folder / "other.csv"
    other.write_text("\n".join([head, *rows[:AGAIN]]), "utf-8")
    return other
