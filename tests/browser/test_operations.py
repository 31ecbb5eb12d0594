"""The operations page in a browser: correct in both languages, and updated until it is held."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Browser

from peyvand.local_cluster.processes import listening, wait_until
from tests.browser.pages import LANGUAGES, check_page
from tests.browser.visitor import DESKTOP, TELEPHONE, new_visitor
from tests.support.system import RunningSystem

pytestmark = [pytest.mark.server, pytest.mark.web, pytest.mark.asyncio(loop_scope="session")]


async def test_the_page_updates_until_it_is_held(browser: Browser, system: RunningSystem, tmp_path: Path) -> None:
    up = await asyncio.to_thread(wait_until, lambda: listening(system.state.ports["operations"]), 60)
    assert up, "the operations page does not start"
    async with new_visitor(browser, system.url) as visitor:
        page = visitor.page
        await visitor.go("/operations")
        assert page.url.startswith(f"{system.url}/issuer/authorize")
        await page.locator("#role").select_option("operator")
        await page.locator("#name").fill("همکار شب")
        await visitor.press("ورود")
        assert page.url == f"{system.url}/operations"
        for lang in LANGUAGES:
            await visitor.go(f"/operations?lang={lang}")
            assert await page.locator("tbody tr").count() >= 4 + 8
            await visitor.resize(TELEPHONE, "light")
            await page.screenshot(path=str(tmp_path / f"telephone-{lang}.png"), full_page=True)
            await check_page(visitor, lang)
        await visitor.resize(DESKTOP, "light")
        await page.screenshot(path=str(tmp_path / "operations.png"), full_page=True)
        first = await page.locator(".asof time").get_attribute("datetime")
        for _ in range(120):
            if await page.locator(".asof time").get_attribute("datetime") != first:
                break
            await page.wait_for_timeout(500)
        assert await page.locator(".asof time").get_attribute("datetime") != first
        await visitor.follow(page.locator("#hold"))
        held = await page.locator(".asof time").get_attribute("datetime")
        await page.wait_for_timeout(6_500)
        assert await page.locator(".asof time").get_attribute("datetime") == held
        assert visitor.complaints == []
