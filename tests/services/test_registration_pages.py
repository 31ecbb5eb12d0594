"""The applicant's pages: one question at a time, a draft that only its browser holds, a code at the end."""

import re
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

from contracts.envelope import Envelope, encode
from contracts.events import CaseDecided, CaseOpened, Event
from kernel.batch import process
from kernel.record import Message
from registration.api.steps import STEPS
from tests.support.registration_api import RegistrationOffice, a_national_id, registration_office

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
async def office(tmp_path: Path) -> AsyncIterator[RegistrationOffice]:
    async with registration_office(tmp_path) as open_office:
        open_office.client.headers["Accept"] = "text/html"
        yield open_office


async def page(office: RegistrationOffice, path: str, **data: str) -> httpx.Response:
    """One page, or one form that is sent."""
    if data:
        return await office.client.post(f"/registration{path}", data=data)
    return await office.client.get(f"/registration{path}")


async def answer_all(office: RegistrationOffice, **changes: dict[str, str]) -> httpx.Response:
    """Every question answered; the last answer leads to the review."""
    for step in STEPS:
        last = await page(office, f"/apply/{step.slug}", **(ANSWERS | changes)[step.slug])
        assert last.status_code == 303, last.text
    return last


async def send(office: RegistrationOffice, key: str = "") -> httpx.Response:
    """What was reviewed is sent."""
    review = await page(office, "/apply/check")
    made = re.search(r'name="key" value="([0-9a-f]{32})"', review.text)
    assert made, review.text
    return await page(office, "/apply/check", key=key or made[1], consent="1404-1")


async def test_one_question_a_page_then_a_review_then_a_code(office: RegistrationOffice) -> None:
    await office.open()
    start = await page(office, "/apply")
    assert "شروع ثبت‌نام" in start.text and 'dir="rtl"' in start.text
    for n, step in enumerate(STEPS, 1):
        asked = await page(office, f"/apply/{step.slug}")
        assert asked.status_code == 200 and asked.text.count("<h1>") == 1, step.slug
        assert f"پرسش {'۰۱۲۳۴۵۶۷۸۹'[n]} از ۹" in asked.text
        sent = await page(office, f"/apply/{step.slug}", **ANSWERS[step.slug])
        following = STEPS[n].slug if n < len(STEPS) else "check"
        assert sent.headers["Location"] == f"/registration/apply/{following}"
    review = await page(office, "/apply/check")
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
    done = await send(office)
    assert done.status_code == 303
    code = unquote(done.headers["Location"]).partition("code=")[2]
    kept = await page(office, f"/done?code={code}")
    assert code in kept.text
    followed = await page(office, f"/tracking/{code}")
    assert followed.status_code == 200 and "در نوبت پایش" in followed.text
    for secret in SECRETS:
        assert secret not in followed.text + kept.text
    [record] = office.store.find(lambda i: "status" in i)
    assert record.state.now.intake_channel == "web" and record.state.place.county == "2003"
    person = (await office.office.persons.open([record]))[record.subject]
    assert person.national_id == "9990000018" and person.first_name == "مریم"
    assert (await page(office, "/apply/check")).status_code == 303, "the draft is gone"


async def test_a_draft_is_kept_by_the_browser_alone_and_cannot_be_read_or_changed(office: RegistrationOffice) -> None:
    await office.open()
    await answer_all(office)
    cookie = office.client.cookies["peyvand_draft"]
    for secret in (*SECRETS, "IR-20", "OTk5"):
        assert secret not in cookie
    assert len(cookie) < 3_500 and not office.store.find(lambda i: "status" in i)
    assert "نگه داشته شده است" in (await page(office, "/apply")).text
    office.client.cookies.clear()
    office.client.cookies.set("peyvand_draft", cookie[:-8] + "AAAAAAA=", path="/registration/apply")
    assert (await page(office, "/apply/check")).headers["Location"] == "/registration/apply/province"


async def test_sent_twice_is_registered_once_with_one_answer(office: RegistrationOffice) -> None:
    await office.open()
    await answer_all(office)
    cookies = dict(office.client.cookies)
    first = await send(office, key="0" * 32)
    office.client.cookies.update(cookies)
    again = await send(office, key="0" * 32)
    office.client.cookies.clear()
    late = await page(office, "/apply/check", key="0" * 32, consent="1404-1")
    assert first.headers["Location"] == again.headers["Location"] == late.headers["Location"]
    assert len(office.store.find(lambda i: "status" in i)) == 1


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
async def test_a_fault_stands_in_the_title_the_summary_and_beside_the_field(
    office: RegistrationOffice, slug: str, typed: dict[str, str], field: str, message: str
) -> None:
    await office.open()
    await page(office, "/apply/province", province="IR-20")
    wrong = await page(office, f"/apply/{slug}", **typed)
    assert wrong.status_code == 422 and "<title>خطا: " in wrong.text and 'role="alert"' in wrong.text
    assert f'href="#{field}"' in wrong.text and f'id="{field}"' in wrong.text and f'id="{field}-err"' in wrong.text
    assert 'aria-invalid="true"' in wrong.text and message in wrong.text
    for value in typed.values():
        if value.strip() and field not in ("province", "sex"):
            assert f'value="{value}"' in wrong.text, "what was typed stays"


async def test_another_province_asks_for_its_county_again(office: RegistrationOffice) -> None:
    await office.open()
    await answer_all(office)
    moved = await page(office, "/apply/province", province="IR-07")
    assert moved.headers["Location"] == "/registration/apply/county"
    back = await page(office, "/apply/county", county="0701")
    assert back.headers["Location"] == "/registration/apply/check"


async def test_without_consent_nothing_is_registered(office: RegistrationOffice) -> None:
    await office.open()
    await answer_all(office)
    refused = await page(office, "/apply/check", key="0" * 32)
    assert refused.status_code == 422 and 'href="#consent"' in refused.text and 'value="' + "0" * 32 in refused.text
    assert not office.store.find(lambda i: "status" in i)


async def test_who_is_registered_already_is_told_that_and_nothing_else(office: RegistrationOffice) -> None:
    await office.open()
    made = (await office.register()).json()
    await answer_all(office, province={"province": "IR-07"}, county={"county": "0701"})
    refused = await send(office)
    assert refused.status_code == 409 and "با این کد ملی در این دوره درخواستی ثبت شده است" in refused.text
    assert made["tracking_code"] not in refused.text and "سمنان" not in refused.text
    answers = [await send(office) for _ in range(7)]
    assert answers[-1].status_code == 429 and "کمی صبر کنید" in answers[-1].text


async def test_answers_can_be_deleted(office: RegistrationOffice) -> None:
    await office.open()
    await answer_all(office)
    await office.client.post("/registration/apply/forget")
    assert "شروع ثبت‌نام" in (await page(office, "/apply")).text


async def test_no_round_no_form(office: RegistrationOffice) -> None:
    assert "ثبت‌نام اکنون باز نیست" in (await page(office, "/apply")).text
    assert (await page(office, "/apply/province")).headers["Location"] == "/registration/apply"
    assert (await page(office, "/apply/nothing")).status_code == 404


async def test_english(office: RegistrationOffice) -> None:
    await office.open()
    asked = await page(office, "/apply/national-id?lang=en")
    assert 'lang="en" dir="ltr"' in asked.text and "What is your national ID?" in asked.text
    wrong = await page(office, "/apply/national-id", national_id="9990000019")
    assert "<title>Error: " in wrong.text and "The last digit does not fit the others" in wrong.text


async def test_no_page_styles_or_scripts_inline(office: RegistrationOffice) -> None:
    await office.open()
    await answer_all(office)
    paths = ["/apply", "/apply/check", "/done?code=A", "/tracking", *(f"/apply/{step.slug}" for step in STEPS)]
    for path in paths:
        text = (await page(office, path)).text
        assert not re.search(r"<style|style=|<script(?![^>]*src=)| on[a-z]+=", text), path
        assert not re.search(r"(?:src|href)=\"https?:", text), path


async def test_a_tracking_code_that_is_none(office: RegistrationOffice) -> None:
    missing = await page(office, "/tracking/AAAAAAAAAA")
    assert missing.status_code == 404 and "پیدا نشد" in missing.text and 'href="#code"' in missing.text
    assert (await page(office, "/tracking?code=9h2k4 mzq7b")).headers["Location"].endswith("/tracking/9H2K4-MZQ7B")
    assert (await page(office, "/tracking?code=x")).status_code == 404


async def test_what_the_tracking_page_says_on_the_way(office: RegistrationOffice) -> None:
    await office.open(quota=1)
    heard: dict[str, int] = {}

    async def says(subject: str, event: Event) -> None:
        heard[subject] = heard.get(subject, 0) + 1
        told = Envelope(source="screening", subject=subject, sequence=heard[subject], time=office.now, event=event)
        await process(office.store, [Message(told, encode(told))], {}, office.clock)
        await office.work()

    people = []
    for n in range(4):
        people.append((await office.register(national_id=a_national_id(n + 10))).json())
        office.later(minutes=1)
    first, second, third, fourth = people
    for one in people:
        await says(one["id"], CaseOpened(due=date(2025, 10, 11)))
    shown = await page(office, f"/tracking/{first['tracking_code']}")
    assert "در حال پایش" in shown.text and "روز کاری مانده است" in shown.text
    for one in (first, second, third):
        await says(one["id"], CaseDecided(outcome="approved"))
    await says(fourth["id"], CaseDecided(outcome="rejected", reasons=("insured",)))
    assert "پذیرفته شدید" in (await page(office, f"/tracking/{first['tracking_code']}")).text
    assert "شما نفر ۲ در فهرست انتظارید" in (await page(office, f"/tracking/{third['tracking_code']}")).text
    assert "بیمهٔ اجباری دارد" in (await page(office, f"/tracking/{fourth['tracking_code']}")).text
    await office.ask("POST", f"/v1/applications/{first['id']}/withdrawal", json={"reason": "moved"})
    await office.work()
    assert "انصراف شما ثبت شده است" in (await page(office, f"/tracking/{first['tracking_code']}")).text
    assert "پذیرفته شدید" in (await page(office, f"/tracking/{second['tracking_code']}")).text
    english = await page(office, f"/tracking/{third['tracking_code']}?lang=en")
    assert "You are number 1 on the waiting list" in english.text
