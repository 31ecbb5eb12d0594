"""The one address of the country in development: routes by prefix to the four services, and holds the issuer.

In production an ingress does this, and the issuer is the ministry's own.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from pydantic import ValidationError

from observability.logging import configure_logging
from peyvand.dev_issuer.issuer import Issuer
from peyvand.gateway.reverse_proxy import Forwarder, connect
from peyvand.gateway.settings import DoorSettings

HEADER_LIMIT = 16 << 10  # bytes of one header field; an access token in a cookie takes about one kilobyte
ASKED_WITHIN = 2.0  # seconds a service has to say that it is ready
DRAIN = 5.0  # seconds that open answers have when the door closes; live streams would last for ever

FORWARDER = web.AppKey("forwarder", Forwarder)
NEEDED = web.AppKey("needed", tuple[str, ...])


def application(settings: DoorSettings) -> web.Application:
    """The door with its issuer. Raises ValueError outside development."""
    issuer = Issuer(settings)
    upstreams = settings.upstreams()
    forwarder = Forwarder({**upstreams, **settings.besides()}, settings.public_url, settings.body_limit)
    app = web.Application()
    app[FORWARDER], app[NEEDED] = forwarder, tuple(upstreams)
    app.cleanup_ctx.append(_pool)
    app.router.add_get("/healthz", _alive)
    app.router.add_get("/readyz", _ready)
    app.router.add_route("*", "/metrics", _nothing_here)  # each process has its own port for whoever watches it
    app.add_subapp("/issuer", issuer.application())
    app.router.add_route("*", "/{path:(?s:.*)}", forwarder.forward)  # a line feed too: what it is, a service says
    return app


async def serve(settings: DoorSettings) -> None:
    """Serves until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    runner = web.AppRunner(
        application(settings),
        access_log=None,
        handler_cancellation=True,  # who hangs up on a stream lets the service know
        shutdown_timeout=DRAIN,
        max_line_size=HEADER_LIMIT,
        max_field_size=HEADER_LIMIT,
        auto_decompress=False,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
        await stop.wait()
    finally:
        await runner.cleanup()


def main() -> int:
    """`python -m peyvand.gateway.server`."""
    try:
        settings = DoorSettings()  # type: ignore[call-arg]
        configure_logging("door", "door", settings.log_level)
        asyncio.run(serve(settings))
    except ValidationError as e:
        names = ", ".join(f"PEYVAND_{'_'.join(map(str, each['loc'])).upper()}" for each in e.errors())
        print(f"the front door cannot start: set or correct {names}", file=sys.stderr)
        return 2
    except (OSError, ValueError) as e:
        print(f"the front door cannot start: {e}", file=sys.stderr)
        return 1
    return 0


async def _pool(app: web.Application) -> AsyncIterator[None]:
    async with connect() as session:
        app[FORWARDER].session = session
        yield


async def _alive(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _nothing_here(request: web.Request) -> web.Response:
    raise web.HTTPNotFound


async def _ready(request: web.Request) -> web.Response:
    """Ready when all four services are: 200, else 503 and why not."""
    forwarder = request.app[FORWARDER]
    names = request.app[NEEDED]
    answers = await asyncio.gather(*(_why_not(forwarder, name) for name in names))
    reasons = [f"{name}: {why}" for name, why in zip(names, answers, strict=True) if why]
    return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)


async def _why_not(forwarder: Forwarder, name: str) -> str:
    assert forwarder.session is not None
    try:
        async with forwarder.session.get(
            f"{forwarder.upstreams[name]}/readyz", timeout=aiohttp.ClientTimeout(total=ASKED_WITHIN)
        ) as got:
            return "" if got.status == 200 else f"not ready ({got.status})"
    except (aiohttp.ClientError, TimeoutError) as e:
        return str(e) or "no answer"


if __name__ == "__main__":
    sys.exit(main())
