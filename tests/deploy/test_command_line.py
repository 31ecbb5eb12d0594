"""The command line: requests, exit codes and error messages of each verb."""

import json
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from peyvand.commands import applications
from programme.reference import job_fields
from tests.support.stub_server import TABLE, Run, StubServer


@pytest.fixture
def no_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Use a clone in which no platform runs."""
    monkeypatch.setenv("PEYVAND_HOME", str(tmp_path))
    for name in ("PEYVAND_RUN", "PEYVAND_PUBLIC_URL", "PEYVAND_KAFKA", "PEYVAND_MONGO"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_platform")
@pytest.mark.parametrize(
    "verb",
    [
        ["status"],
        ["token", "--role", "operator"],
        ["quota", "show", "--round", "1404"],
        ["events", "tail"],
        ["events", "show", "screening/x/1"],
        ["ranking", "show"],
        ["ranking", "export"],
        ["simulate"],
        ["generations", "list"],
    ],
)
def test_without_a_platform_every_verb_prints_how_to_start_one(run: Run, verb: list[str]) -> None:
    code, out, err = run(*verb)
    assert (code, out) == (1, "") and "make up" in err
    code, out, err = run(*verb, "--json")
    assert (code, err) == (1, "") and "make up" in json.loads(out)["hint"]


@pytest.mark.parametrize("verb", [["nonsense"], ["events", "tail", "--from", "middle"], ["quota", "show"], ["token"]])
def test_wrong_usage_exits_with_2(run: Run, verb: list[str]) -> None:
    assert run(*verb)[0] == 2


def test_help_names_every_verb(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for verb in (
        "run",
        "up",
        "simulate",
        "apply",
        "clean",
        "status",
        "quota",
        "applications",
        "events",
        "ranking",
        "token",
    ):
        assert f" {verb} " in out


def test_a_token_is_printed_alone(run: Run, server: StubServer) -> None:
    code, out, _ = run("token", "--role", "screener", "--province", "IR-20", "--url", server.url)
    assert (code, out) == (0, "t0ken\n")
    form = parse_qs(server.requests[0][3].decode())
    assert form == {"grant_type": ["client_credentials"], "role": ["screener"], "province": ["IR-20"]}


def test_a_refusal_of_the_issuer_is_printed(run: Run, server: StubServer) -> None:
    server.replies["/issuer/token"] = [(400, {"error": "invalid_request", "error_description": "no role 'root'"})]
    code, _, err = run("token", "--role", "root", "--url", server.url)
    assert code == 1 and "no role 'root'" in err


def test_peyvand_token_takes_precedence_over_the_issuer(
    run: Run, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEYVAND_TOKEN", "mine")
    server.replies["/registration/v1/rounds/1404/quotas"] = [(200, {"items": []})]
    code, out, err = run("quota", "show", "--round", "1404", "--url", server.url)
    assert code == 0 and server.requests[0][2]["Authorization"] == "Bearer mine"
    assert "mine" not in out + err and not server.to("/issuer/token")


def test_the_ranking_is_shown_with_its_counts(run: Run, server: StubServer) -> None:
    code, out, _ = run("ranking", "show", "--url", server.url)
    assert code == 0
    assert all(word in out for word in ("Semnan", "52.21690", "1,300", "3,021", "12,345 events"))
    code, out, _ = run("ranking", "show", "--table", "2", "--json", "--url", server.url)
    assert json.loads(out) == TABLE and server.requests[-1][1] == "/v1/ranking?table=2"


def test_an_unknown_table_is_not_requested(run: Run, server: StubServer) -> None:
    code, _, err = run("ranking", "show", "--table", "9", "--url", server.url)
    assert code == 1 and "composite, 1, 2, 3" in err and not server.requests


def test_the_four_tables_are_written_as_received(run: Run, server: StubServer, tmp_path: Path) -> None:
    code, out, _ = run("ranking", "export", "--to", str(tmp_path / "out"), "--json", "--url", server.url)
    files = [Path(each) for each in json.loads(out)]
    assert code == 0 and [each.name for each in files] == [f"ranking-{t}.csv" for t in ("composite", "1", "2", "3")]
    assert files[0].read_bytes() == b"rank,province\n1,IR-20\n"
    assert sorted((tmp_path / "out").iterdir()) == sorted(files)


def test_an_unreachable_or_invalid_address_is_reported(run: Run) -> None:
    code, _, err = run("ranking", "show", "--url", "http://127.0.0.1:9")
    assert code == 1 and "does not answer" in err
    code, _, err = run("ranking", "show", "--url", "file:///etc/passwd")
    assert code == 1 and "http" in err


# Quotas


def test_each_import_of_a_quota_file_has_its_own_key(run: Run, server: StubServer, tmp_path: Path) -> None:
    file = tmp_path / "quotas.csv"
    file.write_text("province,name_fa,quota\nIR-20,سمنان,1300\n", "utf-8")
    server.replies["/registration/v1/rounds/1404/quotas/import"] = [
        (201, {"id": "0199", "control": "841207336", "round": "1404", "changes": [{"province": "IR-20"}]})
    ]
    for _ in range(2):
        code, out, _ = run("quota", "import", str(file), "--round", "1404", "--url", server.url)
        assert code == 0 and "peyvand quota sign 0199 841207336 --round 1404" in out
    first, second = server.to("/registration/v1/rounds/1404/quotas/import")
    assert first[3] == file.read_bytes() and first[2]["Content-Type"] == "text/csv"
    assert first[2]["Idempotency-Key"] != second[2]["Idempotency-Key"]
    assert parse_qs(server.requests[0][3].decode())["role"] == ["ministry_admin"]


def test_a_second_person_signs_a_proposal_of_quotas(run: Run, server: StubServer) -> None:
    path = "/registration/v1/rounds/1404/proposals/0199/signature"
    server.replies[path] = [(200, {"round": "1404", "changes": [{"province": "IR-20"}]})]
    code, out, _ = run("quota", "sign", "0199", "841-207-336", "--round", "1404", "--url", server.url)
    assert code == 0 and "1 quota of 1404 changed" in out
    assert json.loads(server.to(path)[0][3]) == {"control": "841-207-336"}
    assert parse_qs(server.requests[0][3].decode())["sub"] == ["ministry_admin-second"]


def test_a_refused_row_is_printed_with_its_reason(run: Run, server: StubServer, tmp_path: Path) -> None:
    file = tmp_path / "quotas.csv"
    file.write_text("province,name_fa,quota\nIR-20,لرستان,1300\n", "utf-8")
    problem = {
        "detail": "rows are refused",
        "errors": [{"row": 2, "field": "name_fa", "code": "province_name_mismatch", "detail": "IR-20 is Semnan"}],
    }
    server.replies["/registration/v1/rounds/1404/quotas/import"] = [(422, problem)]
    code, _, err = run("quota", "import", str(file), "--round", "1404", "--url", server.url)
    assert code == 1 and "row 2, name_fa: IR-20 is Semnan" in err and "nothing was stored" in err


def test_seats_are_shown_by_province(run: Run, server: StubServer) -> None:
    item = {"province": "IR-20", "quota": 1300, "available": 3, "held": 0, "admitted": 1297, "waiting": 210}
    server.replies["/registration/v1/rounds/1404/quotas"] = [(200, {"items": [item]})]
    code, out, _ = run("quota", "show", "--round", "1404", "--url", server.url)
    assert code == 0 and all(word in out for word in ("Semnan", "1,300", "1,297", "210"))


# Applications

IMPORT = "/registration/v1/rounds/1404/applications/import"
GOOD = {
    "national_id": "9990000018",
    "birth_date": "1365-02-11",
    "first_name": "زهرا",
    "last_name": "نمونه",
    "sex": "female",
    "mobile": "۰۹۱۲۳۴۵۶۷۸۹",
    "province": "IR-20",
    "county": "2001",
    "field": "JF001",
    "work_mode": "",
    "consent": "",
}


def _file(folder: Path, *changes: dict[str, str], columns: tuple[str, ...] = applications.COLUMNS) -> Path:
    from contracts.codes import SEXES, WORK_MODES

    valid = {**GOOD, "sex": next(iter(SEXES)), "work_mode": next(iter(WORK_MODES)), "consent": "1404-1"}
    lines = [",".join(columns), *(",".join({**valid, **change}[name] for name in columns) for change in changes)]
    path = folder / "applications.csv"
    path.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", "utf-8")
    return path


def test_a_dry_run_is_that_of_the_platform_and_stores_nothing(run: Run, server: StubServer, tmp_path: Path) -> None:
    refused = [{"row": 3, "field": "national_id", "code": "named_twice", "detail": "also row 2"}]
    reply = {
        "rows": 9,
        "registered": 7,
        "refused": refused,
        "refused_rows": 1,
        "already_registered": 1,
        "dry_run": True,
    }
    server.replies[IMPORT] = [(200, reply)]
    file = _file(tmp_path, {})
    options = ("--round", "1404", "--dry-run", "--mode", "rows", "--url", server.url)
    code, out, _ = run("applications", "import", str(file), *options)
    assert code == 1 and "row 3, national_id: also row 2" in out
    assert "9 rows, 1 refused, 1 already registered, 7 would be registered; nothing was stored" in out
    [sent] = [each for each in server.requests if each[1].startswith(IMPORT)]
    assert parse_qs(sent[1].partition("?")[2]) == {"mode": ["rows"], "dry_run": ["true"]}
    assert sent[2]["Content-Type"] == "text/csv" and sent[3] == file.read_bytes()


def test_an_unknown_mode_sends_nothing(run: Run, server: StubServer, tmp_path: Path) -> None:
    code, _, err = run("applications", "import", str(_file(tmp_path, {})), "--round", "1404", "--mode", "all")
    assert code == 1 and "whole, rows" in err and not server.requests


def test_refused_rows_of_a_workbook_are_written_as_they_came(run: Run, server: StubServer, tmp_path: Path) -> None:
    file, rows = tmp_path / "people.xlsx", tmp_path / "rows.xlsx"
    file.write_bytes(b"PK\x03\x04 a workbook")
    server.replies[f"{IMPORT}/refused"] = [(200, {"rows": "to correct"})]
    server.replies[IMPORT] = [(200, {"rows": 1, "registered": 1, "refused": []})]
    options = ("--round", "1404", "--refused", str(rows), "--url", server.url)
    code, _, _ = run("applications", "import", str(file), *options)
    assert code == 0 and json.loads(rows.read_bytes()) == {"rows": "to correct"}
    sent = [each for each in server.requests if each[1].startswith(IMPORT)]
    assert len(sent) == 2 and all("spreadsheetml" in each[2]["Content-Type"] for each in sent)


def test_a_lost_response_is_requested_again_with_the_same_key(
    run: Run, server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applications, "sleep", lambda _: None)
    server.replies[IMPORT] = [
        (502, {"detail": "The answer broke off"}),
        (503, {"detail": "away"}),
        (200, {"rows": 1, "registered": 1, "refused": []}),
    ]
    file = str(_file(tmp_path, {}))
    code, out, _ = run("applications", "import", file, "--round", "1404", "--province", "IR-20", "--url", server.url)
    assert code == 0 and "1 registered" in out
    assert len({each[2]["Idempotency-Key"] for each in server.to(IMPORT)}) == 1 and len(server.to(IMPORT)) == 3
    form = parse_qs(server.requests[0][3].decode())
    assert (form["role"], form["province"]) == (["manager"], ["IR-20"])


def test_retries_end_with_a_hint(run: Run, server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applications, "sleep", lambda _: None)
    server.replies[IMPORT] = [(502, {"detail": "The answer broke off"})]
    file = str(_file(tmp_path, {}))
    code, _, err = run("applications", "import", file, "--round", "1404", "--url", server.url)
    assert code == 1 and "it is not done twice" in err and len(server.to(IMPORT)) == applications.ATTEMPTS


def test_refused_rows_exit_with_1(run: Run, server: StubServer, tmp_path: Path) -> None:
    refused = [{"row": 2, "field": "field", "code": "field_not_open", "detail": "not open"}]
    reply = {"rows": 4, "registered": 0, "refused": refused, "already_registered": 3}
    server.replies[IMPORT] = [(200, reply)]
    file = str(_file(tmp_path, {}))
    code, out, _ = run("applications", "import", file, "--round", "1404", "--url", server.url)
    assert code == 1 and "row 2, field: not open" in out and "1 refused, 3 already registered" in out


def test_a_round_is_opened_with_its_window_and_all_job_fields(server: StubServer, run: Run) -> None:
    opened = {"id": "1404", "opens": "2025-09-27T04:30:00Z", "closes": "2025-12-27T04:30:00Z", "windows": []}
    server.replies["/registration/v1/rounds/1404"] = [(200, {**opened, "fields": ["JF001"]})]
    window = ("--opens", "2025-09-27T08:00+03:30", "--closes", "2025-12-27T08:00+03:30")
    code, out, _ = run("round", "open", "1404", *window, "--url", server.url)
    assert code == 0 and "round 1404: 2025-09-27T04:30:00Z to" in out and "peyvand quota import" in out
    run("round", "open", "1404", *window, "--fields", "JF001, JF002", "--url", server.url)
    first, second = server.to("/registration/v1/rounds/1404")
    assert first[0] == "PUT" and first[2]["Idempotency-Key"] != second[2]["Idempotency-Key"]
    assert json.loads(first[3]) == {"fields": sorted(job_fields()), "opens": window[1], "closes": window[3]}
    assert json.loads(second[3])["fields"] == ["JF001", "JF002"]


def test_a_refused_round_names_its_fields(server: StubServer, run: Run) -> None:
    errors = [{"field": "opens", "code": "value_invalid", "detail": "Give a time with its zone."}]
    problem = {"detail": "The request is not valid.", "errors": errors}
    server.replies["/registration/v1/rounds/1404"] = [(422, problem)]
    code, _, err = run("round", "open", "1404", "--opens", "now", "--closes", "later", "--url", server.url)
    assert code == 1 and "opens: Give a time with its zone." in err and "these values" in err


def test_rounds_are_listed(server: StubServer, run: Run) -> None:
    window = {"opens": "2025-09-27T04:30:00Z", "closes": "2025-12-27T04:30:00Z"}
    found = {
        "id": "1404",
        **window,
        "fields": ["JF001"],
        "windows": [{"province": "IR-20", **window}],
        "policy": "1404-1",
    }
    server.replies["/registration/v1/rounds"] = [(200, {"items": [found], "next": None})]
    code, out, _ = run("round", "list", "--url", server.url)
    assert code == 0 and "1 job fields, 1 provinces with a window of their own" in out
