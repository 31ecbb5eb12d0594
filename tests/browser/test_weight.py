"""Every public page fits a slow connection: at most 120 kB, and nothing shifts. No time is asserted.

`python -m tests.browser.weight` measures the first paint as well.
"""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.pages import with_language
from tests.browser.pages_in_process import public_pages
from tests.browser.visitor import TELEPHONE, Visitor, new_visitor
from tests.browser.weight import PUBLIC, SHIFTS, measured

pytestmark = [pytest.mark.server, pytest.mark.web, pytest.mark.asyncio(loop_scope="session")]

BYTES, SHIFT = 120_000, 0.05


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def address(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of the public pages."""
    async with public_pages(tmp_path_factory.mktemp("pages")) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="session")
async def guest(browser: Browser, address: str) -> AsyncIterator[Visitor]:
    """Open a telephone; fail the test if the browser complains about anything."""
    async with new_visitor(browser, address, TELEPHONE) as opened:
        yield opened
        assert opened.complaints == []


@pytest.mark.parametrize(
    ("path", "lang"), [*((path, "fa") for path in PUBLIC), ("/", "en"), ("/ranking?table=1", "en"), ("/method", "en")]
)
async def test_a_first_visit_is_light_and_still(browser: Browser, address: str, path: str, lang: str) -> None:
    weight = await measured(browser, address, with_language(path, lang))
    assert weight.sent <= BYTES, weight
    assert weight.shift <= SHIFT, weight
    assert weight.fonts >= 1, "the page is measured with its font"


async def test_a_second_page_loads_nothing_twice(guest: Visitor) -> None:
    await guest.go("/method")
    # The browser fetches the icon when it is idle, which may be after the page has loaded.
    while not await guest.page.evaluate(
        "performance.getEntriesByType('resource').some((each) => each.name.includes('/mark.svg'))"
    ):
        await guest.page.wait_for_timeout(50)
    await guest.go("/market/")
    again = await guest.page.evaluate(
        "performance.getEntriesByType('resource').filter((each) => each.transferSize > 0).map((each) => each.name)"
    )
    assert again == [], "styles and font come from the browser's cache"


async def test_pages_and_styles_are_compressed(guest: Visitor) -> None:
    for path in ("/method", "/assets/peyvand/peyvand.css", "/assets/vendor/peyvand/bootstrap.rtl.min.css"):
        headers = {"Accept": "text/html,*/*", "Accept-Encoding": "gzip"}
        response = await guest.context.request.get(path, headers=headers)
        assert response.headers["content-encoding"] == "gzip" and "Accept-Encoding" in response.headers["vary"], path


async def test_a_shift_is_measured(browser: Browser, address: str) -> None:
    async with new_visitor(browser, address, TELEPHONE) as visitor:
        await visitor.page.add_init_script(SHIFTS)
        await visitor.go("/method")
        await visitor.page.wait_for_timeout(600)  # a shift within half a second of input does not count
        await visitor.page.evaluate(
            "document.querySelector('main').prepend(...Array.from({length: 12}, () => document.createElement('hr')))"
        )
        await visitor.page.wait_for_timeout(300)
        assert await visitor.page.evaluate("window.__shifts.reduce((sum, each) => sum + each, 0)") > 0.05


async def test_no_page_names_a_style_outside_the_built_ones(guest: Visitor) -> None:
    response = await guest.go("/method")
    assert set(re.findall(r'href="(/assets/vendor/[^"]+)"', await response.text())) == {
        "/assets/vendor/peyvand/bootstrap.rtl.min.css",
        "/assets/vendor/peyvand/vazirmatn.woff2",
    }
