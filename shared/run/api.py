"""The role `api`: serve a service until SIGTERM or SIGINT."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
from fastapi import APIRouter
from uvicorn.importer import import_from_string

from base.garbage import collect_rarely
from base.settings import load
from contracts.events import PRODUCERS
from kernel.service import Runtime, Service
from kernel.stores.mongodb import MongoStore
from observability.health import ReadinessReason
from programme.reference import is_area
from run.gate import closed_while
from run.served import ServedDatabase
from run.server import serve
from web import oidc_login
from web.admin import dead_letters, reconciliation, replays
from web.app import App, create_app
from web.assets import Mount

log = structlog.get_logger(__name__)


def run_api(service: Service[Any]) -> None:
    """Serve over MongoDB until SIGTERM or SIGINT."""
    settings = load(service.settings)
    app = service_app(service, settings)
    collect_rarely()
    serve(app, settings)


def service_app(service: Service[Any], settings: Any, runtime: Runtime[Any] | None = None) -> App:
    """Return the application of a service; with a `runtime` of its own it needs no database."""

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            running = service.running(settings) if runtime is None else service.opened(runtime)
            try:
                opened = app.state.runtime = await stack.enter_async_context(running)
                if isinstance(opened.store, MongoStore):
                    await stack.enter_async_context(closed_while(app, ServedDatabase(app, service, opened, stack)))
            except Exception as e:
                log.error("the API cannot start", exc_info=e)  # uvicorn logs it as a text, which is dropped
                raise
            yield

    async def ready() -> list[ReadinessReason]:
        opened: Runtime[Any] = app.state.runtime
        if isinstance(opened.store, MongoStore):
            await opened.store.clock_skew()  # the database answers
        return await service.ready(opened) if service.ready else []

    app = create_app(
        settings,
        service.title,
        description=service.description,
        lifespan=lifespan,
        ready=ready,
        prefix=service.prefix,
        routers=_routers(service),
        is_area=is_area,
    )
    if runtime is not None:
        app.state.runtime = service.projecting(runtime)  # tests do not always run the lifespan
    for name in service.mounts:
        mount: Mount = import_from_string(name)
        if (assets := mount.assets(settings)) is not None:
            app.mount(mount.path, assets, name=name)
    return app


def _routers(service: Service[Any]) -> list[APIRouter]:
    """Return the service's own routers, then the operators', then sign-in."""
    routers: list[APIRouter] = [import_from_string(each) for each in service.routers]
    routers += [dead_letters.router, replays.cursor_resets, reconciliation.comparisons]
    if service.name in PRODUCERS:
        routers += [replays.republications, reconciliation.owner]
    if service.sign_in:
        routers.append(oidc_login.router())
    return routers
