"""Tracking codes are secrets: computed, not stored; reissued at the desk; shown to the browser that sent the form."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace

from base.ids import ALPHABET, shown_code, typed_code
from contracts.envelope import decode
from contracts.events import ApplicantCodeReissued
from kernel.record import Record
from registration.api import tracking
from registration.domain.applicant import State
from registration.tracking_codes import TrackingCodes
from tests.support.registration_api import RegistrationApi, a_national_id, csv_file, registration_api

REISSUE = "/v1/rounds/1404/tracking-codes"
FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        await running.open_round()
        yield running


def issued(codes: TrackingCodes, subject: str, times: int = 1) -> Record:
    """Return an applicant who was issued a code, perhaps again."""
    record = Record(subject=subject, state=State())
    for n in range(1, times + 1):
        record = replace(codes.issue(record), state=State(codes=n))
    return record


async def reissue(api: RegistrationApi, key: str = "key-reissue", serial: int = 1, **options: str) -> httpx.Response:
    return await api.request("POST", REISSUE, key=key, json={"national_id": a_national_id(serial)}, **options)


async def followed(api: RegistrationApi, code: str) -> int:
    """Return the status of a look-up, by the API and by the page alike."""
    api.app.state.buckets.buckets.clear()
    found = [(await api.request("GET", f"/v1/tracking/{code}", "")).status_code]
    found.append((await api.client.get(f"/registration/tracking/{code}", headers={"Accept": "text/html"})).status_code)
    assert len(set(found)) == 1
    return found[0]


def test_codes_depend_on_applicant_number_and_key_and_use_the_alphabet() -> None:
    codes, others = TrackingCodes({1: FIRST}), TrackingCodes({1: SECOND})
    found = {
        each.code_of(issued(each, f"subject-{n}", times))
        for each in (codes, others)
        for n in range(100)
        for times in (1, 2)
    }
    assert len(found) == 400 and all(typed_code(each) == each for each in found)
    assert {character for code in found for character in code} == set(ALPHABET)
    assert codes.code_of(issued(codes, "subject-1")) == codes.code_of(issued(codes, "subject-1"))


def test_a_code_is_found_by_its_hash_under_the_key_of_its_time() -> None:
    before, after = TrackingCodes({1: FIRST}), TrackingCodes({2: SECOND, 1: FIRST})
    old = issued(before, "subject")
    assert after.code_of(old) == before.code_of(old)
    renewed = replace(after.issue(old), state=State(codes=2))
    assert renewed.private.content["codes"] == [1, 2] and renewed.private.indexed["tracking"].startswith("v2:")
    as_it_was = replace(renewed, state=State(codes=1))
    assert after.code_of(as_it_was) == before.code_of(old), "a replay computes the code that was answered"


def test_after_a_restore_from_an_older_backup_the_numbers_go_on() -> None:
    """The events count two codes, the private part was in no event and has one."""
    codes = TrackingCodes({1: FIRST})
    restored = replace(issued(codes, "subject"), state=State(codes=2))
    assert codes.code_of(restored) == codes.code_of(issued(codes, "subject", 2))
    renewed = replace(codes.issue(restored), state=State(codes=3))
    assert codes.code_of(renewed) == codes.code_of(issued(codes, "subject", 3))
    assert renewed.private.content["codes"] == [1, 1, 1]


async def test_after_a_rotation_codes_stay_valid_while_the_former_key_is_configured(api: RegistrationApi) -> None:
    code = (await api.register()).json()["tracking_code"]
    present = api.registrations.codes.keys[1].decode()
    api.registrations.codes = TrackingCodes({2: SECOND, 1: present})
    assert await followed(api, code) == 200
    later = (await api.register(national_id=a_national_id(2))).json()["tracking_code"]
    assert await followed(api, later) == 200
    api.registrations.codes = TrackingCodes({2: SECOND})
    assert (await followed(api, code), await followed(api, later)) == (404, 200)


async def test_no_store_event_audit_or_officer_sees_a_code(api: RegistrationApi) -> None:
    made = [(await api.register(national_id=a_national_id(1))).json()]
    imported = await api.request(
        "POST", "/v1/rounds/1404/applications/import", csv=csv_file(range(2, 5)), key="key-file"
    )
    made += imported.json()["applications"]
    made.append({"id": made[0]["id"], "tracking_code": (await reissue(api)).json()["tracking_code"]})
    paths = ["/v1/rounds/1404/applications", *(f"/v1/applications/{each['id']}" for each in made)]
    shown = "".join([(await api.request("GET", path)).text for path in paths])
    kept = f"{api.store.records} {api.store.by_unique} {api.store.events} {api.audit.rows} {shown}"
    assert made[0]["id"] in kept
    for each in made:
        assert each["tracking_code"] not in kept and typed_code(each["tracking_code"]) not in kept


async def test_a_lost_code_is_reissued_at_the_desk_and_the_former_one_ends(api: RegistrationApi) -> None:
    made = (await api.register(national_id=a_national_id(1))).json()
    answered = await reissue(api)
    assert answered.status_code == 200 and answered.json().keys() == {"id", "tracking_code"}
    new = answered.json()["tracking_code"]
    assert answered.headers["Cache-Control"] == "no-store"
    assert (await followed(api, made["tracking_code"]), await followed(api, new)) == (404, 200)
    event = decode(api.store.events[made["id"]][-1])
    assert isinstance(event.event, ApplicantCodeReissued) and event.actor == "registrar:of-2f9c"
    assert (await reissue(api)).content == answered.content, "the same request issues no other code"
    latest = (await reissue(api, "key-another")).json()["tracking_code"]
    assert len({made["tracking_code"], new, latest}) == 3
    assert [await followed(api, code) for code in (new, latest)] == [404, 200]


async def test_concurrent_reissues_leave_one_valid_code(api: RegistrationApi) -> None:
    await api.register(national_id=a_national_id(1))
    answers = await asyncio.gather(*(reissue(api, f"key-reissue-{n}") for n in range(10)))
    issued = [each.json()["tracking_code"] for each in answers if each.status_code == 200]
    refused = [each for each in answers if each.status_code == 429]
    assert len(set(issued)) == 2 and len(refused) == 8, "three codes a day, with that of the registration"
    assert {each.json()["code"] for each in refused} == {"codes_of_the_day"}
    assert all(int(each.headers["Retry-After"]) > 80_000 for each in refused)
    assert sorted([await followed(api, code) for code in issued]) == [200, 404]


async def test_reissuing_reveals_nothing_about_people_of_other_provinces(api: RegistrationApi) -> None:
    await api.register(national_id=a_national_id(1))
    foreign, missing = await reissue(api, scope="IR-07"), await reissue(api, serial=2, scope="IR-07")
    assert foreign.status_code == missing.status_code == 404
    assert foreign.json() | {"instance": ""} == missing.json() | {"instance": ""}
    county = await reissue(api, role="county_operator", scope="IR-20/2001")
    assert county.status_code == 404, "the applicant is of another county"
    for role, status in (("screener", 403), ("ministry_admin", 403), ("", 401)):
        assert (await reissue(api, role=role)).status_code == status
    assert (await reissue(api, key="")).json()["code"] == "idempotency_key_missing"
    statuses = [(await reissue(api, f"key-try-{n}", serial=n + 10)).status_code for n in range(40)]
    assert statuses[0] == 404 and statuses[-1] == 429, "trying national IDs is slowed down"


async def test_guessing_codes_is_refused_from_however_many_addresses(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "MISSES_PER_MINUTE", 5.0)
    code = (await api.register()).json()["tracking_code"]

    async def look_up(address: str, code: str) -> int:
        transport = httpx.ASGITransport(api.app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url=api.settings.public_url) as client:
            return (await client.get(f"/registration/v1/tracking/{code}")).status_code

    unknown = shown_code("0" * 10)
    assert [await look_up(f"10.0.0.{n}", unknown) for n in range(6)] == [404] * 6
    assert [await look_up(f"10.0.0.{n}", code) for n in range(6)] == [429] * 6, "a right guess is not confirmed"
    assert await look_up("10.0.1.1", code) == 200, "a first attempt is always answered"
    assert [await look_up("10.0.1.2", unknown) for _ in range(3)] == [404, 429, 429]
    page = await api.client.get(f"/registration/tracking/{code}", headers={"Accept": "text/html"})
    assert page.status_code == 200
