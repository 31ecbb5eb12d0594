"""An officer's day at the desk: signs in, takes the next case, decides it, later identifies what somebody can make."""

import asyncio

import pytest
from playwright.async_api import Browser

from programme.text import digits
from tests.browser.small_round import FARS, SEMNAN, Round
from tests.browser.visitor import Visit, visiting

pytestmark = [pytest.mark.server, pytest.mark.web, pytest.mark.asyncio(loop_scope="session")]


async def signs_in(visit: Visit, role: str, province: str) -> None:
    """Through the development issuer's role picker, and back to where one wanted to go."""
    page = visit.page
    await visit.go("/screening/")
    assert page.url.startswith(f"{visit.base}/issuer/authorize")
    await page.locator("#role").select_option(role)
    await page.locator("#province").select_option(province)
    await page.locator("#name").fill("همکار یک")
    await visit.press("ورود")
    assert page.url == f"{visit.base}/screening/"


async def test_from_the_next_case_to_what_the_person_can_make(browser: Browser, the_round: Round) -> None:
    async with visiting(browser, the_round.system.url) as visit:
        page = visit.page
        await signs_in(visit, "screener", SEMNAN)
        assert "صف غربالگری سمنان" in await page.locator("h1").inner_text()
        waiting = await open_cases(visit)
        assert waiting >= len(the_round.open[SEMNAN])
        first = await page.locator("tbody th[scope=row] a").first.get_attribute("href")

        await visit.press("برداشتن پروندهٔ بعدی")
        assert page.url == f"{visit.base}{first}"  # the most urgent one
        case = page.url.rpartition("/")[2]
        await page.locator("#d-approve").check()
        await visit.press("ثبت تصمیم")  # nobody was asked anything
        assert "تأیید نمی‌شود" in await page.get_by_role("alert").inner_text()
        assert await page.locator("#d-approve").is_checked()
        questions = page.locator("[name^='rule.'][value=yes]")
        for n in range(await questions.count()):
            await questions.nth(n).check()
        await visit.press("ثبت تصمیم")
        assert "ثبت شد" in await page.get_by_role("status").inner_text()
        assert await page.get_by_role("heading", name="تصمیم: پذیرفته").is_visible()

        await visit.go("/screening/")
        assert await open_cases(visit) == waiting - 1
        seated = await awaits(visit, case, the_round)
        await visit.go(f"/screening/cases/{seated}")
        await visit.press("ثبت ظرفیت")  # nothing was chosen
        assert await page.get_by_role("alert").is_visible()
        for name in ("product_group", "unit", "monthly_band", "skill_level"):
            await page.locator(f"#{name}").select_option(index=1)
        await page.locator("[name=needs]").first.check()
        await visit.press("ثبت ظرفیت")
        assert await page.get_by_role("heading", name="ظرفیت", exact=True).is_visible()
        assert await page.locator(".st-done", has_text="ظرفیت شناسایی شده").is_visible()

        await visit.go(f"/screening/cases/{the_round.open[FARS][0]}", 404)
        assert "پیدا نشد" in await page.locator("h1").inner_text()
        await visit.go("/screening/")
        await visit.press("خروج")
        await visit.go("/screening/")
        assert page.url.startswith(f"{visit.base}/issuer/authorize")
        assert visit.noise == []


async def open_cases(visit: Visit) -> int:
    """How many the queue says are open."""
    return int(digits(await visit.page.locator(".counts a[href='?f=all'] b").inner_text()))


async def awaits(visit: Visit, case: str, the_round: Round) -> str:
    """The case whose person has been given a seat: this one, or where none was free another that waits."""
    await the_round.rest()
    await visit.go("/screening/?state=awaiting_capacity")
    links = visit.page.locator("tbody th[scope=row] a")
    hrefs = await asyncio.gather(*(links.nth(n).get_attribute("href") for n in range(await links.count())))
    cases = [str(href).rpartition("/")[2] for href in hrefs]
    assert cases, "nobody has a seat"
    return case if case in cases else cases[0]


async def test_an_auditor_looks_and_decides_nothing(browser: Browser, the_round: Round) -> None:
    async with visiting(browser, the_round.system.url) as visit:
        await signs_in(visit, "auditor", SEMNAN)
        assert await visit.page.get_by_role("button", name="برداشتن پروندهٔ بعدی").count() == 0
        await visit.go(f"/screening/cases/{the_round.open[SEMNAN][-1]}")
        assert await visit.page.locator("main form").count() == 0


async def test_who_may_not_read_the_queue_is_told_so(browser: Browser, the_round: Round) -> None:
    async with visiting(browser, the_round.system.url) as visit:
        page = visit.page
        await visit.go("/screening/")
        await page.locator("#role").select_option("lead")
        await page.locator("#lead").fill("lead-1")
        await visit.press("ورود")
        assert "برای نقش شما باز نیست" in await page.locator("h1").inner_text()
