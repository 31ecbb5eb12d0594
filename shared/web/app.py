"""The application of a service: what is the same for every API. `run.api` calls `create_app` for a declared service.

    router = APIRouter()

    @router.post("/v1/applications", status_code=201, dependencies=[limited("applications", per_minute=600)])
    async def register(
        body: Application,                                                # a `Body`: unknown fields are refused
        principal: Annotated[Principal, allow("register")],   # or public(); see `web.authorization`
        metadata: Annotated[CommandMetadata, idempotent()],               # see `web.idempotency`
        store: Store,                                                     # see `web.dependencies`
    ) -> Registered: ...

Also: `paged()` and `etagged()` in `web.pagination`, `checked(rule)` and `Invalid` in `web.problems`, `raw("text/csv")`
here, `max_body_size=` on a route with bodies above 64 kB.

`app.state` has settings, verifier, buckets, prefix, `stopping` (an Event that ends streams), and `closed`: why requests
are refused for now, see `App.refused`.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from itertools import islice
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, ConfigDict, model_validator
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from base.settings import Settings
from contracts.commands import Refused
from observability import health
from observability.health import ReadinessReason, Ready
from security.auth import Verifier
from security.revocation import polled
from web import openapi, problems
from web.authorization import AccessPolicy, authorized_principal, public
from web.middleware import SAFE, Middleware
from web.rate_limit import Buckets

BODY_LIMIT = 64 << 10  # bytes, unless a route sets max_body_size
SWAGGER = "/assets/vendor/swagger-ui-dist"


PAGE_SIZE = 1_000  # bytes of a page from which compressing it saves a packet


class PageCompression:
    """Compress responses to browsers that request a page; what programs request stays as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.compressed = app, GZipMiddleware(app, minimum_size=PAGE_SIZE, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        page = scope["type"] == "http" and problems.wants_page(Request(scope))
        await (self.compressed if page else self.app)(scope, receive, send)


class UndeclaredRoute(Exception):
    """A route has no policy."""


class Body(BaseModel):
    """Base of request models: known fields only, finite numbers, bounded text."""

    model_config = ConfigDict(
        extra="forbid", allow_inf_nan=False, str_max_length=2_000, frozen=True, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _few_unknown_names(cls, value: Any) -> Any:
        """Keep as many unknown names as a response lists: an error for each of thousands takes long."""
        if not isinstance(value, dict) or len(value) <= len(cls.model_fields) + problems.MAX_ERRORS:
            return value
        known = {name: value[name] for name in cls.model_fields if name in value}
        return dict(islice(value.items(), problems.MAX_ERRORS)) | known


class App(FastAPI):
    """FastAPI behind our middleware; it starts only if every route has a policy."""

    def build_middleware_stack(self) -> ASGIApp:
        """Check the routes and wrap the application, before start-up. Raise UndeclaredRoute."""
        seal_routes(self)
        inner = PageCompression(super().build_middleware_stack())
        return Middleware(inner, self.state.settings, lambda: self.templates, self.refused)

    def refused(self, method: str) -> str:
        """Return the code with which requests of this method are refused for now, or "". Only writes take a time."""
        codes = [each.code for each in self.state.closed]
        return next((code for code in codes if code != "clock_skew" or method not in SAFE), "")

    @cached_property
    def templates(self) -> Mapping[Any, str]:
        """Return the path templates by endpoint."""
        return {each.endpoint: each.path for each in iter_route_contexts(self.routes) if each.endpoint and each.path}

    @cached_property
    def policies_by_endpoint(self) -> Mapping[Any, tuple[AccessPolicy, ...]]:
        """Return the policies of each route by endpoint."""
        return {
            each.endpoint: tuple(_calls(each.dependant, AccessPolicy))
            for each in iter_route_contexts(self.routes)
            if isinstance(each.original_route, APIRoute)
        }

    def policies_of(self, endpoint: Any) -> tuple[AccessPolicy, ...]:
        """Return the policies that a route declares."""
        return self.policies_by_endpoint.get(endpoint, ())

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document with problems, actions, roles and raw bodies."""
        generated = self.openapi_schema is None
        schema = super().openapi()
        if generated:
            openapi.complete(schema, policies(self), _raw_bodies(self))
        return schema


def create_app(
    settings: Settings,
    title: str,
    *,
    lifespan: Any,
    ready: Ready,
    prefix: str,
    routers: Sequence[APIRouter] = (),
    description: str = "",
    is_area: Callable[[str, str], bool] = lambda province, county: True,
) -> App:
    """Return an application with its routers under the prefix.

    `ready` returns the reasons why it is not ready; `is_area` is that of the `Verifier`. /healthz, /readyz and /metrics
    are served at the root of the process, on its own port only.
    """
    app = App(
        title=title,
        description=description,
        version=health.build_version(),
        lifespan=_polling(lifespan),
        openapi_url=f"{prefix}/openapi.json",
        docs_url=None,  # FastAPI's loads a CDN
        redoc_url=None,
        max_body_size=BODY_LIMIT,
        generate_unique_id_function=lambda route: route.name,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.settings = settings
    app.state.verifier = Verifier(
        settings.issuer, settings.audience, settings.jwks, service=settings.service, is_area=is_area
    )
    app.state.buckets = Buckets()
    app.state.streams = Counter[str]()
    app.state.stopping = asyncio.Event()
    app.state.ready, app.state.prefix = ready, prefix
    app.state.closed = list[ReadinessReason]()
    if any(route.path == "/sign-in" for router in routers for route in router.routes if isinstance(route, APIRoute)):
        app.state.sign_in = f"{prefix}/sign-in"
    problems.install(app)
    for router in routers:
        app.include_router(router, prefix=prefix)

    async def open_and_ready() -> Sequence[ReadinessReason]:
        closed: list[ReadinessReason] = app.state.closed
        return closed or await ready()

    app.include_router(_process_routes(settings.service, open_and_ready, title, prefix))  # last: the least requested
    return app


def _polling(lifespan: Any) -> Any:
    """Return a lifespan that also polls the issuer for sessions that have ended."""

    @asynccontextmanager
    async def whole(app: App) -> AsyncIterator[None]:
        settings: Settings = app.state.settings
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(polled(app.state.verifier.revocations, settings.issuer, settings.service))
            if lifespan is not None:
                await stack.enter_async_context(lifespan(app))
            yield

    return whole


def seal_routes(app: FastAPI) -> None:
    """Raise UndeclaredRoute for a route outside the permission table, and for all but routes and static files.

    A route has one policy; one that changes something needs access W.
    """
    for each in iter_route_contexts(app.routes):
        route, methods = each.original_route, each.methods or set()
        where = f"{'/'.join(sorted(methods))} {each.path or repr(route)}"
        if isinstance(route, APIRoute):
            found = set(_calls(each.dependant, AccessPolicy))
            if len(found) != 1:
                raise UndeclaredRoute(f"{where}: declare one allow(...) or public(), not {len(found)}")
            if methods - SAFE and found.pop().access not in ("W", ""):
                raise UndeclaredRoute(f"{where}: what changes something needs access W")
        elif not isinstance(getattr(route, "app", None), StaticFiles) and each.path != app.openapi_url:
            raise UndeclaredRoute(f"{where} is neither an API route nor static files")


def policies(app: FastAPI) -> dict[tuple[str, str], AccessPolicy]:
    """Return the policy of each (method, path template)."""
    return {
        (method, str(each.path)): next(_calls(each.dependant, AccessPolicy))
        for each in iter_route_contexts(app.routes)
        if isinstance(each.original_route, APIRoute)
        for method in each.methods or ()
    }


class Raw:
    """The dependency behind `raw`."""

    def __init__(self, media_types: Sequence[str]) -> None:
        self.media_types = media_types

    async def __call__(self, request: Request) -> bytes:
        """Return the body, after the policy of the route has been checked. Raise Refused: media_type."""
        await authorized_principal(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in self.media_types:
            raise Refused("media_type", expected=" / ".join(self.media_types))
        return await request.body()


def raw(*media_types: str) -> Any:
    """Return a dependency on the bytes of a body of one of these media types; any other is a 415."""
    return Depends(Raw(media_types))


def _raw_bodies(app: FastAPI) -> dict[tuple[str, str], Sequence[str]]:
    return {
        (method, str(each.path)): body.media_types
        for each in iter_route_contexts(app.routes)
        if isinstance(each.original_route, APIRoute)
        for body in _calls(each.dependant, Raw)
        for method in each.methods or ()
    }


def _calls(dependant: Dependant, kind: type[Any]) -> Iterator[Any]:
    for each in dependant.dependencies:
        if isinstance(each.call, kind):
            yield each.call
        yield from _calls(each, kind)


def _process_routes(service: str, ready: Ready, title: str, prefix: str) -> APIRouter:
    """Return the health endpoints of the process, and the OpenAPI document as a page."""
    router = APIRouter(dependencies=[public()], include_in_schema=False)

    def endpoint(path: str) -> Callable[[], Awaitable[Response]]:
        async def respond() -> Response:
            status, media_type, body = await health.health(path, service, ready)
            return Response(body, status, media_type=media_type.decode())

        return respond

    async def docs() -> HTMLResponse:
        return HTMLResponse(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
            f'<link rel="stylesheet" href="{SWAGGER}/swagger-ui.css"><div id="swagger-ui"></div>'
            f'<script src="{SWAGGER}/swagger-ui-bundle.js"></script><script src="{prefix}/docs/start.js"></script>'
        )

    async def start() -> Response:
        return Response(
            f'SwaggerUIBundle({{url: "{prefix}/openapi.json", dom_id: "#swagger-ui", deepLinking: true}});',
            media_type="text/javascript",
        )

    for path in health.PATHS:
        router.add_api_route(path, endpoint(path))
    router.add_api_route(f"{prefix}/docs", docs)
    router.add_api_route(f"{prefix}/docs/start.js", start)
    return router
