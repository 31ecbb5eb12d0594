"""Registration's API: one application per person and round, in scope, in one shape, read only with a trace."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.envelope import Envelope, decode, encode
from contracts.events import CaseDecided
from kernel.batch import process
from kernel.errors import Transient
from kernel.record import Message
from registration.api import applications
from registration.store.audit import broken
from tests.support.registration_api import (
    PERSON,
    RegistrationOffice,
    a_file,
    a_national_id,
    registration_office,
)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[RegistrationOffice]:
    async with registration_office(tmp_path) as open_office:
        yield open_office


async def test_a_registration_is_answered_with_a_code_and_where_to_find_it(office: RegistrationOffice) -> None:
    await office.open()
    made = await office.register(key="key-0001")
    assert made.status_code == 201, made.text
    body = made.json()
    assert made.headers["Location"] == f"/registration/v1/applications/{body['id']}"
    assert body["status"] == "registered" and body["province"] == "IR-20"
    raw = b"".join(office.store.emitted[body["id"]])
    event = decode(office.store.emitted[body["id"]][0])
    assert event.actor == "registrar:of-2f9c" and event.context.county == "2003" and event.context.policy == "1404-1"
    for secret in ("9990000018", "مریم", "آزمون", "9120000018", "1989-07-05"):
        assert secret.encode() not in raw and secret not in str(office.store.kept[body["id"]])


async def test_the_same_request_is_answered_the_same_and_another_under_its_key_is_refused(
    office: RegistrationOffice,
) -> None:
    await office.open()
    first, again = await office.register(key="key-0001"), await office.register(key="key-0001")
    assert first.json() == again.json() and again.status_code == 201
    office.later(days=400)
    assert (await office.register(key="key-0001")).json() == first.json(), "the window has closed; the answer stays"
    other = await office.register(key="key-0001", first_name="زهرا")
    assert other.status_code == 422 and other.json()["code"] == "idempotency_key_reused"


async def test_fifty_at_once_make_one(office: RegistrationOffice) -> None:
    await office.open()
    answers = await asyncio.gather(*(office.register(key=f"key-{n:04d}") for n in range(50)))
    assert sorted(a.status_code for a in answers) == [201] + [409] * 49
    assert len(office.store.find(lambda i: "status" in i)) == 1


async def test_fifty_at_once_under_one_key_make_one_and_get_one_answer(office: RegistrationOffice) -> None:
    await office.open()
    answers = await asyncio.gather(*(office.register(key="key-0001") for _ in range(50)))
    assert {(a.status_code, a.text) for a in answers} == {(201, answers[0].text)}


async def test_the_refusal_says_that_and_nothing_else(office: RegistrationOffice) -> None:
    await office.open()
    made = (await office.register()).json()
    refused = await office.register(role="service", province="IR-07", county="0701")
    assert refused.status_code == 409 and refused.json()["code"] == "already_registered"
    for told in (made["id"], made["tracking_code"], "IR-20", "سمنان", "registered_at"):
        assert told not in refused.text
    assert set(refused.json()) == {
        "type", "title", "title_fa", "status", "code", "detail", "detail_fa", "instance", "errors",
    }  # fmt: skip


async def test_who_tries_one_national_id_after_the_other_must_wait(office: RegistrationOffice) -> None:
    await office.open()
    await office.register()
    answers = [await office.register() for _ in range(33)]
    assert {a.status_code for a in answers} == {409, 429} and answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) > 0


async def test_after_a_withdrawal_the_same_person_is_the_same_applicant(office: RegistrationOffice) -> None:
    await office.open()
    first = (await office.register()).json()
    left = await office.ask("POST", f"/v1/applications/{first['id']}/withdrawal", json={"reason": "moved"})
    assert left.status_code == 200 and left.json()["status"] == "withdrawn"
    office.later(days=1)
    again = (await office.register(key="key-0002", first_name="مریم‌سادات", field="JF002")).json()
    assert again["id"] == first["id"] and again["application"] == 2 and again["registered_at"] > first["registered_at"]
    shown = (await office.ask("GET", f"/v1/applications/{first['id']}")).json()
    assert shown["identity"]["first_name"] == "مریم‌سادات" and shown["field"] == "JF002"
    assert (await office.ask("GET", f"/v1/tracking/{again['tracking_code']}", "")).status_code == 200
    assert (await office.ask("GET", f"/v1/tracking/{first['tracking_code']}", "")).status_code == 404


async def test_every_fault_is_named_with_its_field_in_both_languages(office: RegistrationOffice) -> None:
    await office.open()
    refused = await office.register(national_id="9990000019", county="0701", birth_date="1390/01/01")
    assert refused.status_code == 422
    errors = {each["field"]: each for each in refused.json()["errors"]}
    assert errors["national_id"]["code"] == "national_id_check_digit" and "آخر" in errors["national_id"]["detail_fa"]
    assert errors["county"]["code"] == "county_not_in_province" and errors["birth_date"]["code"] == "underage"
    no_consent = await office.register(consent={"version": "1404-1", "given": False})
    assert no_consent.status_code == 422
    assert {name: no_consent.json()["errors"][0][name] for name in ("field", "code")} == {
        "field": "consent",
        "code": "consent_missing",
    }


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"province": "IR-27", "county": "2701"}, 403, "scope_other"),
        ({"field": "JF004"}, 422, "field_not_open"),
        ({"channel": "web"}, 422, "code_unknown"),
    ],
)
async def test_what_does_not_come_in(
    office: RegistrationOffice, changes: dict[str, str], status: int, code: str
) -> None:
    await office.open()
    refused = await office.register(**changes)
    assert (refused.status_code, refused.json()["code"]) == (status, code)


async def test_a_province_outside_its_window_and_a_round_nobody_opened(office: RegistrationOffice) -> None:
    assert (await office.register()).json()["code"] == "round_unknown"
    await office.open()
    closed = await office.register(role="service", province="IR-27", county="2701")
    assert (closed.status_code, closed.json()["code"]) == (409, "intake_closed")


async def test_a_county_operator_registers_in_their_county(office: RegistrationOffice) -> None:
    await office.open()
    path = "/v1/rounds/1404/applications"
    other = await office.ask("POST", path, "county_operator", scope="IR-20/2001", json=PERSON)
    assert other.status_code == 403 and other.json()["errors"][0]["field"] == "county"
    assert (await office.ask("POST", path, "county_operator", scope="IR-20/2003", json=PERSON)).status_code == 201


async def test_what_is_foreign_answers_exactly_as_what_is_missing(office: RegistrationOffice) -> None:
    await office.open()
    made = (await office.register()).json()
    missing = "0199a000-0000-7000-8000-000000000001"
    for method, path in (("GET", "/v1/applications/{}"), ("POST", "/v1/applications/{}/withdrawal")):
        body = {"reason": "moved"} if method == "POST" else None
        foreign = await office.ask(method, path.format(made["id"]), scope="IR-07", json=body)
        nobody = await office.ask(method, path.format(missing), scope="IR-07", json=body)
        assert foreign.status_code == nobody.status_code == 404
        assert foreign.json() | {"instance": ""} == nobody.json() | {"instance": ""}
    assert not office.audit.rows, "what is not shown was not read"
    listed = await office.ask("GET", "/v1/rounds/1404/applications?province=IR-20", scope="IR-07")
    assert listed.json()["items"] == []
    for subject in ("round:1404", "ledger:1404%2FIR-20"):
        assert (await office.ask("GET", f"/v1/applications/{subject}")).status_code in (404, 422)


async def test_the_list_has_pages_a_scope_and_no_names(office: RegistrationOffice) -> None:
    await office.open()
    for n in range(5):
        await office.register(national_id=a_national_id(n + 10))
    await office.register(role="service", national_id=a_national_id(99), province="IR-07", county="0701")
    first = (await office.ask("GET", "/v1/rounds/1404/applications?limit=3")).json()
    second = await office.ask("GET", f"/v1/rounds/1404/applications?limit=3&after={first['next']}")
    assert len(first["items"]) == 3 and len(second.json()["items"]) == 2 and second.json()["next"] is None
    assert "آزمون" not in second.text and "999000" not in second.text
    nation = (await office.ask("GET", "/v1/rounds/1404/applications", "ministry_admin")).json()
    assert len(nation["items"]) == 6
    withdrawn = await office.ask("GET", "/v1/rounds/1404/applications?status=withdrawn")
    assert withdrawn.json()["items"] == []


async def test_reading_an_identity_is_written_down_before_it_is_shown(
    office: RegistrationOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.open()
    made = (await office.register()).json()
    for _ in range(3):
        shown = (await office.ask("GET", f"/v1/applications/{made['id']}", "screener")).json()
    assert shown["identity"]["national_id"] == "9990000018" and shown["identity"]["birth_date_jalali"] == "1368-04-14"
    rows = office.audit.rows
    assert [r.subject for r in rows] == [made["id"]] * 3 and rows[0].actor == "screener:of-2f9c"
    assert broken(rows) == 0 and broken(rows[:1] + rows[2:]) == 3, "a row that is taken out is missed"

    async def away(*_: object) -> None:
        raise Transient("the audit cannot be written")

    monkeypatch.setattr(office.audit, "read_identity", away)
    away_now = await office.ask("GET", f"/v1/applications/{made['id']}")
    assert away_now.status_code == 503 and "9990000018" not in away_now.text


async def test_a_tracking_code_shows_days_and_never_who(office: RegistrationOffice) -> None:
    await office.open(quota=1)
    made = (await office.register()).json()
    event = CaseDecided(outcome="approved", reasons=("meets_conditions",))
    heard = Envelope(source="screening", subject=made["id"], sequence=1, time=office.now, event=event)
    await process(office.store, [Message(heard, encode(heard))], {}, office.clock)
    await office.work()
    code = made["tracking_code"].lower().replace("-", " ")
    shown = await office.ask("GET", f"/v1/tracking/{code}", "")
    assert shown.json()["status"] == "admitted" and shown.json()["progress"]["admitted_at"]
    for secret in ("9990000018", "مریم", "2003", made["id"], "09120000018"):
        assert secret not in shown.text
    etag = {"If-None-Match": shown.headers["ETag"]}
    assert (await office.ask("GET", f"/v1/tracking/{code}", "", headers=etag)).status_code == 304
    assert (await office.ask("GET", "/v1/tracking/0000000000", "")).status_code == 404
    assert (await office.ask("POST", f"/v1/tracking/{code}", "")).status_code == 405


async def test_identities_are_checked_and_the_registry_may_be_away(office: RegistrationOffice) -> None:
    await office.open()
    said = {}
    for serial in (1, 3, 100):
        made = (await office.register(national_id=a_national_id(serial))).json()
        said[serial] = made["id"]
    await office.work()
    results = {n: office.store.kept[s].state.now.identity for n, s in said.items()}
    assert results == {1: "mismatch", 3: "match", 100: "unavailable"}
    before = len(office.store.emitted[said[100]])
    office.later(minutes=61)
    await office.work()
    assert len(office.store.emitted[said[100]]) == before + 1 and len(office.store.emitted[said[3]]) == 2


async def test_a_slow_registry_holds_nobody_up(office: RegistrationOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.open()
    made = (await office.register()).json()
    answer = asyncio.Event()

    async def check(persons: object) -> list[str]:
        await answer.wait()
        return ["match"]

    monkeypatch.setattr(office.checks.registry, "check", check)
    assert await office.checks(frozenset(range(32))) == 0
    assert await office.checks(frozenset(range(32))) == 0
    answer.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await office.checks(frozenset(range(32))) == 1
    assert office.store.kept[made["id"]].state.now.identity == "match"


async def test_a_file_is_refused_whole_with_every_row_named(office: RegistrationOffice) -> None:
    await office.open()
    lines = a_file(range(1, 8)).splitlines()
    lines[3] = lines[3].replace("female", "woman").replace("2003", "0701")
    lines[5] = lines[2]
    path = "/v1/rounds/1404/applications/import"
    refused = await office.ask("POST", path, csv="\n".join(lines), key="key-file")
    assert refused.status_code == 422 and refused.json()["code"] == "rows_invalid"
    told = {(e["row"], e["field"], e["code"]) for e in refused.json()["errors"]}
    assert told == {
        (4, "sex", "code_unknown"),
        (4, "county", "county_not_in_province"),
        (6, "national_id", "named_twice"),
    }
    assert not office.store.find(lambda i: "status" in i)
    assert "2 rows" in refused.json()["detail"]


async def test_a_file_goes_on_where_it_stopped_and_never_twice(
    office: RegistrationOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.open()
    await office.register(national_id=a_national_id(7))
    monkeypatch.setattr(applications, "CHUNK", 50)
    path, file = "/v1/rounds/1404/applications/import", a_file(range(1, 121))
    honest, chunks = office.office.register_many, 0

    async def dies(*told: object) -> object:
        nonlocal chunks
        chunks += 1
        if chunks == 3:
            raise Transient("the process dies here")
        return await honest(*told)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(office.office, "register_many", dies)
        assert (await office.ask("POST", path, csv=file, key="key-file")).status_code == 503
    done = (await office.ask("POST", path, csv=file, key="key-file")).json()
    assert (done["rows"], done["registered"], done["repeated"]) == (120, 20, 99)
    assert [(r["row"], r["code"]) for r in done["refused"]] == [(8, "already_registered")]
    assert len({a["id"] for a in done["applications"]}) == 119
    again = (await office.ask("POST", path, csv=file, key="key-file")).json()
    assert (again["registered"], again["repeated"]) == (0, 119)
    assert all(len(raws) == 1 for s, raws in office.store.emitted.items() if not s.startswith("round"))
    other = await office.ask("POST", path, csv=a_file(range(1, 5)), key="key-file")
    assert other.status_code == 422 and other.json()["code"] == "idempotency_key_reused"
    later = (await office.ask("POST", path, csv=file, key="key-late")).json()
    assert (later["registered"], later["repeated"], len(later["refused"])) == (0, 0, 120)


async def test_a_file_brings_back_who_had_left(office: RegistrationOffice) -> None:
    await office.open()
    made = (await office.register(national_id=a_national_id(3))).json()
    await office.ask("POST", f"/v1/applications/{made['id']}/withdrawal", json={"reason": "other"})
    path = "/v1/rounds/1404/applications/import"
    done = (await office.ask("POST", path, csv=a_file(range(3, 4)), key="key-file")).json()
    assert done["applications"][0]["id"] == made["id"]
    assert office.store.kept[made["id"]].state.now.intake_channel == "import"


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("name,age\nx,1\n", "columns_unknown"),
        ("", "columns_unknown"),
        (a_file(range(1, 2)).replace("IR-20", "IR-07").replace("2003", "0701"), "rows_invalid"),
        (a_file(range(1, 2)) + "1," * 20, "rows_invalid"),
    ],
)
async def test_files_that_are_no_list_of_one_s_own_province(office: RegistrationOffice, file: str, code: str) -> None:
    await office.open()
    refused = await office.ask("POST", "/v1/rounds/1404/applications/import", csv=file, key="key-file")
    assert refused.json()["code"] == code
    assert not office.store.find(lambda i: "status" in i)


async def test_a_file_needs_a_key_and_its_media_type(office: RegistrationOffice) -> None:
    await office.open()
    path = "/v1/rounds/1404/applications/import"
    assert (await office.ask("POST", path, csv=a_file(range(1, 2)))).json()["code"] == "idempotency_key_missing"
    assert (await office.ask("POST", path, json={}, key="key-file")).status_code == 415
