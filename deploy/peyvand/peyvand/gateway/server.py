"""The gateway of development: route by path prefix to the four services, and serve the development issuer.

In production an ingress routes, and the issuer is the ministry's own.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from pydantic import ValidationError

from base.garbage import FULL_COLLECTION_INTERVAL, collect_all, collect_rarely
from observability.logging import configure_logging
from peyvand.dev_issuer.issuer import Issuer
from peyvand.gateway.connections import BodyTooSlow, GatewayRunner
from peyvand.gateway.error_pages import error_response
from peyvand.gateway.pages import HEADERS
from peyvand.gateway.reverse_proxy import ReverseProxy, connect
from peyvand.gateway.settings import GatewaySettings
from run.connections import Connections, Timeouts, open_file_limit

HEADER_LIMIT = 16 << 10  # bytes of one header field; an access token in a cookie takes about one kilobyte
READY_TIMEOUT = 2.0  # seconds for a service to answer whether it is ready
BACKLOG = 2_048  # connections that the kernel has accepted and the gateway has not
SHUTDOWN_TIMEOUT = 5.0  # seconds for open responses at shutdown; live streams have no end of their own

PROXY = web.AppKey("proxy", ReverseProxy)
REQUIRED = web.AppKey("required", tuple[str, ...])  # services that must be ready


def application(settings: GatewaySettings) -> web.Application:
    """Return the gateway with its issuer. Raise ValueError outside development."""
    issuer = Issuer(settings)
    upstreams = settings.upstreams()
    all_upstreams = {**upstreams, **settings.optional_upstreams()}
    proxy = ReverseProxy(all_upstreams, settings.public_url, settings.body_limit)
    app = web.Application(middlewares=[_refuse_slow_bodies])
    app[PROXY], app[REQUIRED] = proxy, tuple(upstreams)
    app.cleanup_ctx.append(_pool)
    app.on_response_prepare.append(_secure)
    app.router.add_get("/healthz", _alive)
    app.router.add_get("/readyz", _ready)
    app.router.add_route("*", "/metrics", _not_found)  # Prometheus scrapes each process at its own port
    app.add_subapp("/issuer", issuer.application())
    app.router.add_route("*", "/{path:(?s:.*)}", proxy.forward)  # (?s): paths with a line feed as well
    return app


def runner_of(settings: GatewaySettings, timeouts: Timeouts | None = None) -> GatewayRunner:
    """Return what runs the gateway with its limits."""
    timeouts = timeouts or Timeouts()
    connections = Connections(
        "gateway",
        open_file_limit(2 * settings.max_connections) // 2,  # each may need one more to a service
        settings.max_connections_per_address,
        timeouts=timeouts,
    )
    return GatewayRunner(
        application(settings),
        connections,
        access_log=None,
        handler_cancellation=True,  # closes the upstream connection when the client leaves a stream
        shutdown_timeout=SHUTDOWN_TIMEOUT,
        keepalive_timeout=timeouts.idle,
        max_line_size=HEADER_LIMIT,
        max_field_size=HEADER_LIMIT,
        auto_decompress=False,
    )


async def serve(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    runner = runner_of(settings)
    await runner.setup()
    collect_rarely()
    try:
        await web.TCPSite(runner, settings.host, settings.port, backlog=BACKLOG).start()
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), FULL_COLLECTION_INTERVAL)
            await collect_all()
    finally:
        await runner.cleanup()


def main() -> int:
    """Run `python -m peyvand.gateway.server`; return the exit code."""
    try:
        settings = GatewaySettings()  # type: ignore[call-arg]
        configure_logging("gateway", "gateway", settings.log_level)
        asyncio.run(serve(settings))
    except ValidationError as e:
        names = ", ".join(f"PEYVAND_{'_'.join(map(str, each['loc'])).upper()}" for each in e.errors())
        print(f"the gateway cannot start: set or correct {names}", file=sys.stderr)
        return 2
    except (OSError, ValueError) as e:
        print(f"the gateway cannot start: {e}", file=sys.stderr)
        return 1
    return 0


@web.middleware
async def _refuse_slow_bodies(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BodyTooSlow:
        return error_response(request, "body_too_slow")


async def _secure(request: web.Request, response: web.StreamResponse) -> None:
    """Add the security headers to responses of the gateway and of the issuer; those of services have their own."""
    for name, value in HEADERS.items():
        if name != hdrs.CACHE_CONTROL:
            response.headers.setdefault(name, value)


async def _pool(app: web.Application) -> AsyncIterator[None]:
    async with connect() as session:
        app[PROXY].session = session
        yield


async def _alive(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _not_found(request: web.Request) -> web.Response:
    raise web.HTTPNotFound


async def _ready(request: web.Request) -> web.Response:
    """Answer 200 if all four services are ready, else 503 with the reasons (see `observability.health`)."""
    proxy, names = request.app[PROXY], request.app[REQUIRED]
    errors = await asyncio.gather(*(_readiness_error(proxy, name) for name in names))
    reasons = [
        {"code": "service_not_ready", "text": f"{name}: {error}"}
        for name, error in zip(names, errors, strict=True)
        if error
    ]
    return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)


async def _readiness_error(proxy: ReverseProxy, name: str) -> str:
    """Return why a service is not ready; empty if it is."""
    assert proxy.session is not None
    try:
        async with proxy.session.get(
            f"{proxy.upstreams[name]}/readyz", timeout=aiohttp.ClientTimeout(total=READY_TIMEOUT)
        ) as response:
            return "" if response.status == 200 else f"not ready ({response.status})"
    except (aiohttp.ClientError, TimeoutError) as e:
        return str(e) or "no answer"


if __name__ == "__main__":
    sys.exit(main())
