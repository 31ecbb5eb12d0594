"""The three health endpoints of every process: /healthz (alive), /readyz (may receive work, or why not), /metrics."""

from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
import structlog

PATHS = ("/healthz", "/readyz", "/metrics")
JSON_TYPE = b"application/json"
METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

log = structlog.get_logger(__name__)


class ReadinessReason(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reason why a process is not ready. `code` is for programs and stable; `text` is for people."""

    code: str
    text: str
    topic: str = ""
    partition: int = -1


CLOCK_SKEW_LIMIT = 5.0  # seconds between this machine's clock and the database's

Ready = Callable[[], Awaitable[Sequence[ReadinessReason]]]  # none: the process is ready


def clock_skew_reason(skew: float) -> list[ReadinessReason]:
    """Return why a process whose clock differs so much from the database's is not ready; empty if it is."""
    text = f"this machine's clock and the database's differ by {skew:.1f} s"
    return [ReadinessReason("clock_skew", text)] if skew > CLOCK_SKEW_LIMIT else []


@cache
def build_version() -> str:
    """Return the version that runs; "0" if the package is not installed."""
    try:
        return version("peyvand-shared")
    except PackageNotFoundError:
        return "0"


async def health(path: str, service: str, ready: Ready) -> tuple[int, bytes, bytes]:
    """Return status, media type and body for one of the three paths; any other path is a 404."""
    if path == "/metrics":
        from prometheus_client import REGISTRY, generate_latest

        return 200, METRICS_TYPE, generate_latest(REGISTRY)
    if path == "/healthz":
        return 200, JSON_TYPE, msgspec.json.encode({"service": service, "version": build_version()})
    if path == "/readyz":
        reasons = await _reasons(service, ready)
        body = msgspec.json.encode({"ready": not reasons, "reasons": reasons})
        return 503 if reasons else 200, JSON_TYPE, body
    return 404, JSON_TYPE, msgspec.json.encode({"paths": PATHS})


def health_app(service: str, ready: Ready) -> Any:
    """Return the three endpoints, and nothing else, as an ASGI application without a framework."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        status, media_type, body = await health(scope["path"], service, ready)
        headers = [
            (b"content-type", media_type),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def _reasons(service: str, ready: Ready) -> list[ReadinessReason]:
    """Return the reasons; a check that fails is one itself."""
    try:
        return list(await ready())
    except Exception as e:
        log.warning("readiness check failed", service=service, error=e)
        return [ReadinessReason("check_failed", f"the readiness check failed: {type(e).__name__}")]
