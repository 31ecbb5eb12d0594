"""A visitor: a page of a real browser, and what a person never sees of it: messages, faults, requests to elsewhere."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, Response

from peyvand.local_cluster.workspace import here

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # not intercepted: that would switch the cache off
)
DESKTOP, TELEPHONE = (1280, 900), (360, 800)
AXE = "axe.run(document, {resultTypes: ['violations'], preload: false})"
FINDINGS = f"""async () => (await {AXE}).violations
  .filter((each) => ['serious', 'critical'].includes(each.impact))
  .map((each) => each.id + ': ' + each.nodes.map((node) => node.target.join(' ')).slice(0, 3).join(' | '))"""
WIDE = """() => {
  const width = document.documentElement.clientWidth;
  const crowded = [...document.querySelectorAll('main table')]
    .filter((each) => each.getBoundingClientRect().width > each.parentElement.clientWidth + 1);
  if (crowded.length) return crowded.map((each) => 'TABLE ' + each.textContent.trim().slice(0, 40));
  if (document.documentElement.scrollWidth <= width) return [];
  const out = (box) => box.width && (box.right > width + 1 || box.left < -1);
  const those = [...document.body.querySelectorAll('*')].filter((each) => out(each.getBoundingClientRect()));
  return ['the page', ...those.slice(0, 5).map((each) => each.tagName + '.' + each.className)];
}"""


class Visit:
    """One page; `noise` is whatever should not have been."""

    def __init__(self, context: BrowserContext, page: Page, base: str) -> None:
        self.context, self.page, self.base = context, page, base
        self.noise: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda fault: self.noise.append(f"fault: {fault}"))
        page.on("request", self._asked)

    async def go(self, path: str, status: int = 200) -> Response:
        """Opens an address of the country, and holds it to the status."""
        answer = await self.page.goto(self.base + path)
        assert answer is not None and answer.status == status, f"{path}: {answer and answer.status}"
        return answer

    async def press(self, name: str, role: Any = "button") -> None:
        """Presses what bears this name, and waits for the page that comes."""
        await self.follow(self.page.get_by_role(role, name=name, exact=True))

    async def follow(self, there: Locator) -> None:
        """Presses this, and waits for the page that comes."""
        async with self.page.expect_navigation():
            await there.click()

    async def seen_as(self, size: tuple[int, int], scheme: Any) -> None:
        """The same page on another screen."""
        await self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # no colour on its way
        await self.page.set_viewport_size({"width": size[0], "height": size[1]})

    async def serious(self) -> Sequence[str]:
        """What axe finds serious or critical."""
        if not await self.page.evaluate("() => 'axe' in window"):
            await self.page.evaluate(axe())
        found: list[str] = await self.page.evaluate(FINDINGS)
        return found

    async def too_wide(self) -> Sequence[str]:
        """What stands out over the edge of a page that scrolls sideways, and tables wider than their place."""
        found: list[str] = await self.page.evaluate(WIDE)
        return found

    def _heard(self, message: ConsoleMessage) -> None:
        own = message.location.get("url", "").split("#")[0] == self.page.url.split("#")[0]
        if own and message.text.startswith("Failed to load resource: the server responded with a status"):
            return  # the page's own status, which the test names
        self.noise.append(f"{message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.base + "/", "data:")):
            self.noise.append(f"leaves the host: {request.url}")


@cache
def axe() -> str:
    """axe-core, of the npm package."""
    return (here().assets / "axe-core" / "axe.min.js").read_text("utf-8")


@asynccontextmanager
async def visiting(
    browser: Browser, base: str, size: tuple[int, int] = DESKTOP, **options: Any
) -> AsyncIterator[Visit]:
    """A visitor with a browser as it was bought; what would leave the host is noted and goes nowhere."""
    viewport = {"width": size[0], "height": size[1]}
    context = await browser.new_context(viewport=viewport, locale="fa-IR", base_url=base, **options)  # type: ignore[arg-type]
    context.set_default_timeout(20_000)
    try:
        yield Visit(context, await context.new_page(), base)
    finally:
        await context.close()
