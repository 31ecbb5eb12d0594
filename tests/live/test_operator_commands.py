"""The operator's command on a running platform: imports, events and status."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from peyvand.local_cluster.processes import wait_until
from peyvand.simulation.people import national_id
from tests.support.application_files import application_file
from tests.support.command_line import Peyvand, command_line, is_quiescent
from tests.support.system import RunningSystem, open_round

pytestmark = pytest.mark.server

ROUND = "1390"  # of this test alone
FIRST_SERIAL = 390_100
TIMEOUT = 90.0  # seconds


@pytest.fixture
def peyvand(system: RunningSystem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Peyvand:
    return command_line(system, monkeypatch, capsys)


@pytest.fixture
def a_round(system: RunningSystem) -> Iterator[str]:
    """Open a round that began so long ago that it is not the current one, and close it afterwards."""
    now = datetime.now(UTC)
    long_ago = now - timedelta(days=3_650)
    open_round(system.url, ROUND, long_ago, now + timedelta(days=3_650))  # programme time may be ahead
    yield ROUND
    open_round(system.url, ROUND, long_ago, now - timedelta(days=1))


def test_imported_quotas_and_applications_become_events(peyvand: Peyvand, a_round: str, tmp_path: Path) -> None:
    quotas = tmp_path / "quotas.csv"
    quotas.write_text("province,name_fa,quota\nIR-20,سمنان,13\nIR-07,فارس,7\n", "utf-8")
    code, made = peyvand("quota", "import", str(quotas), "--round", a_round)
    assert code == 0 and peyvand("quota", "show", "--round", a_round)[1] == [], (
        "nothing changes before the second person"
    )
    assert peyvand("quota", "sign", made["id"], made["control"], "--round", a_round)[0] == 0
    code, seats = peyvand("quota", "show", "--round", a_round)
    assert code == 0 and {each["province"]: each["quota"] for each in seats} == {"IR-20": 13, "IR-07": 7}

    quotas.write_text("province,name_fa,quota\nIR-20,سمنان,14\nIR-07,لرستان,7\n", "utf-8")
    code, refused = peyvand("quota", "import", str(quotas), "--round", a_round)
    assert code == 1 and "row 3" in refused["error"]
    assert {each["quota"] for each in peyvand("quota", "show", "--round", a_round)[1]} == {13, 7}, "no row was stored"

    national_ids = [national_id(FIRST_SERIAL + n) for n in range(20)]
    file = str(application_file(tmp_path / "applications.csv", national_ids))
    code, checked = peyvand("applications", "import", file, "--round", a_round, "--dry-run")
    assert (code, checked["registered"], checked["applications"]) == (0, 20, []), "nothing is stored"
    code, done = peyvand("applications", "import", file, "--round", a_round, "--province", "IR-20")
    assert code == 0 and (done["rows"], done["registered"], done["refused"]) == (20, 20, [])
    code, again = peyvand("applications", "import", file, "--round", a_round, "--province", "IR-20")
    assert code == 0 and again == done

    applicant = done["applications"][0]["id"]
    tail = ["events", "tail", "--from", "beginning", "--no-follow", "--subject", applicant]
    assert wait_until(lambda: len(peyvand(*tail)[1]) >= 3, TIMEOUT)  # registered, checked, a case opened
    code, events = peyvand(*tail)
    assert code == 0 and {each["event"]["source"] for each in events} >= {"registration", "screening"}
    assert "زهرا" not in json.dumps(events, ensure_ascii=False) and national_ids[0] not in json.dumps(events)
    code, shown = peyvand("events", "show", events[0]["event"]["id"])
    assert code == 0 and shown == events[:1]


def test_the_audit_is_verified(peyvand: Peyvand) -> None:
    code, found = peyvand("audit")
    assert code == 0 and found["defects"] == [] and found["heads"] >= 1 and found["signed_until"]


def test_a_quiescent_platform_is_healthy(peyvand: Peyvand) -> None:
    assert wait_until(lambda: is_quiescent(peyvand), TIMEOUT)
    found = peyvand("status")[1]
    assert len(found["processes"]) == 11 and all(each["ready"] for each in found["processes"])
    assert len(found["services"]) == 4 and found["errors"] == []


def test_the_generation_of_this_version_is_served(peyvand: Peyvand) -> None:
    code, (found,) = peyvand("generations", "list")
    assert code == 0 and (found["served"], found["built"], found["this_version"]) == (True, True, True)
    code, refused = peyvand("rebuild")
    assert code == 1 and "built already" in refused["error"]
    code, refused = peyvand("generations", "drop", found["generation"])
    assert code == 1 and "is served" in refused["error"]
    done = {"generation": found["generation"], "done": "served"}
    assert peyvand("generations", "use", found["generation"]) == (0, done)
