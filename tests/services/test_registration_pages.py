"""The applicant's pages: one question a page, a draft that only the browser stores, a tracking code at the end."""

import re
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest

from contracts.envelope import Envelope, encode
from contracts.events import (
    CaseAppealDecided,
    CaseAppealed,
    CaseDecided,
    CaseInfoLapsed,
    CaseInfoRequested,
    CaseInfoSupplied,
    CaseOpened,
    Event,
)
from kernel.batch import process
from kernel.record import Message
from programme.calendar import tehran_day
from programme.numbers import case_number
from programme.text import persian_digits
from registration.pages.steps import STEPS
from tests.support.registration_api import RegistrationApi, a_national_id, registration_api

ANSWERS = {
    "province": {"province": "IR-20"},
    "county": {"county": "2003"},
    "national-id": {"national_id": "۹۹۹ ۰۰۰۰۰۱-۸"},
    "name": {"first_name": "مريم", "last_name": "آزمون"},
    "birth-date": {"day": "۱۴", "month": "4", "year": "۱۳۶۸"},
    "sex": {"sex": "female"},
    "mobile": {"mobile": "۰۹۱۲ ۰۰۰ ۰۰۱۸"},
    "field": {"field": "JF003"},
    "work-mode": {"work_mode": "independent"},
}
SECRETS = ("9990000018", "۹۹۹۰۰۰۰۰۱۸", "مریم", "آزمون", "9120000018")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        running.client.headers["Accept"] = "text/html"
        yield running


async def page(api: RegistrationApi, path: str, **data: str) -> httpx.Response:
    """Get a page, or send a form."""
    if data:
        return await api.client.post(f"/registration{path}", data=data)
    return await api.client.get(f"/registration{path}")


async def answer_all(api: RegistrationApi, **changes: dict[str, str]) -> httpx.Response:
    """Answer every question; return the last response."""
    for step in STEPS:
        last = await page(api, f"/apply/{step.slug}", **(ANSWERS | changes)[step.slug])
        assert last.status_code == 303, last.text
    return last


async def send(api: RegistrationApi, key: str = "") -> httpx.Response:
    """Send the form of the review page."""
    review = await page(api, "/apply/check")
    found = re.search(r'name="key" value="([0-9a-f]{32})"', review.text)
    assert found, review.text
    return await page(api, "/apply/check", key=key or found[1], consent="1404-1")


def shown_code_in(page: httpx.Response) -> str:
    """Return the tracking code on the last page of the form."""
    found = re.search(r'class="code">([0-9A-Z]{5}-[0-9A-Z]{5})<', page.text)
    assert found, page.text
    return found[1]


async def test_one_question_a_page_then_a_review_then_a_tracking_code(api: RegistrationApi) -> None:
    await api.open_round()
    start = await page(api, "/apply")
    assert "شروع ثبت‌نام" in start.text and 'dir="rtl"' in start.text
    for n, step in enumerate(STEPS, 1):
        asked = await page(api, f"/apply/{step.slug}")
        assert asked.status_code == 200 and asked.text.count("<h1>") == 1, step.slug
        assert f"پرسش {'۰۱۲۳۴۵۶۷۸۹'[n]} از ۹" in asked.text
        sent = await page(api, f"/apply/{step.slug}", **ANSWERS[step.slug])
        following = STEPS[n].slug if n < len(STEPS) else "check"
        assert sent.headers["Location"] == f"/registration/apply/{following}"
    review = await page(api, "/apply/check")
    for shown in (
        "سمنان",
        "شاهرود",
        "۱۴ تیر ۱۳۶۸",
        "آزمون",
        "گلیم",
        "هنوز چیزی ثبت نشده است",
        "۹۹۹ ۰۰۰۰۰۱ ۸",
        "۰۹۱۲ ۰۰۰ ۰۰۱۸",
    ):
        assert shown in review.text
    done = await send(api)
    assert done.status_code == 303
    assert done.headers["Location"] == "/registration/done", "no address has the code"
    kept = await page(api, "/done")
    code = shown_code_in(kept)
    followed = await page(api, f"/tracking/{code}")
    assert followed.status_code == 200 and "در نوبت پایش" in followed.text
    for secret in SECRETS:
        assert secret not in followed.text + kept.text
    [record] = await api.applicants()
    assert record.state.current.intake_channel == "web" and record.state.context.county == "2003"
    identity = (await api.persons.open([record]))[record.subject]
    assert identity["national_id"] == "9990000018" and identity["first_name"] == "مریم"
    assert (await page(api, "/apply/check")).status_code == 303, "the draft is deleted"


async def test_a_draft_is_only_in_the_browser_and_cannot_be_read_or_changed(api: RegistrationApi) -> None:
    await api.open_round()
    await answer_all(api)
    cookie = api.client.cookies["peyvand_draft"]
    for secret in (*SECRETS, "IR-20", "OTk5"):
        assert secret not in cookie
    assert len(cookie) < 3_500 and not await api.applicants()
    assert "نگه داشته شده است" in (await page(api, "/apply")).text
    api.client.cookies.clear()
    api.client.cookies.set("peyvand_draft", cookie[:-8] + "AAAAAAA=", path="/registration/apply")
    assert (await page(api, "/apply/check")).headers["Location"] == "/registration/apply/province"


async def test_a_form_sent_twice_registers_once_with_one_response(api: RegistrationApi) -> None:
    await api.open_round()
    await answer_all(api)
    cookies = dict(api.client.cookies)
    codes = []
    for draft in (None, cookies, {}):
        if draft is not None:
            api.client.cookies.clear()
            api.client.cookies.update(draft)
        sent = await (send(api, key="0" * 32) if draft != {} else page(api, "/apply/check", key="0" * 32))
        assert sent.headers["Location"] == "/registration/done"
        codes.append(shown_code_in(await page(api, "/done")))
    assert len(set(codes)) == 1 and len(await api.applicants()) == 1


@pytest.mark.parametrize(
    ("slug", "typed", "field", "message"),
    [
        ("national-id", {"national_id": "۹۹۹۰۰۰۰۰۱۹"}, "national_id", "رقم آخر کد ملی با بقیه نمی‌خواند"),
        ("national-id", {"national_id": " "}, "national_id", "پر کنید"),
        ("birth-date", {"day": "31", "month": "12", "year": "1368"}, "birth_date", "تاریخ"),
        ("birth-date", {"day": "1", "month": "1", "year": "1399"}, "birth_date", "۱۸"),
        ("mobile", {"mobile": "12345"}, "mobile", "۰۹"),
        ("province", {"province": "IR-27"}, "province", "باز نیست"),
        ("sex", {"x": "1"}, "sex", "انتخاب کنید"),
        ("name", {"first_name": "Maryam1", "last_name": "آزمون"}, "first_name", "نام را"),
    ],
)
async def test_an_error_is_in_the_title_in_the_summary_and_beside_the_field(
    api: RegistrationApi, slug: str, typed: dict[str, str], field: str, message: str
) -> None:
    await api.open_round()
    await page(api, "/apply/province", province="IR-20")
    wrong = await page(api, f"/apply/{slug}", **typed)
    assert wrong.status_code == 422 and "<title>خطا: " in wrong.text and 'role="alert"' in wrong.text
    assert f'href="#{field}"' in wrong.text and f'id="{field}"' in wrong.text and f'id="{field}-err"' in wrong.text
    assert 'aria-invalid="true"' in wrong.text and message in wrong.text
    for value in typed.values():
        if value.strip() and field not in ("province", "sex"):
            assert f'value="{value}"' in wrong.text, "the typed value stays in the input"


async def test_a_changed_province_deletes_the_county(api: RegistrationApi) -> None:
    await api.open_round()
    await answer_all(api)
    moved = await page(api, "/apply/province", province="IR-07")
    assert moved.headers["Location"] == "/registration/apply/county"
    back = await page(api, "/apply/county", county="0701")
    assert back.headers["Location"] == "/registration/apply/check"


async def test_without_consent_nothing_is_registered(api: RegistrationApi) -> None:
    await api.open_round()
    await answer_all(api)
    refused = await page(api, "/apply/check", key="0" * 32)
    assert refused.status_code == 422 and 'href="#consent"' in refused.text and 'value="' + "0" * 32 in refused.text
    assert not await api.applicants()


async def test_already_registered_discloses_nothing_else(api: RegistrationApi) -> None:
    await api.open_round()
    made = (await api.register()).json()
    await answer_all(api, province={"province": "IR-07"}, county={"county": "0701"})
    refused = await send(api)
    assert refused.status_code == 409 and "با این کد ملی در این دوره درخواستی ثبت شده است" in refused.text
    assert made["tracking_code"] not in refused.text and "سمنان" not in refused.text
    assert '<li><a href="/registration/tracking">کد ملی: ' in refused.text, "it leads to what can be done"
    answers = [await send(api) for _ in range(7)]
    assert answers[-1].status_code == 429 and "صبر کنید</h1>" in answers[-1].text


async def test_a_draft_can_be_deleted(api: RegistrationApi) -> None:
    await api.open_round()
    await answer_all(api)
    await api.client.post("/registration/apply/forget")
    assert "شروع ثبت‌نام" in (await page(api, "/apply")).text


async def test_without_an_open_round_there_is_no_form(api: RegistrationApi) -> None:
    assert "ثبت‌نام اکنون باز نیست" in (await page(api, "/apply")).text
    assert (await page(api, "/apply/province")).headers["Location"] == "/registration/apply"
    assert (await page(api, "/apply/nothing")).status_code == 404


async def test_english(api: RegistrationApi) -> None:
    await api.open_round()
    asked = await page(api, "/apply/national-id?lang=en")
    assert 'lang="en" dir="ltr"' in asked.text and "What is your national ID?" in asked.text
    wrong = await page(api, "/apply/national-id", national_id="9990000019")
    assert "<title>Error: " in wrong.text and "The last digit does not fit the others" in wrong.text


async def test_no_page_styles_or_scripts_inline(api: RegistrationApi) -> None:
    await api.open_round()
    await answer_all(api)
    paths = ["/apply", "/apply/check", "/tracking", *(f"/apply/{step.slug}" for step in STEPS)]
    for path in paths:
        text = (await page(api, path)).text
        assert not re.search(r"<style|style=|<script(?![^>]*src=)| on[a-z]+=", text), path
        assert not re.search(r"(?:src|href)=\"https?:", text), path


async def test_an_unknown_tracking_code(api: RegistrationApi) -> None:
    missing = await page(api, "/tracking/AAAAAAAAAA")
    assert missing.status_code == 404 and "پیدا نشد" in missing.text and 'href="#code"' in missing.text
    assert (await page(api, "/tracking?code=9h2k4 mzq7b")).headers["Location"].endswith("/tracking/9H2K4-MZQ7B")
    assert (await page(api, "/tracking?code=x")).status_code == 404


async def test_the_tracking_page_in_every_status(api: RegistrationApi) -> None:
    await api.open_round(quota=1)
    sequences: dict[str, int] = {}

    async def consume(subject: str, event: Event) -> None:
        sequence = sequences[subject] = sequences.get(subject, 0) + 1
        envelope = Envelope(source="screening", subject=subject, sequence=sequence, time=api.now, event=event)
        await process(api.store, [Message(envelope, encode(envelope))], {}, api.clock)
        await api.run_jobs()

    people = []
    for n in range(4):
        people.append((await api.register(national_id=a_national_id(n + 10))).json())
        api.advance(minutes=1)
    first, second, third, fourth = people
    for one in people:
        await consume(one["id"], CaseOpened(due=date(2025, 10, 11)))
    shown = await page(api, f"/tracking/{first['tracking_code']}")
    assert "در حال پایش" in shown.text and "روز کاری مانده است" in shown.text
    assert persian_digits(case_number(first["id"], "IR-20")) in shown.text, "as screening has it"
    for one in (first, second, third):
        await consume(one["id"], CaseDecided(outcome="approved"))
    await consume(fourth["id"], CaseDecided(outcome="rejected", reasons=("insured",)))
    assert "پذیرفته شدید" in (await page(api, f"/tracking/{first['tracking_code']}")).text
    assert "شما نفر ۲ در فهرست انتظارید" in (await page(api, f"/tracking/{third['tracking_code']}")).text
    assert "بیمهٔ اجباری دارد" in (await page(api, f"/tracking/{fourth['tracking_code']}")).text
    appeal = CaseAppealed(due=date(2025, 10, 11), form="20-1404-173")
    overturned = CaseAppealDecided(outcome="approved", reasons=("meets_conditions",))
    assert "می‌توانید یک بار اعتراض کنید" in (await page(api, f"/tracking/{fourth['tracking_code']}")).text
    await consume(fourth["id"], appeal)
    under_review = (await page(api, f"/tracking/{fourth['tracking_code']}")).text
    assert "اعتراض شما در رسیدگی است" in under_review and "پاسخ تا" in under_review
    await consume(fourth["id"], overturned)
    assert "شما نفر ۳ در فهرست انتظارید" in (await page(api, f"/tracking/{fourth['tracking_code']}")).text
    await api.request(
        "POST", f"/v1/applications/{first['id']}/withdrawal", json={"reason": "moved", "form_number": "20-1404-9"}
    )
    await api.run_jobs()
    assert "انصراف شما ثبت شده است" in (await page(api, f"/tracking/{first['tracking_code']}")).text
    assert "پذیرفته شدید" in (await page(api, f"/tracking/{second['tracking_code']}")).text
    english = await page(api, f"/tracking/{third['tracking_code']}?lang=en")
    assert "You are number 1 on the waiting list" in english.text


async def test_the_tracking_page_names_the_last_day_to_appeal_and_the_outcome(api: RegistrationApi) -> None:
    await api.open_round(quota=1)
    one = (await api.register()).json()
    path, sequence = f"/tracking/{one['tracking_code']}", 0

    async def after(event: Event) -> str:
        nonlocal sequence
        sequence += 1
        envelope = Envelope(source="screening", subject=one["id"], sequence=sequence, time=api.now, event=event)
        await process(api.store, [Message(envelope, encode(envelope))], {}, api.clock)
        return (await page(api, f"{path}?lang=en")).text

    rejected = await after(CaseDecided(outcome="rejected", reasons=("insured",)))
    assert "You may appeal once, until" in rejected and "someone else will decide" in rejected
    api.advance(days=20)
    assert "The last day to appeal was" in (await page(api, f"{path}?lang=en")).text
    due = tehran_day(api.now) - timedelta(days=1)
    late = await after(CaseAppealed(due=due, form="20-1404-173"))
    assert "Your appeal is under review" in late and "at the top of the queue" in late
    upheld = await after(CaseAppealDecided(outcome="rejected", reasons=("not_resident",)))
    assert "The first decision stands" in upheld and "final in this round" in upheld and "You may appeal" not in upheld
    assert "Does not live at the place of business" in upheld
    api_answer = (await api.request("GET", f"/v1/applications/{one['id']}")).json()
    assert api_answer["progress"]["appeal_due"] == due.isoformat() and api_answer["progress"]["appeal_decided_at"]


async def test_the_tracking_page_names_the_papers_the_last_day_and_where_to_bring_them(api: RegistrationApi) -> None:
    await api.open_round(quota=1)
    one = (await api.register()).json()
    path, sequence = f"/tracking/{one['tracking_code']}", 0

    async def after(event: Event) -> str:
        nonlocal sequence
        sequence += 1
        envelope = Envelope(source="screening", subject=one["id"], sequence=sequence, time=api.now, event=event)
        await process(api.store, [Message(envelope, encode(envelope))], {}, api.clock)
        return (await page(api, f"{path}?lang=en")).text

    today = tehran_day(api.now)
    due, later = today + timedelta(days=18), today + timedelta(days=29)
    await after(CaseOpened(due=today + timedelta(days=11)))
    asked = await after(CaseInfoRequested(items=("sample_photo", "military_card"), due=due, case_due=later))
    assert "We are waiting for papers from you" in asked and "Photo of a sample of the work" in asked
    assert "Military service card" in asked and "office in your province" in asked and "Our clock is paused" in asked
    assert "منتظر مدرکی از شما هستیم" in (await page(api, f"{path}?lang=fa")).text
    tracked = (await api.request("GET", f"/v1/tracking/{one['tracking_code']}")).json()
    assert (tracked["status"], tracked["progress"]["info_due"]) == ("info_requested", due.isoformat())
    came = await after(CaseInfoSupplied(items=("sample_photo",), case_due=later))
    assert "Your papers came." in came and "Please bring these" not in came and "An answer by" in came
    await after(CaseInfoRequested(items=("sample_photo",), due=due, case_due=later))
    assert "did not come by the last day" in await after(CaseInfoLapsed(due=due))
