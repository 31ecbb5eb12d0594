"""Readiness and latency of each process, from its health endpoints."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from observability.health import ReadinessReason
from peyvand.endpoints import Endpoints, ProcessEndpoint
from peyvand.local_cluster.topology import ARCHIVE, SERVICES

if TYPE_CHECKING:
    import httpx

TIMEOUT = 3.0  # seconds for a process to answer
LATENCY = "peyvand_event_to_handled_seconds_bucket"
LAST_EVENT = "peyvand_province_last_event_timestamp_seconds"


class ProcessStatus(msgspec.Struct, frozen=True):
    """One process: ready, or the reasons why not; of a worker also the time until events are handled."""

    name: str
    pid: int
    port: int
    ready: bool
    reasons: tuple[ReadinessReason, ...] = ()
    handled_p95: float | None = None  # seconds
    handled_p50: float | None = None  # seconds
    restarts: int = 0
    hours_silent: dict[str, float] = {}  # province -> hours since its last event was counted here


class _Readiness(msgspec.Struct):
    reasons: tuple[ReadinessReason, ...] = ()


def process_statuses(endpoints: Endpoints) -> tuple[ProcessStatus, ...]:
    """Return the status of each process, or of the gateway alone if only the public URL is known."""
    known = (*SERVICES, ARCHIVE, "gateway")
    processes = [each for each in endpoints.processes if each.port and each.name.partition("-")[0] in known]
    if not processes:
        code, body = _get(f"{endpoints.public_url}/readyz")
        return (ProcessStatus("gateway", 0, 0, code == 200, readiness_reasons(code, body)),)
    return tuple(_process_status(each) for each in processes)


def readiness_reasons(code: int, body: bytes) -> tuple[ReadinessReason, ...]:
    """Return the reasons in a readiness response; none if the process is ready. Code 0 is no response at all."""
    if code == 200:
        return ()
    if not code:
        return (ReadinessReason("no_answer", body.decode(errors="replace")),)
    try:
        reasons = msgspec.json.decode(body, type=_Readiness).reasons
    except msgspec.DecodeError:
        reasons = ()
    return reasons or (ReadinessReason("not_ready", f"answered {code}"),)


def quantile(share: float, buckets: Iterable[tuple[float, float]]) -> float | None:
    """Return a quantile of cumulative (upper bound, count) buckets, interpolated; None if they are empty."""
    ordered = sorted(buckets)
    if not ordered or ordered[-1][1] == 0:
        return None
    target, lower, counted = share * ordered[-1][1], 0.0, 0.0
    for bound, count in ordered:
        if count >= target:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (target - counted) / (count - counted)
        lower, counted = bound, count
    return lower


def _process_status(process: ProcessEndpoint) -> ProcessStatus:
    code, body = _get(f"http://{process.host}:{process.port}/readyz")
    samples = samples_of(process) if "worker" in process.name and code else ()
    buckets = [(float(s.labels["le"]), s.value) for s in samples if s.name == LATENCY]
    last_events = {s.labels["province"]: s.value for s in samples if s.name == LAST_EVENT}
    now = time.time()
    return ProcessStatus(
        process.name,
        process.pid,
        process.port,
        code == 200,
        readiness_reasons(code, body),
        quantile(0.95, buckets),
        quantile(0.5, buckets),
        process.restarts,
        {province: round(max(0.0, now - at) / 3_600, 1) for province, at in last_events.items()},
    )


def samples_of(process: ProcessEndpoint) -> tuple[Any, ...]:
    """Return the samples of the metrics of a process; none if it does not answer."""
    from prometheus_client.parser import text_string_to_metric_families

    code, body = _get(f"http://{process.host}:{process.port}/metrics")
    if code != 200:
        return ()
    return tuple(s for family in text_string_to_metric_families(body.decode()) for s in family.samples)


def _get(url: str) -> tuple[int, bytes]:
    """Return status and body; 0 and the error if there is no response."""
    from base.http_client import HttpClient, HttpError

    origin, _, path = url.partition("://")[2].partition("/")
    try:
        with HttpClient(f"{url.partition('://')[0]}://{origin}", timeout=TIMEOUT) as client:
            response: httpx.Response = client.request("GET", f"/{path}")
    except HttpError as e:
        if e.response is not None:
            return e.status, e.response.content
        return 0, f"no answer: {e.__cause__ or e}".encode()
    return response.status_code, response.content
