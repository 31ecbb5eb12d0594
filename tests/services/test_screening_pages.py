"""The officers' desk over ASGI: the queue as a page, plain forms that come back with what was typed."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from contracts.events import ApplicantAdmitted
from tests.services.test_screening_api import Desk, name

YES = {"rule.not_insured": "yes", "rule.resident": "yes", "rule.complete": "yes"}
PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    token = desk.issuer.token("screener", id="of-1", province="IR-20", name="کارشناس نمونه")
    desk.http.cookies.set("peyvand_token", token)
    desk.http.headers.update(PAGE)
    yield desk
    await desk.http.aclose()


async def test_the_queue_groups_by_deadline(desk: Desk) -> None:
    await desk.registered(1)
    desk.now += timedelta(days=11)
    await desk.registered(2)
    page = (await desk.http.get("/screening/")).text
    assert "صف غربالگری سمنان" in page and "تا پایان امروز" in page and 'lang="fa" dir="rtl"' in page
    assert page.index(name(1)) < page.index(name(2))
    desk.now += timedelta(days=1)
    late = (await desk.http.get("/screening/?f=late&lang=en")).text
    assert "1 day late" in late and name(2) not in late and 'dir="ltr"' in late
    today = (await desk.http.get("/screening/?f=today")).text
    assert name(1) not in today and "There is no case in this group" in today


async def test_an_empty_queue_says_what_would_be_here(desk: Desk) -> None:
    assert "پروندهٔ بازی نیست" in (await desk.http.get("/screening/")).text
    assert "کسی منتظر ظرفیت‌سنجی نیست" in (await desk.http.get("/screening/?state=awaiting_capacity")).text


async def test_the_next_case_is_handed_out_and_shown_as_taken(desk: Desk) -> None:
    await desk.registered(1)
    taken = await desk.http.post("/screening/next")
    assert (taken.status_code, taken.headers["location"]) == (303, f"/screening/cases/{name(1)}")
    assert "برداشته شده" in (await desk.http.get("/screening/")).text
    none = await desk.http.post("/screening/next")
    assert "پروندهٔ آزادی نمانده" in (await desk.http.get(none.headers["location"])).text


async def test_a_case_is_decided_on_its_page(desk: Desk) -> None:
    case = await desk.registered(1)
    page = (await desk.http.get(f"/screening/cases/{case}")).text
    key = re.search(r'name="key" value="([^"]+)"', page)
    assert key and "در تماس بپرسید" in page and "بی‌پاسخ" in page
    form = {"key": key[1], "outcome": "approved", **YES}
    for _ in range(2):  # a double click is one decision
        done = await desk.http.post(f"/screening/cases/{case}/decision", data=form)
        assert (done.status_code, done.headers["location"]) == (303, f"/screening/cases/{case}?done=true")
    after = (await desk.http.get(done.headers["location"])).text
    assert "ثبت شد." in after and "تصمیم: پذیرفته" in after and "به گفتهٔ کارشناس" in after
    assert len(desk.store.emitted[case]) == 2


async def test_what_is_refused_comes_back_as_it_was_typed(desk: Desk) -> None:
    case = await desk.registered(1)
    answered = {"outcome": "approved", "rule.not_insured": "yes", "rule.resident": "no"}
    refused = await desk.http.post(f"/screening/cases/{case}/decision", data=answered)
    assert refused.status_code == 409 and "<title>خطا:" in refused.text and 'role="alert"' in refused.text
    assert "متقاضی ساکن محل کسب‌وکار است." in refused.text
    assert re.search(r'name="rule.resident" value="no"[^>]* checked', refused.text)
    assert re.search(r'id="d-approve" value="approved"[^>]* checked', refused.text)
    missing = await desk.http.post(f"/screening/cases/{case}/decision?lang=en", data={"outcome": "rejected"})
    assert missing.status_code == 422 and 'href="#reasons"' in missing.text and "at least one reason" in missing.text


async def test_a_capacity_is_identified_on_the_page(desk: Desk) -> None:
    case = await desk.registered(1)
    await desk.http.post(f"/screening/cases/{case}/decision", data={"outcome": "approved", **YES})
    await desk.hears(1, ApplicantAdmitted())
    assert "چه می‌سازد؟" in (await desk.http.get(f"/screening/cases/{case}")).text
    form = {"product_group": "handicrafts", "unit": "piece", "monthly_band": "", "skill_level": "skilled"}
    refused = await desk.http.post(f"/screening/cases/{case}/capacity", data=form)
    assert refused.status_code == 422 and 'href="#monthly_band"' in refused.text
    assert 'value="handicrafts" selected' in refused.text
    form |= {"monthly_band": "10-49", "needs": "tools"}
    assert (await desk.http.post(f"/screening/cases/{case}/capacity", data=form)).status_code == 303
    assert "ابزار" in (await desk.http.get(f"/screening/cases/{case}")).text


async def test_who_is_not_signed_in_is_led_to_the_door(desk: Desk) -> None:
    desk.http.cookies.clear()
    led = await desk.http.get("/screening/")
    assert led.status_code == 303 and led.headers["location"].startswith("/screening/sign-in?to=/screening/")


async def test_readers_see_no_forms_and_foreign_cases_are_missing(desk: Desk) -> None:
    case, theirs = await desk.registered(1), await desk.registered(2, "IR-23")
    assert (await desk.http.get(f"/screening/cases/{theirs}")).status_code == 404
    desk.http.cookies.set("peyvand_token", desk.issuer.token("labour_expert", province="IR-20"))
    page = (await desk.http.get(f"/screening/cases/{case}")).text
    assert 'action="/screening/cases' not in page and "توپ در زمین کیست؟" in page


async def test_a_page_obeys_the_content_policy(desk: Desk) -> None:
    case = await desk.registered(1)
    for path in ("/screening/", f"/screening/cases/{case}"):
        page = (await desk.http.get(path)).text
        assert not re.search(r"<style|style=|<script(?! src)|https?://", page.replace("http://www.w3.org", ""))


async def test_a_form_of_another_site_decides_nothing(desk: Desk) -> None:
    case = await desk.registered(1)
    form = {"outcome": "approved", **YES}
    refused = await desk.http.post(
        f"/screening/cases/{case}/decision", data=form, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert refused.status_code == 403 and len(desk.store.emitted[case]) == 1
