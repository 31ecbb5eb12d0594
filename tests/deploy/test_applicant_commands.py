"""What an officer does about one applicant on the command line."""

import json

import pytest

from tests.support.stub_server import Run, StubServer


def test_an_erasure_is_shown_confirmed_and_sent_once(
    run: Run, server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    applicant = "0199d5a2-7c40-7e51-9a3b-4f2d1c0b8a67"
    path = f"/registration/v1/applications/{applicant}/erasure"
    found = {"id": applicant, "status": "admitted", "round": "1404", "province": "IR-20", "application": 1}
    planned = found | {"erased_at": None, "dry_run": True}
    done = found | {"status": "erased", "erased_at": "2025-10-01T08:00:00Z", "dry_run": False}
    erase = ("applications", "erase", applicant, "--reason", "request", "--province", "IR-20", "--url", server.url)
    signed = (*erase, "--form", "20-1404-9")

    def sent() -> list[bool]:
        return [json.loads(each[3])["dry_run"] for each in server.to(path)]

    server.replies[path] = [(200, planned)]
    code, out, _ = run(*erase, "--dry-run")
    assert code == 0 and "would be erased; now admitted" in out and sent() == [True]
    code, _, err = run(*erase)
    assert code == 1 and "signed form" in err and sent() == [True]
    answers, asked = ["0b8a66", "", "0b8a67"], list[str]()

    def prompt(text: str, **_: object) -> str:
        asked.append(text)
        return answers[len(asked) - 1]

    monkeypatch.setattr("typer.prompt", prompt)
    for expected in (1, 1, 0):
        server.replies[path] = [(200, planned), (200, done)]
        code, out, err = run(*signed)
        assert code == expected and "cannot be undone" in asked[-1] and "admitted" in asked[-1]
        assert "nothing was erased" in err if code else "erased at 2025-10-01" in out
    assert sent() == [True, True, True, True, False]
    assert json.loads(server.to(path)[-1][3])["form_number"] == "20-1404-9"
    server.replies[path] = [(200, planned), (200, done)]
    code, out, _ = run(*signed, "--yes", "--json")
    assert code == 0 and json.loads(out) == done and sent()[-2:] == [True, False]


def test_a_lost_tracking_code_is_reissued_by_national_id(run: Run, server: StubServer) -> None:
    path = "/registration/v1/rounds/1404/tracking-codes"
    server.replies[path] = [(200, {"id": "x", "tracking_code": "9H2K4-MZQ7B"})]
    options = ("--round", "1404", "--province", "IR-20", "--national-id", "9990000018", "--url", server.url)
    code, out, _ = run("tracking-code", *options)
    assert code == 0 and "of applicant x is 9H2K4-MZQ7B" in out
    [(_, address, headers, body)] = server.to(path)
    assert json.loads(body) == {"national_id": "9990000018"} and "999" not in address and headers["Idempotency-Key"]


def test_an_applicant_is_withdrawn_at_the_desk_for_a_known_reason(run: Run, server: StubServer) -> None:
    path = "/registration/v1/applications/x/withdrawal"
    server.replies[path] = [(200, {"id": "x"})]
    withdraw = ("applications", "withdraw", "x", "--province", "IR-20", "--url", server.url)
    code, out, _ = run(*withdraw, "--reason", "moved", "--form", "20-1404-173")
    assert code == 0 and "applicant x has withdrawn" in out
    [(_, _, headers, body)] = server.to(path)
    assert json.loads(body) == {"reason": "moved", "form_number": "20-1404-173"} and headers["Idempotency-Key"]
    for verb in ("withdraw", "erase"):
        form = ("--form", "20-1404-173") if verb == "withdraw" else ()
        code, _, err = run("applications", verb, *withdraw[2:], "--reason", "mood", *form)
        assert code == 1 and "there is no reason mood" in err and "one of" in err
    assert len(server.to(path)) == 1
