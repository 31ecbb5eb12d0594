"""The operators' page in a browser: quiet, whole, in both languages, and it renews itself until it is held."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Browser

from peyvand.local_cluster.processes import listening, wait_until
from tests.browser.test_every_page import LANGUAGES, whole
from tests.browser.visitor import DESKTOP, TELEPHONE, visiting
from tests.support.system import RunningSystem

pytestmark = [pytest.mark.server, pytest.mark.web, pytest.mark.asyncio(loop_scope="session")]


async def test_an_operator_sees_the_country(browser: Browser, system: RunningSystem, tmp_path: Path) -> None:
    up = await asyncio.to_thread(wait_until, lambda: listening(system.state.ports["operations"]), 60)
    assert up, "it comes when the rest is up"
    async with visiting(browser, system.url) as visit:
        page = visit.page
        await visit.go("/operations")
        assert page.url.startswith(f"{system.url}/issuer/authorize")
        await page.locator("#role").select_option("operator")
        await page.locator("#name").fill("همکار شب")
        await visit.press("ورود")
        assert page.url == f"{system.url}/operations"
        for lang in LANGUAGES:
            await visit.go(f"/operations?lang={lang}")
            assert await page.locator("tbody tr").count() >= 4 + 8
            await visit.seen_as(TELEPHONE, "light")
            await page.screenshot(path=str(tmp_path / f"telephone-{lang}.png"), full_page=True)
            await whole(visit, lang)
        await visit.seen_as(DESKTOP, "light")
        await page.screenshot(path=str(tmp_path / "operations.png"), full_page=True)
        first = await page.locator(".asof time").get_attribute("datetime")
        for _ in range(40):
            if await page.locator(".asof time").get_attribute("datetime") != first:
                break
            await page.wait_for_timeout(500)
        assert await page.locator(".asof time").get_attribute("datetime") != first
        await visit.follow(page.locator("#hold"))
        held = await page.locator(".asof time").get_attribute("datetime")
        await page.wait_for_timeout(6_500)
        assert await page.locator(".asof time").get_attribute("datetime") == held
        assert visit.noise == []
