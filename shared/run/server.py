"""How a process runs: `python -m <service>.main api|worker`, from start to a drained end. Needs no FastAPI.

def api() -> None:                                async def worker() -> None:
    settings = load(Settings)                         settings = load(Settings)
    serve(create(settings), settings)                 await serve_worker(Worker(...), settings)

if __name__ == "__main__":
    role_main(sys.argv, api=api, worker=worker)
"""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import Any, Protocol

import msgspec
import structlog
import uvicorn
import uvloop

from base.settings import Settings
from base.tasks import cancel_and_wait
from observability import logging, metrics

SIGNALS = (signal.SIGTERM, signal.SIGINT)
DRAIN = 20  # seconds in which what has begun may end
YOUNG = 10_000  # objects between two looks at the youngest, where Python's own is 700
METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

Ready = Callable[[], Awaitable[list[str]]]

log = structlog.get_logger(__name__)


class Runs(Protocol):
    """A worker, as far as its process cares."""

    async def run(self, stop: asyncio.Event) -> None:
        """Works until told to stop; raises what ended it."""

    async def ready(self) -> list[str]:
        """Why it is not ready."""


@cache
def build() -> str:
    """The version that runs."""
    try:
        return version("peyvand-shared")
    except PackageNotFoundError:
        return "0"


def serve(app: Any, settings: Settings) -> None:
    """Serves an API until SIGTERM or SIGINT, then lets requests end for 20 s. Exits with 3 where it cannot start."""
    logging.configure_logging(settings.service, "api", settings.log_level)
    metrics.BUILD.labels(settings.service, "api", build()).set(1)
    server = _Server(_config(app, settings, lifespan="on"), app.state.stopping.set)
    server.run()
    if not server.started:
        sys.exit(3)


async def serve_worker(worker: Runs, settings: Settings) -> None:
    """Runs a worker, with health and metrics on its port, until SIGTERM or SIGINT; it has 20 s to end.

    Raises what ended the worker, or OSError where the port is taken: a process that cannot go on ends, and is started
    anew.
    """
    logging.configure_logging(settings.service, "worker", settings.log_level)
    metrics.BUILD.labels(settings.service, "worker", build()).set(1)
    stop = asyncio.Event()

    async def ready() -> list[str]:
        return ["stopping"] if stop.is_set() else await worker.ready()

    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.create_server((settings.host, settings.port), family=family)  # uvicorn would end the loop itself
    server = _Server(_config(health_app(settings.service, ready), settings, lifespan="off"))
    loop = asyncio.get_running_loop()
    for each in SIGNALS:
        loop.add_signal_handler(each, stop.set)
    health = asyncio.create_task(server.serve([listening]), name="health")
    working = asyncio.create_task(worker.run(stop), name="worker")
    stopped = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({health, working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        if not working.done():
            await asyncio.wait({working}, timeout=DRAIN)
        if not working.done():
            log.error("drain", why=f"not drained within {DRAIN} s; what was begun will be repeated")
            working.cancel()
            await asyncio.wait({working}, timeout=1)
        elif (fault := working.exception()) is not None:
            raise fault
        if health.done():
            raise RuntimeError("health is no longer served") from health.exception()
    finally:
        for each in SIGNALS:
            loop.remove_signal_handler(each)
        server.should_exit = True
        await cancel_and_wait(stopped)
        await asyncio.gather(health, return_exceptions=True)


def health_app(service: str, ready: Ready) -> Any:
    """`/healthz`, `/readyz` and `/metrics`, and nothing else, as a bare ASGI application."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        status, kind, body = await health(scope["path"], service, ready)
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def health(path: str, service: str, ready: Ready) -> tuple[int, bytes, bytes]:
    """Status, media type and body for one of the three paths."""
    if path == "/metrics":
        from prometheus_client import REGISTRY, generate_latest

        return 200, METRICS_TYPE, generate_latest(REGISTRY)
    if path == "/healthz":
        return 200, b"application/json", msgspec.json.encode({"service": service, "version": build()})
    if path == "/readyz":
        try:
            reasons = await ready()
        except Exception as e:  # what cannot say that it is ready is not
            log.warning("readiness", trouble=repr(e))
            reasons = [f"cannot tell: {type(e).__name__}"]
        body = msgspec.json.encode({"ready": not reasons, "reasons": reasons})
        return 503 if reasons else 200, b"application/json", body
    return 404, b"application/json", b'{"paths":["/healthz","/readyz","/metrics"]}'


def role_main(
    argv: Sequence[str], *, api: Callable[[], None], worker: Callable[[], Awaitable[None]] | Callable[[], None]
) -> None:
    """Runs the role that the command line names."""
    roles: dict[str, Callable[[], Any]] = {"api": api, "worker": worker}
    if len(argv) != 2 or argv[1] not in roles:
        sys.exit(f"usage: {argv[0] if argv else 'main'} {'|'.join(roles)}")
    collect_seldom()
    running = roles[argv[1]]()
    if asyncio.iscoroutine(running):
        uvloop.run(running)


def collect_seldom() -> None:
    """What is loaded stays, and a batch makes ten thousand objects without a cycle: looked through for nothing."""
    gc.freeze()
    gc.set_threshold(YOUNG)


def _config(app: Any, settings: Settings, *, lifespan: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        lifespan=lifespan,
        log_config=None,  # `logs` has seen to it
        access_log=False,  # metrics count requests, and addresses are personal data
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.proxies,
        timeout_graceful_shutdown=DRAIN,
        timeout_keep_alive=30,
        ws="none",
    )


class _Server(uvicorn.Server):
    """uvicorn with a word to what streams for ever, and, beside a worker, without signal handlers of its own."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self.stopping = stopping

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if self.stopping is None:
            yield
            return
        before = {each: signal.signal(each, self.handle_exit) for each in SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():  # not raised again, as uvicorn would: a drained end is a good end
                signal.signal(each, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.stopping is not None:
            self.stopping()
        super().handle_exit(sig, frame)
