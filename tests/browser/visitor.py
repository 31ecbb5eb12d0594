"""A visitor: a page of a real browser, with its console messages, script errors and requests to other hosts."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, Response

from peyvand.local_cluster.workspace import current_workspace

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # by DNS, since interception would disable the cache
)
DESKTOP, TELEPHONE = (1280, 900), (360, 800)
AXE = "axe.run(document, {resultTypes: ['violations'], preload: false})"
VIOLATIONS = f"""async () => (await {AXE}).violations
  .filter((each) => ['serious', 'critical'].includes(each.impact))
  .map((each) => each.id + ': ' + each.nodes.map((node) => node.target.join(' ')).slice(0, 3).join(' | '))"""
OVERFLOWS = """() => {
  const width = document.documentElement.clientWidth;
  const wideTables = [...document.querySelectorAll('main table')]
    .filter((each) => each.getBoundingClientRect().width > each.parentElement.clientWidth + 1);
  if (wideTables.length) return wideTables.map((each) => 'TABLE ' + each.textContent.trim().slice(0, 40));
  if (document.documentElement.scrollWidth <= width) return [];
  const overflows = (box) => box.width && (box.right > width + 1 || box.left < -1);
  const found = [...document.body.querySelectorAll('*')].filter((each) => overflows(each.getBoundingClientRect()));
  return ['the page', ...found.slice(0, 5).map((each) => each.tagName + '.' + each.className)];
}"""


class Visitor:
    """One page; `complaints` holds console messages, script errors and requests to other hosts."""

    def __init__(self, context: BrowserContext, page: Page, base: str) -> None:
        self.context, self.page, self.base = context, page, base
        self.complaints: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self._on_request)

    async def go(self, path: str, status: int = 200) -> Response:
        """Open a path and check its status."""
        response = await self.page.goto(self.base + path)
        assert response is not None and response.status == status, f"{path}: {response and response.status}"
        return response

    async def press(self, name: str, role: Any = "button") -> None:
        """Click the element with this name and wait for the next page."""
        await self.follow(self.page.get_by_role(role, name=name, exact=True))

    async def follow(self, element: Locator) -> None:
        """Click an element and wait for the next page."""
        async with self.page.expect_navigation():
            await element.click()

    async def resize(self, size: tuple[int, int], scheme: Any) -> None:
        """Show the page on another screen."""
        await self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # no colour in transition
        await self.page.set_viewport_size({"width": size[0], "height": size[1]})

    async def accessibility_violations(self) -> Sequence[str]:
        """Return the violations that axe rates serious or critical."""
        if not await self.page.evaluate("() => 'axe' in window"):
            await self.page.evaluate(axe())
        found: list[str] = await self.page.evaluate(VIOLATIONS)
        return found

    async def overflows(self) -> Sequence[str]:
        """Return what overflows a page that scrolls sideways, and tables wider than their container."""
        found: list[str] = await self.page.evaluate(OVERFLOWS)
        return found

    def _on_console(self, message: ConsoleMessage) -> None:
        own = message.location.get("url", "").split("#")[0] == self.page.url.split("#")[0]
        if own and message.text.startswith("Failed to load resource: the server responded with a status"):
            return  # the status of the page itself, which the test checks
        self.complaints.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.base + "/", "data:")):
            self.complaints.append(f"other host: {request.url}")


@cache
def axe() -> str:
    """Return the script of axe-core, from its npm package."""
    return (current_workspace().assets / "axe-core" / "axe.min.js").read_text("utf-8")


@asynccontextmanager
async def new_visitor(
    browser: Browser, base: str, size: tuple[int, int] = DESKTOP, **options: Any
) -> AsyncIterator[Visitor]:
    """Open a browser with an empty profile; requests to other hosts are recorded and fail."""
    viewport = {"width": size[0], "height": size[1]}
    context = await browser.new_context(viewport=viewport, locale="fa-IR", base_url=base, **options)  # type: ignore[arg-type]
    context.set_default_timeout(60_000)
    try:
        yield Visitor(context, await context.new_page(), base)
    finally:
        await context.close()
