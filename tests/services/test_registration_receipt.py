"""The last page of the form shows the tracking code of the browser that sent it, and none from the address."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from time import time

import httpx
import pytest

from registration.pages import sealed_cookie
from registration.pages.drafts import DONE, RECEIPT_MAX_AGE
from registration.pages.steps import STEPS
from tests.support.registration_api import EXAMPLE, RegistrationApi, registration_api

BIRTH_DATE = {"day": "14", "month": "4", "year": "1368"}
TRACKING = "/registration/tracking"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        running.client.headers["Accept"] = "text/html"
        await running.open_round()
        yield running


async def send_form(api: RegistrationApi) -> str:
    """Answer every question and send the form; return the key of the review page."""
    for step in STEPS:
        data = BIRTH_DATE if step.slug == "birth-date" else {each.name: EXAMPLE[each.name] for each in step.fields}
        assert (await api.client.post(f"/registration/apply/{step.slug}", data=data)).status_code == 303
    review = (await api.client.get("/registration/apply/check")).text
    [key] = re.findall(r'name="key" value="([0-9a-f]{32})"', review)
    sent = await api.client.post("/registration/apply/check", data={"key": key, "consent": EXAMPLE["consent"]})
    assert sent.headers["Location"] == DONE and "Set-Cookie" in sent.headers
    return str(key)


def codes_in(page: httpx.Response) -> set[str]:
    return set(re.findall(r"[0-9A-Z]{5}-[0-9A-Z]{5}", page.text))


async def test_the_page_can_be_opened_again_in_this_browser_only(api: RegistrationApi) -> None:
    await send_form(api)
    first = await api.client.get(DONE)
    assert first.status_code == 200 and len(codes_in(first)) == 1 and first.headers["Cache-Control"] == "no-store"
    assert (await api.client.get(DONE)).text == first.text, "reloaded, or reached by the back button"
    back = await api.client.get("/registration/apply/check")
    assert back.headers["Location"] == "/registration/apply/province", "the draft is deleted"
    cookie = api.client.cookies["peyvand_receipt"]
    assert not any(code.replace("-", "") in cookie for code in codes_in(first))
    api.client.cookies.clear()
    elsewhere = await api.client.get(DONE)
    assert (elsewhere.status_code, elsewhere.headers["Location"]) == (303, TRACKING)


async def test_an_address_with_a_code_or_a_key_shows_nothing(api: RegistrationApi) -> None:
    key = await send_form(api)
    [code] = codes_in(await api.client.get(DONE))
    receipt = api.client.cookies["peyvand_receipt"]
    api.client.cookies.clear()
    for query in (f"code={code}", f"key={key}", f"peyvand_receipt={receipt}"):
        page = await api.client.get(f"{DONE}?{query}")
        assert page.status_code == 303 and not codes_in(page)
    for path in ("/registration/apply/check", "/registration/apply"):
        page = await api.client.get(f"{path}?key={key}")
        assert not codes_in(page) and code not in page.headers.get("Location", "")
    api.client.cookies.set("peyvand_receipt", receipt[:-8] + "AAAAAAA=", path=DONE)
    assert (await api.client.get(DONE)).status_code == 303, "a changed cookie"
    api.client.cookies.clear()
    api.client.cookies.set("peyvand_draft", receipt, path="/registration/apply")
    assert "Location" in (await api.client.get("/registration/apply/check")).headers, "one cookie is not another"


async def test_a_key_that_others_can_guess_is_not_used(api: RegistrationApi) -> None:
    made = await api.register(key="00000000")
    assert made.status_code == 201
    guessed = await api.client.post("/registration/apply/check", data={"key": "00000000"})
    assert guessed.headers["Location"] == "/registration/apply/province"
    assert (await api.client.get(DONE)).status_code == 303


async def test_a_new_form_ends_the_receipt_and_so_does_time(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send_form(api)
    cookies = dict(api.client.cookies)
    await api.client.post("/registration/apply/province", data={"province": "IR-20"})
    assert (await api.client.get(DONE)).status_code == 303, "the next person at this computer has begun"
    api.client.cookies.clear()
    api.client.cookies.set("peyvand_receipt", cookies["peyvand_receipt"], path=DONE)
    assert (await api.client.get(DONE)).status_code == 200
    now = time()
    monkeypatch.setattr(sealed_cookie, "time", lambda: now + RECEIPT_MAX_AGE)
    assert (await api.client.get(DONE)).status_code == 303
