"""The operator's command on the real country: quotas and applications in, events and the state of everything out."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from peyvand.commands import main
from peyvand.local_cluster.processes import wait_until
from programme.numbers import national_id
from tests.support.system import RunningSystem, open_round

pytestmark = pytest.mark.server

ROUND = "1390"  # of this test alone
HEADER = "national_id,birth_date,first_name,last_name,sex,mobile,province,county,field,work_mode,consent"
SEEN_WITHIN = 20.0  # seconds

Peyvand = Callable[..., tuple[int, Any]]


@pytest.fixture
def peyvand(system: RunningSystem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Peyvand:
    """Runs a verb with --json where this country runs: exit code, and what it says."""
    monkeypatch.setenv("PEYVAND_RUN", str(system.home.run))
    monkeypatch.delenv("PEYVAND_TOKEN", raising=False)

    def run(*arguments: str) -> tuple[int, Any]:
        code = main.main([*arguments, "--json"])
        said = capsys.readouterr().out
        return code, [json.loads(line) for line in said.splitlines()] if arguments[0] == "events" else json.loads(said)

    return run


@pytest.fixture
def a_round(system: RunningSystem) -> Iterator[str]:
    """A round that opened so long ago that the country's current one is another, and is over afterwards."""
    now = datetime.now(UTC)
    long_ago = now - timedelta(days=3_650)
    open_round(system.url, ROUND, long_ago, now + timedelta(days=3_650))  # the country's clock may be ahead
    yield ROUND
    open_round(system.url, ROUND, long_ago, now - timedelta(days=1))


def _person(serial: int) -> str:
    """A synthetic national ID: prefix 999, and the check digit that fits."""
    digits = f"999{serial:06}"
    rest = sum(int(d) * (10 - i) for i, d in enumerate(digits)) % 11
    return national_id(digits + str(rest if rest < 2 else 11 - rest))


def _applications(folder: Path) -> Path:
    rows = [
        f"{_person(390_100 + n)},1365-02-11,زهرا,نمونه,female,09123456789,IR-20,2001,JF001,independent,1404-1"
        for n in range(20)
    ]
    file = folder / "applications.csv"
    file.write_text("\n".join([HEADER, *rows]) + "\n", "utf-8")
    return file


def test_quotas_and_applications_go_in_and_come_out_as_events(peyvand: Peyvand, a_round: str, tmp_path: Path) -> None:
    quotas = tmp_path / "quotas.csv"
    quotas.write_text("province,name_fa,quota\nIR-20,سمنان,13\nIR-07,فارس,7\n", "utf-8")
    assert peyvand("quota", "import", str(quotas), "--round", a_round)[0] == 0
    code, seats = peyvand("quota", "show", "--round", a_round)
    assert code == 0 and {each["province"]: each["quota"] for each in seats} == {"IR-20": 13, "IR-07": 7}

    quotas.write_text("province,name_fa,quota\nIR-20,سمنان,14\nIR-07,لرستان,7\n", "utf-8")
    code, refused = peyvand("quota", "import", str(quotas), "--round", a_round)
    assert code == 1 and "row 3" in refused["error"]
    assert {each["quota"] for each in peyvand("quota", "show", "--round", a_round)[1]} == {13, 7}  # nothing of it

    file = str(_applications(tmp_path))
    code, rehearsed = peyvand("import", "applications", file, "--round", a_round, "--dry-run")
    assert (code, rehearsed) == (0, {"rows": 20, "faults": []})
    code, done = peyvand("import", "applications", file, "--round", a_round, "--province", "IR-20")
    assert code == 0 and (done["rows"], done["registered"], done["refused"]) == (20, 20, [])
    code, again = peyvand("import", "applications", file, "--round", a_round, "--province", "IR-20")
    assert code == 0 and (again["registered"], again["repeated"]) == (0, 20)

    someone = done["applications"][0]["id"]
    tail = ["events", "tail", "--from", "beginning", "--no-follow", "--subject", someone]
    assert wait_until(lambda: len(peyvand(*tail)[1]) >= 3, SEEN_WITHIN)  # registered, checked, a case opened
    code, told = peyvand(*tail)
    assert code == 0 and {each["event"]["source"] for each in told} >= {"registration", "screening"}
    assert "زهرا" not in json.dumps(told, ensure_ascii=False) and _person(390_100) not in json.dumps(told)
    code, shown = peyvand("events", "show", told[0]["event"]["id"])
    assert code == 0 and shown == told[:1]


def test_a_country_at_rest_is_well(peyvand: Peyvand) -> None:
    def quiet() -> bool:
        code, found = peyvand("status")
        return code == 0 and all(each["lag"] == 0 and each["unsent"] == 0 for each in found["services"])

    assert wait_until(quiet, SEEN_WITHIN)
    found = peyvand("status")[1]
    assert len(found["processes"]) == 9 and all(each["ready"] for each in found["processes"])
    assert len(found["services"]) == 4 and found["troubles"] == []
