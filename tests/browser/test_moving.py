"""The ranking moves while one looks: without a reload, told in a sentence, and not while one holds it."""

import asyncio

import pytest
from playwright.async_api import Browser, Page, expect

from programme.text import number
from tests.browser.small_round import LAST, Round
from tests.browser.visitor import Visit, visiting

pytestmark = [pytest.mark.server, pytest.mark.web, pytest.mark.asyncio(loop_scope="session")]

MOVES_WITHIN = 20_000  # milliseconds: at most one swap in five seconds, on a busy machine
ROW = f"tr[data-province={LAST}]"


async def rank(page: Page) -> str:
    """Where the province stands on the open page."""
    return await page.locator(ROW).get_attribute("data-rank") or ""


async def test_a_registration_moves_the_open_table(visit: Visit, the_round: Round) -> None:
    page = visit.page
    await visit.go("/ranking")
    await page.evaluate("window.same = true")  # what a reload would forget
    before, events = await rank(page), await page.locator("#asof .n").first.inner_text()
    await the_round.register(LAST)
    await expect(page.locator(ROW)).not_to_have_attribute("data-rank", before, timeout=MOVES_WITHIN)
    after = await rank(page)
    assert int(after) < int(before) and await page.evaluate("window.same")
    spoken = f"ایلام از رتبهٔ {number(int(before), 'fa')} به رتبهٔ {number(int(after), 'fa')} آمد."
    await expect(page.locator("#moves")).to_have_text(spoken)
    assert await page.locator("#moves").get_attribute("role") == "status"
    await expect(page.locator(f"{ROW}.moved")).to_have_count(1)
    assert await page.locator(f"{ROW} .rk b").inner_text() == number(int(after), "fa")
    assert await page.locator("#asof .n").first.inner_text() != events  # the as-of line came along
    tile = page.locator(f".tiles a[href='#p-{LAST[3:]}'] b")
    assert await tile.inner_text() == number(int(after), "fa")


async def test_a_table_that_is_held_holds(visit: Visit, the_round: Round) -> None:
    page = visit.page
    await visit.go("/ranking?table=1")
    button = page.locator("[data-live-pause]")
    await button.click()
    assert await button.get_attribute("aria-pressed") == "true"
    version = await page.locator("#rows").get_attribute("data-version")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await the_round.register(LAST)
    await expect(button).to_contain_text("خبر تازه", timeout=MOVES_WITHIN)
    await asyncio.sleep(6)  # longer than the pause between two swaps
    assert await page.locator("#rows").get_attribute("data-version") == version
    assert not any("/ranking/rows" in each for each in asked)
    await page.reload()
    assert await button.get_attribute("aria-pressed") == "true"  # it is remembered
    version = await page.locator("#rows").get_attribute("data-version")
    await the_round.register(LAST)
    await expect(button).to_contain_text("خبر تازه", timeout=MOVES_WITHIN)
    await button.click()  # shows what is new, and holds on
    await expect(page.locator("#rows")).not_to_have_attribute("data-version", str(version), timeout=MOVES_WITHIN)
    assert await button.get_attribute("aria-pressed") == "true"
    await button.click()
    assert await button.get_attribute("aria-pressed") == "false"


async def test_nothing_moves_under_a_reader_who_is_in_the_table(visit: Visit, the_round: Round) -> None:
    page = visit.page
    await visit.go("/ranking")
    await page.locator(f"{ROW} a").focus()
    version = str(await page.locator("#rows").get_attribute("data-version"))
    await the_round.register(LAST)
    await asyncio.sleep(7)
    await expect(page.locator("#rows")).to_have_attribute("data-version", version)
    await expect(page.locator(f"{ROW} a")).to_be_focused()
    await page.locator("h1").click()
    await page.evaluate("document.activeElement.blur()")
    await expect(page.locator("#rows")).not_to_have_attribute("data-version", version, timeout=MOVES_WITHIN)


async def test_without_a_script_it_is_a_page(browser: Browser, the_round: Round) -> None:
    async with visiting(browser, the_round.system.url, java_script_enabled=False) as visit:
        page = visit.page
        for table in ("composite", "1", "2", "3"):
            await visit.go(f"/ranking?table={table}")
            assert await page.locator("#rows tr").count() == 31
            assert await page.locator("[data-live-pause]").is_hidden() and await page.locator("#stale").is_hidden()
        await visit.follow(page.locator(".tabs a").first)
        await visit.follow(page.locator(f"{ROW} a"))
        assert page.url == f"{visit.base}/provinces/{LAST}"
        assert visit.noise == []
