"""The operations page: `peyvand status` in a browser, read-only (`python -m peyvand.operations_page`)."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Annotated, Any

import msgspec
import structlog
from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from base.clock import Clock
from base.settings import Settings, load
from observability.health import ReadinessReason
from peyvand.commands.status import Status, status
from peyvand.endpoints import Endpoints, find_endpoints, parse_processes
from programme.reference import is_area
from run.server import serve
from security.auth import Principal
from web import oidc_login
from web.app import App, create_app
from web.authorization import allow
from web.pages import Pages

PREFIX = "/operations"
INTERVAL = 5.0  # seconds between two checks, however many pages are open
Reader = Annotated[Principal, allow("operations", "R")]
PROVINCES_SHOWN, SILENT_HOURS = 8, 48.0

log = structlog.get_logger(__name__)


class OperationsSettings(Settings):
    """Settings of a read-only process: `mongo` has a user that may read all stores, `database` is not used."""

    service: str = Field(default="operations", description="Name of the process.")
    database: str = Field(default="-", description="Not used: all four stores are read.")
    processes: str = Field(
        default="",
        description="The processes to check, as name=host:port,...; those of the run folder's state if empty.",
    )


class StatusCache:
    """The status of the last seconds, shared by all who look at the page."""

    def __init__(self, check: Callable[[], Status], interval: float = INTERVAL) -> None:
        self.check, self.interval = check, interval
        self.found: Status | None = None
        self.error = ""
        self.checked_at = float("-inf")
        self.checking = asyncio.Lock()

    async def current(self) -> Status | None:
        """Return the last status, checked again if it is old; `error` is why the last check failed."""
        if time.monotonic() - self.checked_at < self.interval and (self.found or self.error):
            return self.found
        async with self.checking:
            if time.monotonic() - self.checked_at >= self.interval:
                try:
                    self.found, self.error = await asyncio.to_thread(self.check), ""
                except Exception as e:  # the last status stays on the page, with its time
                    self.error = f"{type(e).__name__}: {e}"
                    log.warning("status check failed", error=e)
                self.checked_at = time.monotonic()
        return self.found


def create(settings: OperationsSettings, cache: StatusCache) -> App:
    """Return the application of the page."""

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield

    async def ready() -> list[ReadinessReason]:
        return []

    return create_app(
        settings,
        "Operations",
        description="The state of the platform, and the actions that it requires.",
        lifespan=lifespan,
        ready=ready,
        prefix=PREFIX,
        is_area=is_area,
        routers=[router(cache), oidc_login.router()],
    )


def router(cache: StatusCache) -> APIRouter:
    """Return the routes of the page, and of its part that changes."""
    api = APIRouter(include_in_schema=False)

    async def render(request: Request, name: str, officer: Principal, hold: bool) -> Response:
        found = await cache.current()
        return site().render(
            request,
            name,
            officer=officer,
            hold=hold,
            interval=int(INTERVAL),
            found=found,
            error=cache.error,
            services={each.service: each for each in found.services} if found else {},
            silent=[item for item in found.hours_silent.items() if item[1] >= 1][:PROVINCES_SHOWN] if found else [],
            silent_hours=SILENT_HOURS,
            affected={each.where for each in found.actions} if found else set(),
        )

    async def page(request: Request, officer: Reader, hold: bool = False) -> Response:
        return await render(request, "operations.html", officer, hold)

    async def current(request: Request, officer: Reader) -> Response:
        return await render(request, "operations_now.html", officer, False)

    api.add_api_route("", page, methods=["GET"], name="operations")
    api.add_api_route("/", page, methods=["GET"], name="operations_home")
    api.add_api_route("/now", current, methods=["GET"])
    return api


@cache
def site() -> Pages:
    """Return the templates of the operator's package."""
    return Pages("peyvand")


def status_check(settings: OperationsSettings, clock: Clock) -> Callable[[], Status]:
    """Return the check, which is that of `peyvand status`."""

    def check() -> Status:
        if settings.processes:
            processes = parse_processes(settings.processes)
            endpoints = Endpoints(settings.public_url, settings.kafka_access, mongo, processes=processes)
        else:
            endpoints = msgspec.structs.replace(find_endpoints("", {}), kafka=settings.kafka_access, mongo=mongo)
        return status(endpoints, clock().at)

    mongo = settings.mongo.get_secret_value()
    return check


def main() -> int:
    """Serve until SIGTERM."""
    settings = load(OperationsSettings)
    cache = StatusCache(status_check(settings, settings.programme_clock()))
    serve(create(settings, cache), settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
