"""The open ranking: it updates without a reload, announces moves, and stops while it is held."""

import asyncio

import pytest
from playwright.async_api import Browser, Page, expect

from programme.text import number
from tests.browser.small_round import LAST, SmallRound
from tests.browser.visitor import Visitor, new_visitor

pytestmark = [pytest.mark.server, pytest.mark.web, pytest.mark.asyncio(loop_scope="session")]

MOVES_WITHIN = 60_000  # milliseconds: at most one update in five seconds, on a busy machine
ROW = f"tr[data-province={LAST}]"


async def rank(page: Page) -> str:
    """Return the rank of the province on the open page."""
    return await page.locator(ROW).get_attribute("data-rank") or ""


async def holds(page: Page, expression: str) -> None:
    """Wait until an expression holds; the content security policy forbids `wait_for_function`."""
    for _ in range(MOVES_WITHIN // 100):
        if await page.evaluate(expression):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(expression)


async def test_a_registration_updates_the_open_table(visitor: Visitor, small_round: SmallRound) -> None:
    page = visitor.page
    await visitor.go("/ranking")
    await page.evaluate("window.same = true")  # lost by a reload
    before, events = await rank(page), await page.locator("#asof .n").first.inner_text()
    await small_round.register(LAST)
    await expect(page.locator(ROW)).not_to_have_attribute("data-rank", before, timeout=MOVES_WITHIN)
    after = await rank(page)
    assert int(after) < int(before) and await page.evaluate("window.same")
    announcement = f"ایلام از رتبهٔ {number(int(before), 'fa')} به رتبهٔ {number(int(after), 'fa')} آمد."
    await expect(page.locator("#moves")).to_have_text(announcement)
    assert await page.locator("#moves").get_attribute("role") == "status"
    await expect(page.locator(f"{ROW}.moved")).to_have_count(1)
    assert await page.locator(f"{ROW} .rk b").inner_text() == number(int(after), "fa")
    assert await page.locator("#asof .n").first.inner_text() != events  # the as-of line was updated, too
    tile = page.locator(f".tiles a[href='#p-{LAST[3:]}'] b")
    assert await tile.inner_text() == number(int(after), "fa")


async def test_a_held_table_does_not_change(visitor: Visitor, small_round: SmallRound) -> None:
    page = visitor.page
    await visitor.go("/ranking?table=1")
    button = page.locator("[data-live-pause]")
    await button.click()
    assert await button.get_attribute("aria-pressed") == "true"
    version = await page.locator("#rows").get_attribute("data-version")
    await small_round.register(LAST)
    await expect(button).to_contain_text("خبر تازه", timeout=MOVES_WITHIN)
    await asyncio.sleep(6)  # longer than the pause between two updates
    assert await page.locator("#rows").get_attribute("data-version") == version
    await page.reload()
    assert await button.get_attribute("aria-pressed") == "true"  # the choice is stored
    version = await page.locator("#rows").get_attribute("data-version")
    await small_round.register(LAST)
    await expect(button).to_contain_text("خبر تازه", timeout=MOVES_WITHIN)
    await button.click()  # shows the news and keeps holding
    await expect(page.locator("#rows")).not_to_have_attribute("data-version", str(version), timeout=MOVES_WITHIN)
    assert await button.get_attribute("aria-pressed") == "true"
    await button.click()
    assert await button.get_attribute("aria-pressed") == "false"


async def test_the_table_does_not_change_while_it_has_the_focus(visitor: Visitor, small_round: SmallRound) -> None:
    page = visitor.page
    await visitor.go("/ranking")
    await page.locator(f"{ROW} a").focus()
    version = str(await page.locator("#rows").get_attribute("data-version"))
    await small_round.register(LAST)
    await asyncio.sleep(7)
    await expect(page.locator("#rows")).to_have_attribute("data-version", version)
    await expect(page.locator(f"{ROW} a")).to_be_focused()
    await page.locator("h1").click()
    await page.evaluate("document.activeElement.blur()")
    await expect(page.locator("#rows")).not_to_have_attribute("data-version", version, timeout=MOVES_WITHIN)


async def test_a_page_that_missed_an_event_asks_for_the_whole_table(visitor: Visitor) -> None:
    page = visitor.page
    await page.add_init_script(
        "const Native = EventSource; window.streams = [];"
        "window.EventSource = class extends Native { constructor(url) { super(url); streams.push(this); } };"
        "window.EventSource.CLOSED = Native.CLOSED;"
    )
    await visitor.go("/ranking")
    await holds(page, "streams.length === 1 && streams[0].readyState === 1")
    later = "JSON.stringify({since: -1, version: 1, parts: []})"
    await page.evaluate(f"streams[0].dispatchEvent(new MessageEvent('rows', {{data: {later}}}))")
    await holds(page, "streams.length === 2 && streams[1].readyState === 1 && streams[0].readyState === 2")
    assert int(await page.locator("#rows").get_attribute("data-version") or 0) > 1


async def test_the_ranking_works_without_javascript(browser: Browser, small_round: SmallRound) -> None:
    async with new_visitor(browser, small_round.system.url, java_script_enabled=False) as visitor:
        page = visitor.page
        for table in ("composite", "1", "2", "3"):
            await visitor.go(f"/ranking?table={table}")
            assert await page.locator("#rows tr").count() == 31
            assert await page.locator("[data-live-pause]").is_hidden() and await page.locator("#stale").is_hidden()
        await visitor.follow(page.locator(".tabs a").first)
        await visitor.follow(page.locator(f"{ROW} a"))
        assert page.url == f"{visitor.base}/provinces/{LAST}"
        assert visitor.complaints == []
