"""The real country with a small round in it, and a browser; one of each for all tests of pages."""

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.browser.small_round import Round, told
from tests.browser.visitor import FLAGS, Visit, visiting
from tests.support.system import RunningSystem


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """Chromium, headless."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def the_round(chromium: str, system: RunningSystem) -> AsyncIterator[Round]:
    """A round in which somebody stands at every stage; nothing moves when a test begins."""
    async with told(system) as round_:
        yield round_


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, the_round: Round) -> AsyncIterator[Visit]:
    """A visitor at a desk; whatever the browser complained of fails the test."""
    async with visiting(browser, the_round.system.url) as visit:
        yield visit
        assert visit.noise == []
