"""Corrections: on a signed form, on record, checked again, with nothing personal in any event."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.commands import Refused
from contracts.envelope import decode, encode
from contracts.events import ApplicantIdentityChecked, ApplicantUpdated
from kernel.commands import CommandMetadata
from registration import acts
from registration.jobs.identity_checks import BORN
from tests.support.registration_api import ERASURE, RegistrationApi, a_national_id, registration_api

REFUSED = 1  # serial number of a person whom the registry does not match
FORM = {"form_number": "۲۰-۱۴۰۴-۰۲۰۴"}
PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        await running.open_round(quota=1)
        yield running


async def applied(api: RegistrationApi) -> str:
    """Register a person whom the identity registry refuses; return the id."""
    made = (await api.register(national_id=a_national_id(REFUSED))).json()
    await api.run_jobs()
    subject: str = made["id"]
    assert (await api.store.read([subject]))[subject].state.current.identity == "mismatch"
    return subject


async def correct(api: RegistrationApi, subject: str, changes: dict[str, str], **options: Any) -> httpx.Response:
    return await api.request("POST", f"/v1/applications/{subject}/correction", json=FORM | changes, **options)


async def test_a_refused_identity_is_corrected_and_checked_again(api: RegistrationApi) -> None:
    subject = await applied(api)
    done = await correct(api, subject, {"birth_date": BORN.isoformat(), "first_name": "مريم‌السادات"})
    assert done.status_code == 200, done.text
    assert done.json()["checked_again"] and done.json()["corrections"] == 1
    await api.run_jobs()
    events = [decode(raw) for raw in api.store.events[subject]]
    assert isinstance(events[-2].event, ApplicantUpdated) and events[-2].event.identity_changed
    assert events[-2].actor == "registrar:of-2f9c" and events[-2].event.age_band == "55+"
    assert events[-1].event == ApplicantIdentityChecked(result="match")
    read = (await api.request("GET", f"/v1/applications/{subject}")).json()
    assert read["identity"]["birth_date"] == "1970-01-01" and read["identity"]["first_name"] == "مریم‌السادات"
    assert read["identity"]["national_id"] == a_national_id(REFUSED) and read["identity_check"] == "match"


async def test_former_and_new_values_are_in_no_event_and_not_in_clear(api: RegistrationApi) -> None:
    subject = await applied(api)
    before = (await api.store.read([subject]))[subject].private
    await correct(api, subject, {"last_name": "کریمیان", "mobile": "09350000077", "county": "2001"})
    record = (await api.store.read([subject]))[subject]
    kept = f"{record} {[encode(decode(raw)) for raw in api.store.events[subject]]} {api.audit.rows}"
    assert not [each for each in ("کریمیان", "9350000077", "آزمون", "9120000018") if each in kept]
    assert record.private.content["sealed"] != before.content["sealed"]
    assert str(before.content["sealed"]) not in kept, "the former values are not kept, sealed neither"
    assert record.private.content["consent"] == before.content["consent"]
    assert record.private.indexed == before.indexed and record.indexed["scope"] == "IR-20/2001"
    [act] = record.private.content["acts"]
    assert (act["act"], act["form"], act["actor"]) == ("correction", "20-1404-204", "registrar:of-2f9c")
    assert [each.purpose for each in api.audit.rows] == ["correction"]
    assert decode(api.store.events[subject][-1]).context.county == "2001"


async def test_a_mobile_alone_is_not_checked_again(api: RegistrationApi) -> None:
    subject = await applied(api)
    done = (await correct(api, subject, {"mobile": "09350000077"})).json()
    assert not done["checked_again"] and done["applicant"]["identity_check"] == "mismatch"


@pytest.mark.parametrize(
    ("changes", "status", "code", "field"),
    [
        ({"form_number": ""}, 422, "form_number_invalid", "form_number"),
        ({"form_number": "12"}, 422, "form_number_invalid", "form_number"),
        ({"form_number": "مریم"}, 422, "form_number_invalid", "form_number"),
        ({}, 409, "nothing_changed", ""),
        ({"last_name": "آزمون"}, 409, "nothing_changed", ""),
        ({"last_name": "123"}, 422, "name_invalid", "last_name"),
        ({"county": "0701"}, 422, "county_not_in_province", "county"),
        ({"birth_date": "1404-01-01"}, 422, "underage", "birth_date"),
        ({"national_id": "9990000026"}, 422, "unknown_field", "national_id"),
        ({"province": "IR-07"}, 422, "unknown_field", "province"),
        ({"field": "JF009"}, 422, "field_not_open", "field"),
    ],
)
async def test_what_is_no_correction_is_refused(
    api: RegistrationApi, changes: dict[str, str], status: int, code: str, field: str
) -> None:
    subject = await applied(api)
    count = len(api.store.events[subject])
    refused = await correct(api, subject, changes)
    codes = [each["code"] for each in refused.json().get("errors", [])] or [refused.json()["code"]]
    assert refused.status_code == status and codes[0] == code, refused.text
    assert not field or refused.json()["errors"][0]["field"] == field
    assert len(api.store.events[subject]) == count


async def test_a_county_operator_corrects_within_the_county(api: RegistrationApi) -> None:
    subject = await applied(api)
    own: dict[str, Any] = {"role": "county_operator", "scope": "IR-20/2003"}
    moved = await correct(api, subject, {"county": "2001"}, **own)
    assert moved.status_code == 403 and moved.json()["code"] == "scope_other"
    assert (await correct(api, subject, {"last_name": "کریمی"}, **own)).status_code == 200
    foreign = await correct(api, subject, {"last_name": "رضایی"}, role="registrar", scope="IR-23")
    assert foreign.status_code == 404


async def test_two_corrections_of_the_same_state_are_not_merged_unnoticed(api: RegistrationApi) -> None:
    """Both have read the record before either has written: the second would bring back what the first corrected."""
    subject = await applied(api)
    record = (await api.store.read([subject]))[subject]
    await correct(api, subject, {"mobile": "09350000077"})
    with pytest.raises(Refused, match="changed_meanwhile"):
        await acts.correct(
            api.registrations, record, {"last_name": "کریمی"}, "20-1404-2", CommandMetadata("registrar:x")
        )


async def test_erasure_removes_what_a_correction_left(api: RegistrationApi) -> None:
    subject = await applied(api)
    await correct(api, subject, {"last_name": "کریمی"})
    await api.request("POST", f"/v1/applications/{subject}/erasure", "manager", json=ERASURE)
    await api.run_jobs()
    record = (await api.store.read([subject]))[subject]
    assert not record.private.content.keys() & {"acts", "sealed", "consent"}
    refused = await correct(api, subject, {"last_name": "رضایی"})
    assert refused.status_code == 409 and refused.json()["code"] == "erased"


async def test_the_page_corrects_and_returns_what_was_refused_as_it_was_typed(api: RegistrationApi) -> None:
    subject = await applied(api)
    path = f"/desk/{subject}/correction"
    wrong = {"reason": "visitor", "key": "k" * 32, "birth_date": "14/14", "form_number": "1", "last_name": "کریمی"}
    refused = await api.request("POST", path, headers=PAGE, data=wrong)
    assert refused.status_code == 422 and 'href="#form_number"' in refused.text and 'value="14/14"' in refused.text
    refused = await api.request("POST", path, headers=PAGE, data=wrong | FORM)
    assert refused.status_code == 422 and 'href="#birth_date"' in refused.text and 'value="کریمی"' in refused.text
    right = wrong | FORM | {"birth_date": "1348/10/11"}
    for _ in range(2):  # a double click is one correction
        done = await api.request("POST", path, headers=PAGE, data=right)
        assert done.status_code == 200 and "اصلاح ثبت شد" in done.text and "دوباره با ثبت احوال" in done.text
    state = (await api.store.read([subject]))[subject].state
    assert state.current.corrections == 1
    assert "کریمی" in done.text and "داده‌ها اصلاح شد" in done.text and "1348" not in done.text
    english = await api.request("POST", f"{path}?lang=en", headers=PAGE, data={"reason": "visitor", **FORM})
    assert english.status_code == 409 and "Nothing was changed" in english.text


async def test_the_age_is_that_of_the_day_of_registration(api: RegistrationApi) -> None:
    """A correction makes no one of age, and moves no one to the next band, however late it comes."""
    subject = await applied(api)
    api.advance(days=100)
    refused = await correct(api, subject, {"birth_date": "2007-10-20"})  # 18 by now, 17 on 27 September 2025
    assert [each["code"] for each in refused.json()["errors"]] == ["underage"]
    assert (await correct(api, subject, {"birth_date": "2000-10-20"})).status_code == 200
    event = decode(api.store.events[subject][-1]).event
    assert isinstance(event, ApplicantUpdated) and event.age_band == "18-24"


async def test_what_was_done_on_a_form_stays_on_record_until_an_erasure(api: RegistrationApi) -> None:
    subject = await applied(api)
    await correct(api, subject, {"last_name": "کریمیان"})
    path = f"/v1/applications/{subject}/withdrawal"
    for wrong in ("", "12", "07-1404-9"):
        refused = await api.request("POST", path, json={"reason": "moved", "form_number": wrong})
        assert (refused.status_code, refused.json()["code"]) == (422, "form_number_invalid")
    left = await api.request("POST", path, json={"reason": "moved", "form_number": "۲۰-۱۴۰۴-۹"})
    assert left.status_code == 200, left.text
    assert (await api.register(national_id=a_national_id(REFUSED))).json()["application"] == 2
    kept = (await api.store.read([subject]))[subject].private.content["acts"]
    assert [(each["act"], each["form"]) for each in kept] == [
        ("correction", "20-1404-204"),
        ("withdrawal", "20-1404-9"),
    ]
    erasure = await api.request("POST", f"/v1/applications/{subject}/erasure", "manager", json=ERASURE)
    assert erasure.status_code == 200, erasure.text
    await api.run_jobs()
    assert "acts" not in (await api.store.read([subject]))[subject].private.content
