"""Registering in a browser without JavaScript, with Persian digits and with mistakes."""

import pytest
from playwright.async_api import Browser, expect

from peyvand.simulation.people import national_id
from programme.text import persian_digits
from tests.browser.application_form import answer_question, answers_of, submit
from tests.browser.small_round import SmallRound
from tests.browser.visitor import TELEPHONE, Visitor, new_visitor

pytestmark = [pytest.mark.server, pytest.mark.web, pytest.mark.asyncio(loop_scope="session")]

APPLY = "/registration/apply"
SERIAL = 790_001  # of the synthetic person of this test
MISTAKES = (  # question, input, field, part of the error message
    ("national-id", {"national_id": "۹۹۹۰۰۰۰۰۱۹"}, "national_id", "رقم آخر کد ملی با بقیه نمی‌خواند"),
    ("name", {"first_name": "مریم", "last_name": ""}, "last_name", "پر کنید"),
    ("birth-date", {"day": "۳۱", "month": "12", "year": "۱۳۶۸"}, "birth_date", "تاریخ"),
    ("birth-date", {"day": "۱", "month": "1", "year": "۱۳۹۹"}, "birth_date", "دست‌کم ۱۸ سال"),
    ("mobile", {"mobile": "۰۹۱۲ ۳۴"}, "mobile", "۱۱ رقم"),
)


async def check_error(visitor: Visitor, given: dict[str, str], field: str, message: str) -> None:
    """Check that the error is beside the field and in the summary, linked, and that the input is still there."""
    page = visitor.page
    assert (await page.title()).startswith("خطا:")
    beside, above = page.locator(f"#{field}-err"), page.locator(".error-summary a")
    assert message in await beside.inner_text() and message in await above.inner_text()
    await expect(page.get_by_role("alert")).to_be_focused()  # by autofocus, without JavaScript
    invalid = page.locator(f"[aria-describedby~={field}-err]")
    assert await invalid.get_attribute("aria-invalid") == "true"
    for name, text in given.items():
        assert await page.locator(f"form.ask [name={name}]").input_value() == text
    await above.click()
    await expect(page.locator(f"#{field}")).to_be_in_viewport()
    assert page.url.endswith(f"#{field}")
    await page.keyboard.press("Tab")  # a link within the page moves the start of sequential focus


async def test_registering_without_javascript(browser: Browser, small_round: SmallRound) -> None:
    answers = answers_of(national_id(SERIAL))
    async with new_visitor(browser, small_round.system.url, TELEPHONE, java_script_enabled=False) as visitor:
        code = await register(visitor, answers)
        await visitor.press("دیدن مسیر درخواست", "link")
        assert visitor.page.url == f"{visitor.base}/registration/tracking/{code}"
        assert "پایش" in await visitor.page.locator("h1").inner_text()
        shown = await visitor.page.locator("body").inner_text()
        assert "مریم" not in shown and national_id(SERIAL) not in shown
        assert persian_digits(national_id(SERIAL)) not in shown
        await visitor.go("/registration/tracking")
        await visitor.page.locator("#code").fill(code.lower().replace("-", " "))
        await visitor.press("دیدن وضعیت")
        assert visitor.page.url == f"{visitor.base}/registration/tracking/{code}"
        assert visitor.complaints == []

    # later, in another browser
    async with new_visitor(browser, small_round.system.url, TELEPHONE, java_script_enabled=False) as visitor:
        await visitor.go(APPLY)
        await visitor.press("شروع ثبت‌نام", "link")
        for slug in answers:
            await answer_question(visitor, answers[slug])
        await submit(visitor)
        errors = await visitor.page.locator(".error-summary").inner_text()
        assert "با این کد ملی در این دوره درخواستی ثبت شده است" in errors


async def register(visitor: Visitor, answers: dict[str, dict[str, str]]) -> str:
    """Answer every question, with mistakes on the way, change one in the review; return the tracking code."""
    page = visitor.page
    await visitor.go("/")
    await visitor.press("شروع ثبت‌نام", "link")
    await visitor.press("شروع ثبت‌نام", "link")
    for n, slug in enumerate(answers, 1):
        assert page.url == f"{visitor.base}{APPLY}/{slug}"
        assert f"پرسش {persian_digits(str(n))} از ۹" in await page.locator("main").inner_text()
        for question, typed, field, message in MISTAKES:
            if question == slug:
                await answer_question(visitor, typed)
                await check_error(visitor, typed, field, message)
        await answer_question(visitor, answers[slug])

    assert page.url == f"{visitor.base}{APPLY}/check"
    await visitor.go(APPLY)  # the browser was closed in between
    assert "پاسخ‌هایتان تا اینجا نگه داشته شده است" in await page.locator(".notice").inner_text()
    await visitor.go(f"{APPLY}/name")
    assert await page.locator("#first_name").input_value() == "مریم"
    await visitor.go(f"{APPLY}/check")
    review = await page.locator("main").inner_text()
    for shown in ("شاهرود", "مریم آزمون", "۱۴ تیر ۱۳۶۸", "هنوز چیزی ثبت نشده است"):
        assert shown in review
    await visitor.follow(page.locator(f".facts a[href='{APPLY}/county']"))
    await answer_question(visitor, {"county": "2001"})
    assert page.url == f"{visitor.base}{APPLY}/check"
    assert "شاهرود" not in await page.locator("main").inner_text()

    await visitor.press("درست است، ثبت کن")  # without consent
    assert await page.get_by_role("alert").is_visible() and await page.locator("#consent-err").is_visible()
    await submit(visitor)
    assert "درخواست شما ثبت شد" in await page.locator("h1").inner_text()
    return await page.locator(".notice .code").inner_text()
