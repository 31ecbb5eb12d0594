"""The frame of every API: what a route needs is declared in its signature, everything else is here once.

    app = create_app(settings, "Registration", lifespan=lifespan, ready=ready, prefix="/registration", routers=[router])

    @router.post("/v1/applications", status_code=201, dependencies=[limited("applications", per_minute=600)])
    async def register(
        body: Application,                                                # a `Body`: unknown fields are refused
        principal: Annotated[Principal, allow("registrar", "manager")],   # or public(); a route without does not start
        ask: Annotated[Ask, idempotent()],
    ) -> Registered: ...

Also: `paged()`, `etagged()` (see `listing`), `raw("text/csv")`, `checked(rule)` for a field's type, `max_body_size=` on
a route for more than 64 kB. Refusals: raise `Refused`, or `Invalid([...])` for several fields; what the kernel raises
(Taken, KeyReused, Transient) has its problem too. `app.state` has settings, verifier, buckets, and `stopping`, an Event
for what streams.

The main of a service takes `role_main`, `serve` and `serve_worker` from `run.server` and imports its api inside
the function that runs it, so that a worker loads no FastAPI.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from base.settings import Settings
from contracts.commands import Refused
from run.server import Ready, build, health, role_main, serve, serve_worker
from security.auth import Policy, Principal, Verifier, allow, authorized_principal, public
from web import openapi, problems
from web.idempotency import idempotent, metadata_of
from web.middleware import Middleware
from web.pagination import Etag, Page, Paging, etagged, paged
from web.problems import Invalid, checked
from web.rate_limit import Buckets, limited

__all__ = [
    "BODY_LIMIT",
    "App",
    "Body",
    "Etag",
    "Invalid",
    "Page",
    "Paging",
    "Principal",
    "UndeclaredRoute",
    "allow",
    "checked",
    "create_app",
    "etagged",
    "idempotent",
    "limited",
    "metadata_of",
    "paged",
    "policies",
    "public",
    "raw",
    "role_main",
    "seal_routes",
    "serve",
    "serve_worker",
]

BODY_LIMIT = 64 << 10  # bytes, where a route does not say otherwise
SWAGGER = "/assets/vendor/swagger-ui-dist"


class UndeclaredRoute(Exception):
    """A route says nothing about who may use it."""


class Body(BaseModel):
    """What a request may hold: known fields, finite numbers, bounded text."""

    model_config = ConfigDict(
        extra="forbid", allow_inf_nan=False, str_max_length=2_000, frozen=True, hide_input_in_errors=True
    )


class App(FastAPI):
    """FastAPI that starts only when every route has a policy, and stands behind the door."""

    def build_middleware_stack(self) -> ASGIApp:
        """Called before the first request and before start-up. Raises UndeclaredRoute."""
        seal_routes(self)
        return Middleware(
            super().build_middleware_stack(), self.state.settings, lambda: self.templates, lambda: self.state.closed
        )

    @cached_property
    def templates(self) -> Mapping[Any, str]:
        """Path templates by endpoint."""
        return {each.endpoint: each.path for each in iter_route_contexts(self.routes) if each.endpoint and each.path}

    @cached_property
    def policies_by_endpoint(self) -> Mapping[Any, tuple[Policy, ...]]:
        """What `policies_of` answers from."""
        return {
            each.endpoint: tuple(_calls(each.dependant, Policy))
            for each in iter_route_contexts(self.routes)
            if isinstance(each.original_route, APIRoute)
        }

    def policies_of(self, endpoint: Any) -> tuple[Policy, ...]:
        """The policies that a route declares."""
        return self.policies_by_endpoint.get(endpoint, ())

    def openapi(self) -> dict[str, Any]:
        """The description, complete: problems, policies, raw bodies."""
        fresh = self.openapi_schema is None
        schema = super().openapi()
        if fresh:
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
) -> App:
    """An application with everything that is the same everywhere; `routers` come under the prefix.

    `ready` says why it is not. /healthz, /readyz and /metrics are at the root of the process, for its own port only.
    """
    app = App(
        title=title,
        description=description,
        version=build(),
        lifespan=lifespan,
        openapi_url=f"{prefix}/openapi.json",
        docs_url=None,  # FastAPI's loads a CDN
        redoc_url=None,
        max_body_size=BODY_LIMIT,
        generate_unique_id_function=lambda route: route.name,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.settings = settings
    app.state.verifier = Verifier(settings.issuer, settings.audience, settings.jwks)
    app.state.buckets = Buckets()
    app.state.stopping = asyncio.Event()
    app.state.ready, app.state.prefix = ready, prefix
    app.state.closed = ""  # why nobody is served yet
    if any(route.path == "/sign-in" for router in routers for route in router.routes if isinstance(route, APIRoute)):
        app.state.sign_in = f"{prefix}/sign-in"
    problems.install(app)
    for router in routers:
        app.include_router(router, prefix=prefix)

    async def open_and_ready() -> list[str]:
        return [app.state.closed] if app.state.closed else await ready()

    app.include_router(_own(settings.service, open_and_ready, title, prefix))  # last: it is asked for least
    return app


def seal_routes(app: FastAPI) -> None:
    """Raises UndeclaredRoute for a route that declares no policy: nothing is open by oversight."""
    for each in iter_route_contexts(app.routes):
        route = each.original_route
        if isinstance(route, APIRoute):
            if next(_calls(each.dependant, Policy), None) is None:
                raise UndeclaredRoute(f"{'/'.join(sorted(each.methods or ()))} {each.path}: say allow(...) or public()")
        elif not isinstance(getattr(route, "app", None), StaticFiles) and each.path != app.openapi_url:
            raise UndeclaredRoute(f"{each.path or route!r} is no API route and no static files")


def policies(app: FastAPI) -> dict[tuple[str, str], frozenset[str]]:
    """The roles that may use each (method, path template); `{"public"}` for open ones."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    for each in iter_route_contexts(app.routes):
        if isinstance(each.original_route, APIRoute):
            declared = [policy.roles for policy in _calls(each.dependant, Policy)]
            for method in each.methods or ():
                found[method, str(each.path)] = frozenset.intersection(*declared) if declared else frozenset()
    return found


class Raw:
    """A body that is taken as it comes."""

    def __init__(self, media_type: str) -> None:
        self.media_type = media_type

    async def __call__(self, request: Request) -> bytes:
        """Raises Refused("media_type"), for those who may come in at all."""
        await authorized_principal(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != self.media_type:
            raise Refused("media_type", expected=self.media_type)
        return await request.body()


def raw(media_type: str) -> Any:
    """A dependency that gives the bytes of a body of this media type; any other is a 415."""
    return Depends(Raw(media_type))


def _raw_bodies(app: FastAPI) -> dict[tuple[str, str], str]:
    return {
        (method, str(each.path)): found.media_type
        for each in iter_route_contexts(app.routes)
        if isinstance(each.original_route, APIRoute)
        for found in _calls(each.dependant, Raw)
        for method in each.methods or ()
    }


def _calls(dependant: Dependant, kind: type[Any]) -> Iterator[Any]:
    for each in dependant.dependencies:
        if isinstance(each.call, kind):
            yield each.call
        yield from _calls(each, kind)


def _own(service: str, ready: Callable[[], Awaitable[list[str]]], title: str, prefix: str) -> APIRouter:
    """What every process says about itself, and the description for people."""
    router = APIRouter(dependencies=[public()], include_in_schema=False)

    def itself(path: str) -> Callable[[], Awaitable[Response]]:
        async def tell() -> Response:
            status, kind, body = await health(path, service, ready)
            return Response(body, status, media_type=kind.decode())

        return tell

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

    for path in ("/healthz", "/readyz", "/metrics"):
        router.add_api_route(path, itself(path))
    router.add_api_route(f"{prefix}/docs", docs)
    router.add_api_route(f"{prefix}/docs/start.js", start)
    return router
