"""Pages about the site itself: help and contact, privacy, accessibility, the state of the services, use of the data."""

import asyncio
import time
from collections.abc import Callable
from functools import cache

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from starlette.requests import Request

from base.http_client import HttpClient, HttpError
from kernel.errors import Transient
from observability.health import build_version
from programme.policies import CURRENT, policy
from reporting.api.dependencies import Cache
from reporting.domain.columns import COLUMNS
from reporting.pages.ranking import templates
from web.authorization import public
from web.rate_limit import limited

PATHS = {  # of each service but this one: what it serves to everyone without reading a store
    name: f"/{name}/docs/start.js" for name in ("registration", "screening", "market")
}
TIMEOUT = 2.0  # seconds
KEPT = 10.0  # seconds that a result serves every visitor: the page cannot be used to burden the services
MAX_BODY = 4_096  # bytes of a response

router = APIRouter(
    dependencies=[public(), limited("pages", per_minute=1_200)],
    include_in_schema=False,
    default_response_class=HTMLResponse,
)


class ServiceStates:
    """Which services answer at the public address, asked at most once in `KEPT` seconds for all visitors."""

    def __init__(self, answers: Callable[[str], bool], now: Callable[[], float] = time.monotonic) -> None:
        self.answers, self.now = answers, now
        self.found: dict[str, bool] = {}
        self.at = -KEPT
        self.reading = asyncio.Lock()

    async def read(self) -> dict[str, bool]:
        """Return for each service whether it answers."""
        async with self.reading:
            if self.now() - self.at >= KEPT:
                answers = await asyncio.gather(*(asyncio.to_thread(self.answers, path) for path in PATHS.values()))
                self.found, self.at = dict(zip(PATHS, answers, strict=True)), self.now()
        return self.found


@cache
def service_states(public_url: str) -> ServiceStates:
    """Return the states of the services at a public address."""

    def answers(path: str) -> bool:
        try:
            with HttpClient(public_url, timeout=TIMEOUT, max_body=MAX_BODY) as client:
                client.request("GET", path)
        except HttpError:
            return False
        return True

    return ServiceStates(answers)


@router.get("/help")
async def help_page(request: Request) -> HTMLResponse:
    """Show how to go on, where to call or go, and what simulated figures are."""
    return templates.render(request, "help.html", policy=policy(CURRENT))


@router.get("/privacy")
async def privacy_page(request: Request) -> HTMLResponse:
    """Show what is stored about a person, where, for how long, and who sees it."""
    return templates.render(request, "privacy.html")


@router.get("/accessibility")
async def accessibility_page(request: Request) -> HTMLResponse:
    """Show how accessible the pages are, what was tested with what, and what is known to be missing."""
    return templates.render(request, "accessibility.html")


@router.get("/data-licence")
async def data_licence_page(request: Request) -> HTMLResponse:
    """Show what may be done with the figures, and how to cite them."""
    return templates.render(request, "data_licence.html")


@router.get("/data-dictionary")
async def data_dictionary_page(request: Request) -> HTMLResponse:
    """Show every column of the files with its unit and its meaning."""
    return templates.render(request, "data_dictionary.html", columns=COLUMNS)


@router.get("/status")
async def status_page(request: Request, cache: Cache) -> HTMLResponse:
    """Show which services answer now, and how fresh the figures are."""
    states = await service_states(request.app.state.settings.public_url).read()
    try:
        figures, readable = await cache.figures(), True
    except Transient:
        figures, readable = None, False
    return templates.render(
        request,
        "status.html",
        states=states,
        figures=figures,
        readable=readable,
        now=cache.clock().recorded,
        version=build_version(),
    )
