"""The operations page, `python -m peyvand.operations_page`: `peyvand status` in a browser, read only."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Annotated, Any

import structlog
from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from base.clock import Clock
from base.settings import Settings, load
from peyvand.commands.status import Need, ServiceStatus, Status, status
from peyvand.endpoints import Addresses, addresses, parts
from programme.text import number
from security.auth import Principal, allow
from web import app, oidc_login
from web.pages import Pages, lang_of, pages

PREFIX = "/operations"
EVERY = 5.0  # seconds between two looks, however many pages stand open
READERS = ("operator", "auditor")
SILENT_SHOWN, SILENT_HOURS = 8, 48.0

log = structlog.get_logger(__name__)


class OperationsSettings(Settings):
    """Of a process that only looks: `mongo` is of a user who may read all stores, `database` is not used."""

    service: str = Field(default="operations", description="Name of the process.")
    database: str = Field(default="-", description="Not used: all four stores are read.")
    processes: str = Field(
        default="",
        description="Which processes are asked, as name=host:port by commas; the run folder's state if empty.",
    )


class Watch:
    """The country as it was a few seconds ago; one look for all who watch."""

    def __init__(self, look: Callable[[], Status], every: float = EVERY) -> None:
        self.look, self.every = look, every
        self.found: Status | None = None
        self.trouble = ""
        self.looked_at = float("-inf")
        self.looking = asyncio.Lock()

    async def now(self) -> Status | None:
        """The last good look, made anew where it is old; `trouble` says why it is older than it should be."""
        if time.monotonic() - self.looked_at < self.every and (self.found or self.trouble):
            return self.found
        async with self.looking:
            if time.monotonic() - self.looked_at >= self.every:
                try:
                    self.found, self.trouble = await asyncio.to_thread(self.look), ""
                except Exception as e:  # what was known stays on the page, with its time
                    self.trouble = f"{type(e).__name__}: {e}"
                    log.warning("look", trouble=self.trouble)
                self.looked_at = time.monotonic()
        return self.found


def create(settings: OperationsSettings, watch: Watch) -> app.App:
    """The page over what is watched."""

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield

    async def ready() -> list[str]:
        return []

    return app.create_app(
        settings,
        "Operations",
        description="Does the country flow, and if not: what is stuck, where, and what is to be done?",
        lifespan=lifespan,
        ready=ready,
        prefix=PREFIX,
        routers=[router(watch), oidc_login.router()],
    )


def router(watch: Watch) -> APIRouter:
    """The page, and its part that changes."""
    api = APIRouter(include_in_schema=False)

    async def shown(request: Request, name: str, officer: Principal, hold: bool) -> Response:
        found = await watch.now()
        lang = lang_of(request)
        return site().render(
            request,
            name,
            officer=officer,
            hold=hold,
            every=int(EVERY),
            found=found,
            trouble=watch.trouble,
            needs=[(each, sentence(each, found, lang)) for each in found.needs] if found else [],
            silent=[item for item in found.silent.items() if item[1] >= 1][:SILENT_SHOWN] if found else [],
            silent_hours=SILENT_HOURS,
            names=NAMES,
            worst={each.where for each in found.needs} if found else set(),
        )

    async def page(request: Request, officer: Annotated[Principal, allow(*READERS)], hold: bool = False) -> Response:
        return await shown(request, "operations.html", officer, hold)

    async def now(request: Request, officer: Annotated[Principal, allow(*READERS)]) -> Response:
        return await shown(request, "operations_now.html", officer, False)

    api.add_api_route("", page, methods=["GET"], name="operations")
    api.add_api_route("/", page, methods=["GET"], name="operations_home")
    api.add_api_route("/now", now, methods=["GET"])
    return api


NAMES = {
    "registration": ("ثبت‌نام", "Registration"),
    "screening": ("غربالگری", "Screening"),
    "market": ("بازار", "Market"),
    "reporting": ("گزارش", "Reporting"),
}


def sentence(need: Need, found: Status, lang: str) -> str:
    """What is wrong, in the reader's language; what a process says of itself stays as it says it."""
    if lang != "fa":
        return need.why
    s = next((each for each in found.services if each.service == need.where), None)
    if need.code == "not_ready":
        return "آماده نیست"
    return _fa(need.code, s) if s else need.why


def _fa(code: str, s: ServiceStatus) -> str:
    def n(value: float) -> str:
        return number(round(value), "fa")

    return {
        "unsent": f"{n(s.unsent)} رویداد فرستاده نشده است؛ قدیمی‌ترین از {n(s.unsent_oldest_seconds)} ثانیه پیش",
        "stuck": f"{n(s.lag)} رویداد عقب است و هیچ نشانگری پیش نمی‌رود",
        "dead_letters": f"{n(s.parked_faulty)} نفر پشت نامهٔ مرده‌اند؛ از {n(s.parked_faulty_oldest_seconds)} ثانیه پیش",
        "unreadable": f"{n(s.unreadable)} نوشتهٔ ناخوانا هنوز توضیحی ندارد",
        "missing": f"رویدادی نرسیده است و {n(s.parked_early)} نفر منتظر آن‌اند",
        "overdue": f"مهلتی {n(s.overdue_oldest_seconds)} ثانیه است که گذشته و رسیدگی نشده",
    }[code]


@cache
def site() -> Pages:
    """The operator's templates."""
    return pages("peyvand")


def looking(settings: OperationsSettings, clock: Clock) -> Callable[[], Status]:
    """How the country is looked at: as `peyvand status` does."""

    def look() -> Status:
        if settings.processes:
            at = Addresses(
                settings.public_url, settings.kafka, settings.mongo.get_secret_value(), parts(settings.processes)
            )
        else:
            at = addresses("", {"PEYVAND_KAFKA": settings.kafka, "PEYVAND_MONGO": settings.mongo.get_secret_value()})
        return status(at, clock().at)

    return look


def main() -> int:
    """Serves until SIGTERM."""
    settings = load(OperationsSettings)
    app.serve(create(settings, Watch(looking(settings, settings.programme_clock()))), settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
