"""A person registers with a browser that runs no script, digits as they are written in Persian, mistakes included."""

import pytest
from playwright.async_api import Browser, expect

from peyvand.simulation.people import national_id
from programme.text import persian_digits
from tests.browser.small_round import Round
from tests.browser.visitor import TELEPHONE, Visit, visiting

pytestmark = [pytest.mark.server, pytest.mark.web, pytest.mark.asyncio(loop_scope="session")]

APPLY = "/registration/apply"
SERIAL = 790_001  # of this person alone
MISTAKES = (  # question, what is typed, what is told beside the field and above
    ("national-id", {"national_id": "۹۹۹۰۰۰۰۰۱۹"}, "national_id", "رقم آخر کد ملی با بقیه نمی‌خواند"),
    ("name", {"first_name": "مریم", "last_name": ""}, "last_name", "پر کنید"),
    ("birth-date", {"day": "۳۱", "month": "12", "year": "۱۳۶۸"}, "birth_date", "تاریخ"),
    ("birth-date", {"day": "۱", "month": "1", "year": "۱۳۹۹"}, "birth_date", "دست‌کم ۱۸ سال"),
    ("mobile", {"mobile": "۰۹۱۲ ۳۴"}, "mobile", "۱۱ رقم"),
)


def answers(nid: str) -> dict[str, dict[str, str]]:
    """What this person answers, question by question."""
    return {
        "province": {"province": "IR-20"},
        "county": {"county": "2003"},
        "national-id": {
            "national_id": f"{persian_digits(nid[:3])} {persian_digits(nid[3:9])}-{persian_digits(nid[9])}"
        },
        "name": {"first_name": "مریم", "last_name": "آزمون"},
        "birth-date": {"day": "۱۴", "month": "4", "year": "۱۳۶۸"},
        "sex": {"sex": "female"},
        "mobile": {"mobile": "۰۹۰۰ ۰۷۹ ۰۰۰۱"},
        "field": {"field": "JF003"},
        "work-mode": {"work_mode": "independent"},
    }


async def answer(visit: Visit, given: dict[str, str]) -> None:
    """Fills what the page asks, and sends it."""
    for name, text in given.items():
        field = visit.page.locator(f"form.ask [name={name}]")
        if await field.count() > 1:
            await visit.page.locator(f"form.ask [name={name}][value={text}]").check()
        elif await field.evaluate("each => each.tagName") == "SELECT":
            await field.select_option(text)
        else:
            await field.fill(text)
    await visit.press("ادامه")


async def meets_the_mistake(visit: Visit, given: dict[str, str], field: str, told: str) -> None:
    """The error stands beside the field and above, the two are tied, and what was typed is still there."""
    page = visit.page
    assert (await page.title()).startswith("خطا:")
    beside, above = page.locator(f"#{field}-err"), page.locator(".error-summary a")
    assert told in await beside.inner_text() and told in await above.inner_text()
    await expect(page.get_by_role("alert")).to_be_focused()  # by autofocus: there is no script here
    wrong = page.locator(f"[aria-describedby~={field}-err]")
    assert await wrong.get_attribute("aria-invalid") == "true"
    for name, text in given.items():
        assert await page.locator(f"form.ask [name={name}]").input_value() == text
    await above.click()
    await expect(page.locator(f"#{field}")).to_be_in_viewport()
    assert page.url.endswith(f"#{field}")
    await page.keyboard.press("Tab")  # a link within the page moves the place from which one goes on


async def test_without_a_script_from_the_first_question_to_the_code(browser: Browser, the_round: Round) -> None:
    given = answers(national_id(SERIAL))
    async with visiting(browser, the_round.system.url, TELEPHONE, java_script_enabled=False) as visit:
        code = await registers(visit, given)
        await visit.press("دیدن مسیر درخواست", "link")
        assert visit.page.url == f"{visit.base}/registration/tracking/{code}"
        assert "پایش" in await visit.page.locator("h1").inner_text()
        told = await visit.page.locator("body").inner_text()
        assert (
            "مریم" not in told and national_id(SERIAL) not in told and persian_digits(national_id(SERIAL)) not in told
        )
        await visit.go("/registration/tracking")
        await visit.page.locator("#code").fill(code.lower().replace("-", " "))
        await visit.press("دیدن وضعیت")
        assert visit.page.url == f"{visit.base}/registration/tracking/{code}"
        assert visit.noise == []

    async with visiting(browser, the_round.system.url, TELEPHONE, java_script_enabled=False) as visit:  # another day
        await visit.go(APPLY)
        await visit.press("شروع ثبت‌نام", "link")
        for slug in given:
            await answer(visit, given[slug])
        await sends(visit)
        assert (
            "با این کد ملی در این دوره درخواستی ثبت شده است" in await visit.page.locator(".error-summary").inner_text()
        )


async def registers(visit: Visit, given: dict[str, dict[str, str]]) -> str:
    """Every question, every mistake on the way, the review and a changed answer; returns the tracking code."""
    page = visit.page
    await visit.go("/")
    await visit.press("شروع ثبت‌نام", "link")
    await visit.press("شروع ثبت‌نام", "link")
    for n, slug in enumerate(given, 1):
        assert page.url == f"{visit.base}{APPLY}/{slug}"
        assert f"پرسش {persian_digits(str(n))} از ۹" in await page.locator("main").inner_text()
        for asked, typed, field, told in MISTAKES:
            if asked == slug:
                await answer(visit, typed)
                await meets_the_mistake(visit, typed, field, told)
        await answer(visit, given[slug])

    assert page.url == f"{visit.base}{APPLY}/check"
    await visit.go(APPLY)  # the browser was closed in between
    assert "پاسخ‌هایتان تا اینجا نگه داشته شده است" in await page.locator(".notice").inner_text()
    await visit.go(f"{APPLY}/name")
    assert await page.locator("#first_name").input_value() == "مریم"
    await visit.go(f"{APPLY}/check")
    review = await page.locator("main").inner_text()
    for shown in ("شاهرود", "مریم آزمون", "۱۴ تیر ۱۳۶۸", "هنوز چیزی ثبت نشده است"):
        assert shown in review
    await visit.follow(page.locator(f".facts a[href='{APPLY}/county']"))
    await answer(visit, {"county": "2001"})
    assert page.url == f"{visit.base}{APPLY}/check"
    assert "شاهرود" not in await page.locator("main").inner_text()

    await visit.press("درست است، ثبت کن")  # without consent
    assert await page.get_by_role("alert").is_visible() and await page.locator("#consent-err").is_visible()
    await sends(visit)
    assert "درخواست شما ثبت شد" in await page.locator("h1").inner_text()
    return await page.locator(".notice .code").inner_text()


async def sends(visit: Visit) -> None:
    """Agrees, and sends what was reviewed."""
    await visit.page.locator("#consent").check()
    await visit.press("درست است، ثبت کن")
