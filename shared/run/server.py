"""How a process runs, from start to a graceful shutdown. Needs no web framework."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FrameType
from typing import Any, Protocol

import structlog
import uvicorn
from uvicorn.middleware.proxy_headers import _TrustedHosts

from base.garbage import FULL_COLLECTION_INTERVAL, collect_all
from base.settings import ProcessSettings
from base.tasks import cancel_and_wait
from observability import metrics
from observability.health import ReadinessReason, build_version, health_app
from observability.logging import configure_logging
from run.connections import Connections, Timeouts, open_file_limit
from run.http_protocol import HttpProtocol

SIGNALS = (signal.SIGTERM, signal.SIGINT)
DRAIN = 20  # seconds in which requests and batches that have begun may end
TIMEOUTS = Timeouts()

log = structlog.get_logger(__name__)


class Runnable(Protocol):
    """A worker, as far as its process is concerned."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Raise what ended the worker."""

    async def ready(self) -> Sequence[ReadinessReason]:
        """Return why the worker is not ready."""


def serve(app: Any, settings: ProcessSettings) -> None:
    """Serve an API until SIGTERM or SIGINT, then let requests end for 20 s. Exit with 3 where it cannot start."""
    configure_logging(settings.service, "api", settings.log_level)
    metrics.BUILD.labels(settings.service, "api", build_version()).set(1)
    server = _Server(_config(app, settings, lifespan="on"), app.state.stopping.set)
    server.run()
    if not server.started:
        sys.exit(3)


async def serve_worker(worker: Runnable, settings: ProcessSettings) -> None:
    """Run a worker, with health and metrics on its port, until SIGTERM or SIGINT; then it has 20 s to end.

    Raise what ended the worker, or OSError where the port is taken: the process ends and its supervisor restarts it.
    """
    configure_logging(settings.service, "worker", settings.log_level)
    metrics.BUILD.labels(settings.service, "worker", build_version()).set(1)
    stop = asyncio.Event()

    async def ready() -> Sequence[ReadinessReason]:
        return [ReadinessReason("stopping", "stopping")] if stop.is_set() else await worker.ready()

    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Bound here, since uvicorn would end the loop if the port is taken.
    listening = socket.create_server((settings.host, settings.port), family=family)
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
            log.error("worker not drained: what it has begun will be repeated", seconds=DRAIN)
            working.cancel()
            await asyncio.wait({working}, timeout=1)
        elif (error := working.exception()) is not None:
            raise error
        if health.done():
            raise RuntimeError("the health endpoints are no longer served") from health.exception()
    finally:
        for each in SIGNALS:
            loop.remove_signal_handler(each)
        server.should_exit = True
        await cancel_and_wait(stopped)
        await asyncio.gather(health, return_exceptions=True)


def _config(app: Any, settings: ProcessSettings, *, lifespan: Any) -> uvicorn.Config:
    connections = Connections(
        settings.service,
        open_file_limit(settings.max_connections),
        settings.max_connections_per_address,
        trusted=_TrustedHosts(settings.trusted_proxies).__contains__,  # read as uvicorn reads it for X-Forwarded-For
        timeouts=TIMEOUTS,
    )
    return uvicorn.Config(
        app,
        http=partial(HttpProtocol, connections),  # type: ignore[arg-type]  # uvicorn only calls it
        host=settings.host,
        port=settings.port,
        lifespan=lifespan,
        log_config=None,  # configure_logging has set it up
        access_log=False,  # metrics count requests, and addresses are personal data
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=DRAIN,
        timeout_keep_alive=int(TIMEOUTS.idle),
        ws="none",
        timeout_notify=FULL_COLLECTION_INTERVAL,
        callback_notify=collect_all,
    )


class _Server(uvicorn.Server):
    """uvicorn that stops endless streams and which, next to a worker, installs no signal handlers."""

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
            for each, handler in before.items():  # not raised again, as uvicorn would: a drained exit is a clean exit
                signal.signal(each, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.stopping is not None:
            self.stopping()
        super().handle_exit(sig, frame)
