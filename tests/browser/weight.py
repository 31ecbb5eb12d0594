"""What a page costs on a slow connection: bytes, layout shift, and the time until something is seen.

`python -m tests.browser.weight` prints a line for each public page.
"""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, async_playwright

from tests.browser.pages import LANGUAGES, with_language
from tests.browser.pages_in_process import public_pages
from tests.browser.visitor import FLAGS, TELEPHONE, new_visitor

THROUGHPUT = 400_000 / 8  # bytes a second
LATENCY = 400  # milliseconds
SHIFTS = """window.__shifts = [];
new PerformanceObserver((list) => window.__shifts.push(...list.getEntries().map((each) => each.value)))
  .observe({type: 'layout-shift', buffered: true});"""
FIRST_PAINT = """performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"""


PUBLIC = (
    "/",
    *(f"/ranking?table={table}" for table in ("composite", "1", "2", "3")),
    "/provinces/IR-20",
    "/method",
    "/help",
    "/privacy",
    "/market/",
    "/registration/apply",
    "/registration/apply/province",
    "/registration/tracking",
    "/no-such-page",
)


@dataclass(frozen=True)
class Weight:
    """The cost of a first visit."""

    sent: int  # bytes of all responses, heads included
    shift: float  # cumulative layout shift: the sum, which is at least that of the worst window
    first_paint: float  # seconds
    fonts: int  # that were loaded


async def measured(browser: Browser, base: str, path: str) -> Weight:
    """Open a page with an empty cache on a telephone with a slow connection."""
    async with new_visitor(browser, base, TELEPHONE) as visitor:
        page, sent = visitor.page, []
        session = await visitor.context.new_cdp_session(page)
        await session.send("Network.enable")
        conditions: dict[str, Any] = {"downloadThroughput": THROUGHPUT, "uploadThroughput": THROUGHPUT}
        await session.send("Network.emulateNetworkConditions", {"offline": False, "latency": LATENCY, **conditions})
        session.on("Network.loadingFinished", lambda event: sent.append(int(event["encodedDataLength"])))
        await page.add_init_script(SHIFTS)
        await page.goto(base + path, wait_until="load")
        await page.evaluate("document.fonts.ready")
        await page.wait_for_timeout(300)  # a shift after the last font is drawn by the next frame
        return Weight(
            sum(sent),
            float(await page.evaluate("window.__shifts.reduce((sum, each) => sum + each, 0)")),
            float(await page.evaluate(FIRST_PAINT)),
            int(await page.evaluate("[...document.fonts].filter((each) => each.status === 'loaded').length")),
        )


async def main() -> None:
    """Measure every public page in both languages."""
    print(f"{'page':<32} {'language':<9} {'bytes':>8} {'shift':>7} {'first paint, s':>15}")
    with tempfile.TemporaryDirectory() as folder:
        async with public_pages(Path(folder)) as base, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            for path in PUBLIC:
                for lang in LANGUAGES:
                    found = await measured(browser, base, with_language(path, lang))
                    print(f"{path:<32} {lang:<9} {found.sent:>8} {found.shift:>7.3f} {found.first_paint:>15.2f}")
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
