"""The ministry opens a round on a page and amends it; every fault is named."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.subjects import round_subject
from programme import calendar, reference
from programme.policies import CURRENT, versions
from programme.text import persian_digits
from registration.domain import round as rounds
from tests.support.registration_api import START, RegistrationApi, registration_api

PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
TODAY = calendar.tehran_day(START)
FORM: dict[str, Any] = {
    "round": "۱۴۰۴",
    "opens": persian_digits(calendar.jalali_text(TODAY)),
    "closes": calendar.jalali_text(TODAY + timedelta(30)),
    "policy": CURRENT,
    "fields": ["JF001", "JF003"],
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        yield running


async def send(api: RegistrationApi, form: dict[str, Any]) -> httpx.Response:
    return await api.request("POST", "/rounds", "ministry_admin", data=form, headers=PAGE)


async def show(api: RegistrationApi, query: str = "") -> str:
    page = await api.request("GET", f"/rounds{query}", "ministry_admin", headers=PAGE)
    assert page.status_code == 200
    return page.text


async def state(api: RegistrationApi, round_id: str = "1404") -> rounds.State:
    found: rounds.State = (await api.store.read([round_subject(round_id)]))[round_subject(round_id)].state
    return found


async def test_a_round_is_opened_and_takes_applications(api: RegistrationApi) -> None:
    empty = await show(api)
    assert "هنوز هیچ دوره‌ای باز نشده است" in empty
    assert empty.count('name="fields"') == len(reference.job_fields()) == empty.count(" checked")
    done = await send(api, FORM | {"key": "0199a000-0000-7000-8000-000000000001"})
    assert done.status_code == 303 and done.headers["location"] == "/registration/rounds?done=1404"
    opened = await state(api)
    assert opened.fields == ("JF001", "JF003") and opened.policy == CURRENT and opened.window is not None
    assert opened.window.opens == calendar.day_start(TODAY)
    assert opened.window.closes == calendar.day_end(TODAY + timedelta(30)), "the last day is whole"
    page = await show(api, "?done=1404")
    assert "دورهٔ ۱۴۰۴ ثبت شد" in page and "باز است" in page
    assert "ثبت شد" not in await show(api, "?done=1499"), "a round that does not exist"
    assert (await api.request("GET", "/apply", role="", headers=PAGE)).status_code == 200
    assert rounds.is_open(opened, "IR-20", api.now)


async def test_an_amendment_keeps_the_windows_of_provinces(api: RegistrationApi) -> None:
    await send(api, FORM)
    opens, closes = (calendar.day_start(TODAY + timedelta(n)).isoformat() for n in (1, 9))
    terms = {"fields": ["JF001"], "opens": calendar.day_start(TODAY).isoformat(), "policy": CURRENT}
    terms |= {"closes": calendar.day_end(TODAY + timedelta(30)).isoformat()}
    window = {"province": "IR-20", "opens": opens, "closes": closes}
    await api.request("PUT", "/v1/rounds/1404", "ministry_admin", json=terms | {"windows": [window]})
    page = await show(api, "?round=1404")
    assert re.findall(r'value="(JF\d+)" checked', page) == ["JF001"] and f'value="{FORM["closes"]}"' in page
    later = FORM | {"closes": calendar.jalali_text(TODAY + timedelta(60)), "fields": ["JF001"]}
    assert (await send(api, later)).status_code == 303
    amended = await state(api)
    assert list(amended.windows) == ["IR-20"] and amended.window is not None
    assert calendar.tehran_day(amended.window.closes) == TODAY + timedelta(61)


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"round": "", "opens": "", "closes": ""}, ["closes", "opens", "round"]),
        ({"round": "۱۴"}, ["round"]),
        ({"round": "1405/IR-20"}, ["round"]),
        ({"opens": "۱۴۰۴/۱۲/۳۰"}, ["opens"]),
        ({"closes": calendar.jalali_text(TODAY - timedelta(1))}, ["closes"]),
        ({"policy": "1399-1"}, ["policy"]),
        ({"fields": []}, ["fields"]),
        ({"fields": ["JF999"]}, ["fields"]),
    ],
)
async def test_every_fault_is_named_and_nothing_recorded(
    api: RegistrationApi, change: dict[str, Any], fields: list[str]
) -> None:
    refused = await send(api, FORM | change)
    assert refused.status_code == 422, refused.text
    assert sorted(re.findall(r'<li><a href="#([a-z]+)"', refused.text)) == fields
    assert (await state(api)) == rounds.State()
    for name in ("round", "opens"):
        assert f'value="{(FORM | change)[name]}"' in refused.text, "what was typed is still there"


async def test_the_policy_of_a_round_stays(api: RegistrationApi) -> None:
    await send(api, FORM)
    other = next(each for each in versions() if each != CURRENT)
    refused = await send(api, FORM | {"policy": other})
    assert refused.status_code == 409 and 'href="#policy"' in refused.text
    assert (await state(api)).policy == CURRENT
