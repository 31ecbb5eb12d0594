"""An officer registers a person at the desk on one page: in their own province, once, with every fault named."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from registration.domain import consent
from tests.support.registration_api import RegistrationApi, a_national_id, registration_api

PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
FORM = {
    "national_id": a_national_id(5),
    "first_name": "مریم",
    "last_name": "آزمون",
    "birth_date": "۱۳۶۸/۰۴/۱۴",
    "sex": "female",
    "mobile": "۰۹۱۲۰۰۰۰۰۱۸",
    "county": "2003",
    "field": "JF001",
    "work_mode": "independent",
    "consent": consent.CURRENT,
    "key": "0199a000-0000-7000-8000-000000000001",
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        yield running


async def send(api: RegistrationApi, form: dict[str, str], **options: Any) -> httpx.Response:
    return await api.request("POST", "/desk/register", data=form, headers=PAGE, **options)


def errors(page: httpx.Response) -> list[str]:
    """Return the fields to which the errors of the summary lead."""
    found: list[str] = re.findall(r'<li><a href="([^"]+)">', page.text.partition("</ul></div>")[0])
    return [each.removeprefix("#") for each in found if each.startswith(("#", "/registration/desk"))]


async def test_a_person_is_registered_and_takes_the_code_home(api: RegistrationApi) -> None:
    await api.open_round()
    page = await api.request("GET", "/desk/register", headers=PAGE)
    assert page.status_code == 200
    assert "شاهرود" in page.text and "شیراز" not in page.text, "the counties of the officer's own province"
    done = await send(api, FORM)
    assert done.status_code == 200, done.text
    [record] = await api.applicants()
    assert record.state.current.intake_channel == "desk" and record.indexed["scope"] == "IR-20/2003"
    code = re.search(r'<span class="code">([^<]+)</span>', done.text)
    assert code is not None
    assert (await api.request("GET", f"/tracking/{code[1]}", headers=PAGE)).status_code == 200
    again = await send(api, FORM)
    assert again.status_code == 200 and code[0] in again.text, "a form that is sent twice is recorded once"
    other = await send(api, FORM | {"key": "0199a000-0000-7000-8000-000000000002"})
    assert other.status_code == 409 and errors(other) == ["/registration/desk"]
    assert code[1] not in other.text, "the code of another person is not shown"


async def test_every_fault_is_named_at_its_field(api: RegistrationApi) -> None:
    await api.open_round()
    empty = await send(api, {"key": FORM["key"]})
    assert empty.status_code == 422
    assert sorted(set(errors(empty))) == sorted(set(FORM) - {"key"})
    wrong = await send(api, FORM | {"national_id": "9990000019", "last_name": "<b>"})
    assert wrong.status_code == 422 and set(errors(wrong)) == {"national_id", "last_name"}
    assert 'value="9990000019"' in wrong.text and "&lt;b&gt;" in wrong.text, "what was typed is still there"
    other = await send(api, FORM | {"county": "0701"})
    assert other.status_code == 422 and errors(other) == ["county"]
    assert not await api.applicants()


async def test_an_operator_registers_people_of_their_own_county(api: RegistrationApi) -> None:
    await api.open_round()
    own = {"role": "county_operator", "scope": "IR-20/2001"}
    page = await api.request("GET", "/desk/register", headers=PAGE, **own)
    assert '<option value="2001"' in page.text and '<option value="2003"' not in page.text
    refused = await send(api, FORM, **own)
    assert refused.status_code == 403 and errors(refused) == ["county"]
    assert (await send(api, FORM | {"county": "2001"}, **own)).status_code == 200


async def test_without_an_open_round_nothing_is_asked_and_nothing_recorded(api: RegistrationApi) -> None:
    for page in (await api.request("GET", "/desk/register", headers=PAGE), await send(api, FORM)):
        assert page.status_code == 200 and "<form class" not in page.text and "چیزی ثبت نشد" in page.text
