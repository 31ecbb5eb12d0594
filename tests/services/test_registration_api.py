"""Registration's API: one application per person and round, scopes, idempotency, audited reading, CSV import."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.envelope import Envelope, decode, encode
from contracts.events import CaseDecided
from kernel.batch import process
from kernel.errors import Transient
from kernel.record import Message
from registration.api import imports
from registration.api.enumeration_guard import AT_ONCE
from security.audit import first_broken
from tests.support.registration_api import (
    PERSON,
    RegistrationApi,
    a_national_id,
    csv_file,
    registration_api,
)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        yield running


async def test_a_registration_returns_tracking_code_and_location(api: RegistrationApi) -> None:
    await api.open_round()
    made = await api.register(key="key-0001")
    assert made.status_code == 201, made.text
    body = made.json()
    assert made.headers["Location"] == f"/registration/v1/applications/{body['id']}"
    assert body["status"] == "registered" and body["province"] == "IR-20"
    raw = b"".join(api.store.events[body["id"]])
    event = decode(api.store.events[body["id"]][0])
    assert event.actor == "registrar:of-2f9c" and event.context.county == "2003" and event.context.policy == "1404-1"
    for secret in ("9990000018", "مریم", "آزمون", "9120000018", "1989-07-05"):
        assert secret.encode() not in raw and secret not in str(api.store.records[body["id"]])


async def test_a_repeated_request_gets_the_same_response_and_another_under_its_key_is_refused(
    api: RegistrationApi,
) -> None:
    await api.open_round()
    first, again = await api.register(key="key-0001"), await api.register(key="key-0001")
    assert first.json() == again.json() and again.status_code == 201
    api.advance(days=400)
    assert (await api.register(key="key-0001")).json() == first.json(), "also after the window has closed"
    other = await api.register(key="key-0001", first_name="زهرا")
    assert other.status_code == 422 and other.json()["code"] == "idempotency_key_reused"


async def test_fifty_concurrent_requests_register_once(api: RegistrationApi) -> None:
    await api.open_round()
    responses = await asyncio.gather(*(api.register(key=f"key-{n:04d}") for n in range(50)))
    assert sorted(a.status_code for a in responses) == [201] + [409] * 49
    assert len(await api.applicants()) == 1


async def test_fifty_concurrent_requests_under_one_key_register_once_and_get_one_response(api: RegistrationApi) -> None:
    await api.open_round()
    responses = await asyncio.gather(*(api.register(key="key-0001") for _ in range(50)))
    assert {(a.status_code, a.text) for a in responses} == {(201, responses[0].text)}


async def test_already_registered_discloses_nothing_else(api: RegistrationApi) -> None:
    await api.open_round()
    made = (await api.register()).json()
    refused = await api.register(role="service", province="IR-07", county="0701")
    assert refused.status_code == 409 and refused.json()["code"] == "already_registered"
    for detail in (made["id"], made["tracking_code"], "IR-20", "سمنان", "registered_at"):
        assert detail not in refused.text
    assert set(refused.json()) == {
        "type", "title", "title_fa", "status", "code", "detail", "detail_fa", "instance", "errors",
    }  # fmt: skip


async def test_enumeration_of_national_ids_is_slowed_down(api: RegistrationApi) -> None:
    await api.open_round()
    await api.register()
    responses = [await api.register() for _ in range(33)]
    assert {a.status_code for a in responses} == {409, 429} and responses[-1].status_code == 429
    assert int(responses[-1].headers["Retry-After"]) > 0


async def test_enumeration_is_slowed_down_for_requests_that_come_together(api: RegistrationApi) -> None:
    """As many are answered as may be under way, and then none before the officer has waited."""
    await api.open_round()
    await api.register()
    statuses = Counter(a.status_code for a in await asyncio.gather(*(api.register() for _ in range(300))))
    assert statuses[409] <= 30 + AT_ONCE[False] and statuses[409] + statuses[429] == 300


async def test_after_a_withdrawal_the_same_person_is_the_same_applicant(api: RegistrationApi) -> None:
    await api.open_round()
    first = (await api.register()).json()
    left = await api.request(
        "POST", f"/v1/applications/{first['id']}/withdrawal", json={"reason": "moved", "form_number": "20-1404-9"}
    )
    assert left.status_code == 200 and left.json()["status"] == "withdrawn"
    api.advance(days=1)
    again = (await api.register(key="key-0002", first_name="مریم‌سادات", field="JF002")).json()
    assert again["id"] == first["id"] and again["application"] == 2 and again["registered_at"] > first["registered_at"]
    shown = (await api.request("GET", f"/v1/applications/{first['id']}")).json()
    assert shown["identity"]["first_name"] == "مریم‌سادات" and shown["field"] == "JF002"
    assert (await api.request("GET", f"/v1/tracking/{again['tracking_code']}", "")).status_code == 200
    assert (await api.request("GET", f"/v1/tracking/{first['tracking_code']}", "")).status_code == 404


async def test_every_error_names_its_field_in_both_languages(api: RegistrationApi) -> None:
    await api.open_round()
    refused = await api.register(national_id="9990000019", county="0701", birth_date="1390/01/01")
    assert refused.status_code == 422
    errors = {each["field"]: each for each in refused.json()["errors"]}
    assert errors["national_id"]["code"] == "national_id_check_digit" and "آخر" in errors["national_id"]["detail_fa"]
    assert errors["county"]["code"] == "county_not_in_province" and errors["birth_date"]["code"] == "underage"
    no_consent = await api.register(consent={"version": "1404-1", "given": False})
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
async def test_refused_applications(api: RegistrationApi, changes: dict[str, str], status: int, code: str) -> None:
    await api.open_round()
    refused = await api.register(**changes)
    assert (refused.status_code, refused.json()["code"]) == (status, code)


async def test_a_province_outside_its_window_and_an_unknown_round(api: RegistrationApi) -> None:
    assert (await api.register()).json()["code"] == "round_unknown"
    await api.open_round()
    closed = await api.register(role="service", province="IR-27", county="2701")
    assert (closed.status_code, closed.json()["code"]) == (409, "intake_closed")


async def test_a_county_operator_registers_in_their_county(api: RegistrationApi) -> None:
    await api.open_round()
    path = "/v1/rounds/1404/applications"
    other = await api.request("POST", path, "county_operator", scope="IR-20/2001", json=PERSON)
    assert other.status_code == 403 and other.json()["errors"][0]["field"] == "county"
    assert (await api.request("POST", path, "county_operator", scope="IR-20/2003", json=PERSON)).status_code == 201


async def test_an_applicant_outside_the_scope_is_answered_like_a_missing_one(api: RegistrationApi) -> None:
    await api.open_round()
    made = (await api.register()).json()
    missing = "0199a000-0000-7000-8000-000000000001"
    for method, path in (("GET", "/v1/applications/{}"), ("POST", "/v1/applications/{}/withdrawal")):
        body = {"reason": "moved", "form_number": "07-1404-9"} if method == "POST" else None
        foreign = await api.request(method, path.format(made["id"]), scope="IR-07", json=body)
        absent = await api.request(method, path.format(missing), scope="IR-07", json=body)
        assert foreign.status_code == absent.status_code == 404
        assert foreign.json() | {"instance": ""} == absent.json() | {"instance": ""}
    assert not api.audit.rows, "nothing was read"
    listed = await api.request("GET", "/v1/rounds/1404/applications?province=IR-20", scope="IR-07")
    assert listed.json()["items"] == []
    unknown = await api.request("GET", "/v1/rounds/1404/applications?province=IR-99", scope="IR-07")
    assert unknown.json()["code"] == "province_unknown"
    for subject in ("round:1404", "ledger:1404%2FIR-20"):
        assert (await api.request("GET", f"/v1/applications/{subject}")).status_code in (404, 422)


async def test_the_list_has_pages_and_a_scope_and_no_identities(api: RegistrationApi) -> None:
    await api.open_round()
    for n in range(5):
        await api.register(national_id=a_national_id(n + 10))
    await api.register(role="service", national_id=a_national_id(99), province="IR-07", county="0701")
    first = (await api.request("GET", "/v1/rounds/1404/applications?limit=3")).json()
    second = await api.request("GET", f"/v1/rounds/1404/applications?limit=3&after={first['next']}")
    assert len(first["items"]) == 3 and len(second.json()["items"]) == 2 and second.json()["next"] is None
    assert "آزمون" not in second.text and "999000" not in second.text
    nationwide = (await api.request("GET", "/v1/rounds/1404/applications", "ministry_admin")).json()
    assert len(nationwide["items"]) == 6
    withdrawn = await api.request("GET", "/v1/rounds/1404/applications?status=withdrawn")
    assert withdrawn.json()["items"] == []


async def test_reading_an_identity_is_recorded_before_it_is_shown(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.open_round()
    made = (await api.register()).json()
    for _ in range(3):
        shown = (await api.request("GET", f"/v1/applications/{made['id']}", "manager")).json()
    assert shown["identity"]["national_id"] == "9990000018" and shown["identity"]["birth_date_jalali"] == "1368-04-14"
    rows = api.audit.rows
    assert [r.subject for r in rows] == [made["id"]] * 3 and rows[0].actor == "manager:of-2f9c"
    assert first_broken(rows) is None and first_broken(rows[:1] + rows[2:]) == ("memory", 3), (
        "a removed row is detected"
    )

    async def unavailable(*_: object) -> None:
        raise Transient("the audit cannot be written")

    monkeypatch.setattr(api.audit, "append", unavailable)
    failed = await api.request("GET", f"/v1/applications/{made['id']}")
    assert failed.status_code == 503 and "9990000018" not in failed.text


async def test_a_tracking_code_shows_dates_and_no_identity(api: RegistrationApi) -> None:
    await api.open_round(quota=1)
    made = (await api.register()).json()
    event = CaseDecided(outcome="approved", reasons=("meets_conditions",))
    envelope = Envelope(source="screening", subject=made["id"], sequence=1, time=api.now, event=event)
    await process(api.store, [Message(envelope, encode(envelope))], {}, api.clock)
    await api.run_jobs()
    code = made["tracking_code"].lower().replace("-", " ")
    shown = await api.request("GET", f"/v1/tracking/{code}", "")
    assert shown.json()["status"] == "admitted" and shown.json()["progress"]["admitted_at"]
    for secret in ("9990000018", "مریم", "2003", made["id"], "09120000018"):
        assert secret not in shown.text
    etag = {"If-None-Match": shown.headers["ETag"]}
    assert (await api.request("GET", f"/v1/tracking/{code}", "", headers=etag)).status_code == 304
    assert (await api.request("GET", "/v1/tracking/0000000000", "")).status_code == 404
    assert (await api.request("POST", f"/v1/tracking/{code}", "")).status_code == 405


async def test_identities_are_checked_again_after_the_registry_was_unavailable(api: RegistrationApi) -> None:
    await api.open_round()
    subjects = {}
    for serial in (1, 3, 100):
        made = (await api.register(national_id=a_national_id(serial))).json()
        subjects[serial] = made["id"]
    await api.run_jobs()
    results = {n: api.store.records[s].state.current.identity for n, s in subjects.items()}
    assert results == {1: "mismatch", 3: "match", 100: "unavailable"}
    before = len(api.store.events[subjects[100]])
    api.advance(minutes=61)
    await api.run_jobs()
    assert len(api.store.events[subjects[100]]) == before + 1 and len(api.store.events[subjects[3]]) == 2


async def test_a_slow_registry_blocks_no_other_job(api: RegistrationApi, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.open_round()
    made = (await api.register()).json()
    answered = asyncio.Event()

    async def check(persons: object) -> list[str]:
        await answered.wait()
        return ["match"]

    monkeypatch.setattr(api.checks.registry, "check", check)
    assert await api.checks(frozenset(range(32))) == 0
    assert await api.checks(frozenset(range(32))) == 0
    answered.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await api.checks(frozenset(range(32))) == 1
    assert api.store.records[made["id"]].state.current.identity == "match"


async def test_one_invalid_row_refuses_the_file_and_every_error_is_named(api: RegistrationApi) -> None:
    await api.open_round()
    lines = csv_file(range(1, 8)).splitlines()
    lines[3] = lines[3].replace("female", "woman").replace("2003", "0701")
    lines[5] = lines[2]
    path = "/v1/rounds/1404/applications/import"
    refused = await api.request("POST", path, csv="\n".join(lines), key="key-file")
    assert refused.status_code == 422 and refused.json()["code"] == "rows_invalid"
    errors = {(e["row"], e["field"], e["code"]) for e in refused.json()["errors"]}
    assert errors == {
        (4, "sex", "code_unknown"),
        (4, "county", "county_not_in_province"),
        (6, "national_id", "named_twice"),
    }
    assert not await api.applicants()
    assert "2 rows" in refused.json()["detail"]


async def test_an_interrupted_import_continues_and_registers_no_one_twice(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.open_round()
    await api.register(national_id=a_national_id(7))
    monkeypatch.setattr(imports, "CHUNK", 50)
    path, file = "/v1/rounds/1404/applications/import", csv_file(range(1, 121))
    register_many, chunks = api.registrations.register_many, 0

    async def crash(*arguments: object) -> object:
        nonlocal chunks
        chunks += 1
        if chunks == 3:
            raise Transient("the process crashes here")
        return await register_many(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(api.registrations, "register_many", crash)
        assert (await api.request("POST", path, csv=file, key="key-file")).status_code == 503
    done = (await api.request("POST", path, csv=file, key="key-file")).json()
    assert (done["rows"], done["registered"]) == (120, 119)
    assert (done["already_registered"], done["refused"]) == (1, []), "not which one"
    assert len({a["id"] for a in done["applications"]}) == 119
    assert (await api.request("POST", path, csv=file, key="key-file")).json() == done
    assert all(len(raws) == 1 for s, raws in api.store.events.items() if not s.startswith("round"))
    other = await api.request("POST", path, csv=csv_file(range(1, 5)), key="key-file")
    assert other.status_code == 422 and other.json()["code"] == "idempotency_key_reused"
    later = await api.request("POST", path, csv=file, key="key-late", id="of-2")
    assert later.status_code == 429, "after the first 50 rows, all of them registered already"
    answers = []
    for _ in range(3):
        api.app.state.runtime.resources.api.enumeration_guard.blocked_until.clear()  # they have waited
        api.app.state.buckets.buckets.clear()
        answers.append(await api.request("POST", path, csv=file, key="key-late", id="of-2"))
    assert [each.status_code for each in answers] == [429, 200, 200], "it continues where it stopped"
    assert answers[-1].json()["already_registered"] == 120


async def test_an_import_returns_only_how_many_are_registered_already_and_counts_each_of_them(
    api: RegistrationApi,
) -> None:
    """Otherwise a file would be the way around the limit of those who try national IDs one after another."""
    await api.open_round()
    path = "/v1/rounds/1404/applications/import"
    await api.request("POST", path, csv=csv_file(range(1, 21)), key="key-file", id="of-2")
    known = await api.request("POST", path, csv=csv_file(range(1, 23)), key="key-again")
    assert known.status_code == 200 and 'already_registered"' in known.text
    assert (known.json()["already_registered"], known.json()["registered"], known.json()["refused"]) == (20, 2, [])
    same = await api.request("POST", path, csv=csv_file(range(1, 21)), key="key-third")
    assert same.json()["already_registered"] == 20, "they are counted once"
    await api.request("POST", path, csv=csv_file(range(100, 120)), key="key-others", id="of-2")
    assert (await api.request("POST", path, csv=csv_file(range(100, 120)), key="key-fourth")).status_code == 200
    for refused in (
        await api.request("POST", path, csv=csv_file(range(30, 31)), key="key-more"),
        await api.register(national_id=a_national_id(40)),
    ):
        assert refused.status_code == 429 and refused.json()["code"] == "too_many_requests"
        assert 10 <= int(refused.headers["Retry-After"]) <= 20, "ten are owed, at thirty a minute"
    other = await api.request("POST", path, "manager", csv=csv_file(range(50, 52)), key="key-file")
    assert other.status_code == 429, "the same person in another role"


async def test_an_import_reactivates_applicants_who_had_withdrawn(api: RegistrationApi) -> None:
    await api.open_round()
    made = (await api.register(national_id=a_national_id(3))).json()
    await api.request(
        "POST", f"/v1/applications/{made['id']}/withdrawal", json={"reason": "other", "form_number": "20-1404-9"}
    )
    path = "/v1/rounds/1404/applications/import"
    done = (await api.request("POST", path, csv=csv_file(range(3, 4)), key="key-file")).json()
    assert done["applications"][0]["id"] == made["id"]
    assert api.store.records[made["id"]].state.current.intake_channel == "import"


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("name,age\nx,1\n", "columns_unknown"),
        ("", "columns_unknown"),
        (csv_file(range(1, 2)).replace("IR-20", "IR-07").replace("2003", "0701"), "rows_invalid"),
        (csv_file(range(1, 2)) + "1," * 20, "rows_invalid"),
    ],
)
async def test_refused_files(api: RegistrationApi, file: str, code: str) -> None:
    await api.open_round()
    refused = await api.request("POST", "/v1/rounds/1404/applications/import", csv=file, key="key-file")
    assert refused.json()["code"] == code
    assert not await api.applicants()


async def test_a_file_needs_a_key_and_its_media_type(api: RegistrationApi) -> None:
    await api.open_round()
    path = "/v1/rounds/1404/applications/import"
    assert (await api.request("POST", path, csv=csv_file(range(1, 2)))).json()["code"] == "idempotency_key_missing"
    assert (await api.request("POST", path, json={}, key="key-file")).status_code == 415


async def test_a_file_as_a_spreadsheet_writes_it_is_imported(api: RegistrationApi) -> None:
    await api.open_round()
    header, *rows = csv_file(range(1, 4)).splitlines()
    marked = [row.replace(a_national_id(n), f"'{a_national_id(n)}") for n, row in enumerate(rows, 1)]
    assert marked != rows
    separators = "," * header.count(",")
    lines = [header, marked[0], "", separators, *marked[1:], separators, "", ""]
    path = "/v1/rounds/1404/applications/import"
    done = await api.request("POST", path, csv="\ufeff" + "\r\n".join(lines), key="key-file")
    assert done.status_code == 200, done.text
    assert [each["row"] for each in done.json()["applications"]] == [2, 5, 6], "as the spreadsheet numbers them"
    file = "\r\n".join([header, "", marked[0].replace("IR-20", "IR-31")])
    wrong = await api.request("POST", path, csv=file, key="key-wrong")
    assert wrong.json()["code"] == "rows_invalid", wrong.text
    assert {each["row"] for each in wrong.json()["errors"]} == {3}
