"""The pages of an officer: sign in, claim the next case, decide it, and identify a capacity."""

import asyncio

import pytest
from playwright.async_api import Browser

from programme.text import digits
from tests.browser.small_round import FARS, SEMNAN, SmallRound
from tests.browser.visitor import Visitor, new_visitor

pytestmark = [pytest.mark.server, pytest.mark.web, pytest.mark.asyncio(loop_scope="session")]


async def sign_in(visitor: Visitor, role: str, province: str) -> None:
    """Sign in with the development issuer, which redirects to the requested page."""
    page = visitor.page
    await visitor.go("/screening/")
    assert page.url.startswith(f"{visitor.base}/issuer/authorize")
    await page.locator("#role").select_option(role)
    await page.locator("#province").select_option(province)
    await page.locator("#name").fill("همکار یک")
    await visitor.press("ورود")
    assert page.url == f"{visitor.base}/screening/"


async def test_an_officer_decides_a_case_and_identifies_a_capacity(browser: Browser, small_round: SmallRound) -> None:
    async with new_visitor(browser, small_round.system.url) as visitor:
        page = visitor.page
        await sign_in(visitor, "screener", SEMNAN)
        assert "صف پایش سمنان" in await page.locator("h1").inner_text()
        before = await open_cases(visitor)
        assert before >= len(small_round.open[SEMNAN])
        first = await page.locator("tbody th[scope=row] a").first.get_attribute("href")

        await visitor.press("برداشتن پروندهٔ بعدی")
        assert page.url == f"{visitor.base}{first}"  # the most urgent one
        case = page.url.rpartition("/")[2]
        await page.locator("#d-approve").check()
        await visitor.press("ثبت تصمیم")  # no condition was answered
        assert "تأیید نمی‌شود" in await page.get_by_role("alert").inner_text()
        assert await page.locator("#d-approve").is_checked()
        questions = page.locator("[name^='rule.'][value=yes]")
        for n in range(await questions.count()):
            await questions.nth(n).check()
        await visitor.press("ثبت تصمیم")
        assert "ثبت شد" in await page.get_by_role("status").inner_text()
        assert await page.get_by_role("heading", name="تصمیم: تأیید").is_visible()

        await visitor.go("/screening/")
        assert await open_cases(visitor) == before - 1
        admitted = await case_awaiting_capacity(visitor, case, small_round)
        await visitor.go(f"/screening/cases/{admitted}")
        await visitor.press("ثبت ظرفیت")  # nothing was chosen
        assert await page.get_by_role("alert").is_visible()
        for name in ("product_group", "unit", "monthly_band", "skill_level"):
            await page.locator(f"#{name}").select_option(index=1)
        await page.locator("[name=needs]").first.check()
        await visitor.press("ثبت ظرفیت")
        assert await page.get_by_role("heading", name="ظرفیت", exact=True).is_visible()
        assert await page.locator(".st-done", has_text="ظرفیت شناسایی شده").is_visible()

        await visitor.go(f"/screening/cases/{small_round.open[FARS][0]}", 404)
        assert "پیدا نشد" in await page.locator("h1").inner_text()
        await visitor.go("/screening/")
        await visitor.press("خروج")
        await visitor.go("/screening/")
        assert page.url.startswith(f"{visitor.base}/issuer/authorize")
        assert visitor.complaints == []


async def open_cases(visitor: Visitor) -> int:
    """Return the number of open cases in the queue."""
    return int(digits(await visitor.page.locator(".counts a[href='?f=all'] b").inner_text()))


async def case_awaiting_capacity(visitor: Visitor, case: str, small_round: SmallRound) -> str:
    """Return this case if its applicant has a seat, else another one that awaits its capacity."""
    await small_round.wait_until_quiescent()
    await visitor.go("/screening/?state=awaiting_capacity")
    links = visitor.page.locator("tbody th[scope=row] a")
    hrefs = await asyncio.gather(*(links.nth(n).get_attribute("href") for n in range(await links.count())))
    cases = [str(href).rpartition("/")[2] for href in hrefs]
    assert cases, "no applicant has a seat"
    return case if case in cases else cases[0]


async def test_an_auditor_sees_cases_and_cannot_decide(browser: Browser, small_round: SmallRound) -> None:
    async with new_visitor(browser, small_round.system.url) as visitor:
        await sign_in(visitor, "auditor", SEMNAN)
        assert await visitor.page.get_by_role("button", name="برداشتن پروندهٔ بعدی").count() == 0
        await visitor.go(f"/screening/cases/{small_round.open[SEMNAN][-1]}")
        assert await visitor.page.locator("main form").count() == 0


async def test_the_queue_explains_that_a_role_may_not_read_it(browser: Browser, small_round: SmallRound) -> None:
    async with new_visitor(browser, small_round.system.url) as visitor:
        page = visitor.page
        await visitor.go("/screening/")
        await page.locator("#role").select_option("lead")
        await page.locator("#lead").fill("lead-1")
        await visitor.press("ورود")
        assert "این صفحه برای" in await page.locator("h1").inner_text()
        assert "پیشران" in await page.locator("main dl").inner_text(), "the role that one has"
