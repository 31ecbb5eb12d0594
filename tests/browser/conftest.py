"""The running platform with a small round, and a browser: one of each for all tests of pages."""

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.browser.small_round import SmallRound, completed_round
from tests.browser.visitor import FLAGS, Visitor, new_visitor
from tests.support.system import RunningSystem


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """Start Chromium, headless."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def small_round(chromium: str, system: RunningSystem) -> AsyncIterator[SmallRound]:
    """Create a round with applicants at every stage, and wait until all its events are handled."""
    async with completed_round(system) as completed:
        yield completed


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(browser: Browser, small_round: SmallRound) -> AsyncIterator[Visitor]:
    """Open a page on a desktop screen; fail the test if the browser complains about anything."""
    async with new_visitor(browser, small_round.system.url) as opened:
        yield opened
        assert opened.complaints == []
