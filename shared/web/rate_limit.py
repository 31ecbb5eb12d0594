"""Rate limits: `dependencies=[limited("tracking", per_minute=20)]` on a route; 429 with Retry-After beyond it.

`dependencies=[streaming(total=2_000, per_address=200)]` limits how many of a route's endless responses are open; 204
beyond it, after which an EventSource does not reconnect.
"""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Depends, HTTPException
from starlette.requests import Request

from base.addresses import network_of
from contracts.commands import Refused
from observability import metrics
from security.auth import PUBLIC, Principal, Unauthenticated
from web.authorization import authorized_principal

MINUTES_OWED = 24 * 60  # at most: many requests that arrive together are all counted after their answers
BUCKETS_KEPT = 50_000  # beyond that the least recently used is dropped


class Buckets:
    """Token buckets in the memory of one process, by name and caller, in machine time."""

    def __init__(self, now: Callable[[], float] = time.monotonic, kept: int = BUCKETS_KEPT) -> None:
        self.now, self.kept = now, kept
        self.buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()  # tokens, and as of when

    def take(self, name: str, caller: str, per_minute: float, burst: float) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        tokens = self._tokens(name, caller, per_minute, burst)
        self._keep(name, caller, tokens - 1 if tokens >= 1 else tokens)
        return 0.0 if tokens >= 1 else (1 - tokens) * 60 / per_minute

    def charge(self, name: str, caller: str, n: int, per_minute: float, burst: float) -> float:
        """Take n tokens, on credit where there are fewer; return the seconds until none is owed, at most a day."""
        tokens = max(self._tokens(name, caller, per_minute, burst) - n, -MINUTES_OWED * per_minute)
        self._keep(name, caller, tokens)
        return max(0.0, -tokens) * 60 / per_minute

    def _tokens(self, name: str, caller: str, per_minute: float, burst: float) -> float:
        now = self.now()
        tokens, as_of = self.buckets.get((name, caller), (burst, now))
        return min(burst, tokens + (now - as_of) * per_minute / 60)

    def _keep(self, name: str, caller: str, tokens: float) -> None:
        self.buckets[name, caller] = tokens, self.now()
        self.buckets.move_to_end((name, caller))
        if len(self.buckets) > self.kept:
            self.buckets.popitem(last=False)


class Limit:
    """The dependency behind `limited`."""

    def __init__(self, name: str, per_minute: float, burst: float) -> None:
        self.name, self.per_minute, self.burst = name, per_minute, burst

    async def __call__(self, request: Request) -> None:
        """Raise Refused: too_many_requests."""
        try:
            principal = await authorized_principal(request)
        except Unauthenticated:
            principal = None
        caller = caller_of(request, principal)
        wait = request.app.state.buckets.take(self.name, caller, self.per_minute, self.burst)
        if wait:
            metrics.RATE_LIMITED.labels(request.app.state.settings.service, self.name).inc()
            raise Refused("too_many_requests", seconds=math.ceil(wait))


def limited(name: str, per_minute: float, burst: float | None = None) -> Any:
    """Return a dependency that limits requests of each caller.

    Routes with the same name share a bucket. `burst` requests may come at once, by default those of a minute.
    """
    return Depends(Limit(name, per_minute, per_minute if burst is None else burst))


class StreamLimit:
    """The dependency behind `streaming`."""

    def __init__(self, total: int, per_address: int) -> None:
        self.total, self.per_address = total, per_address

    async def __call__(self, request: Request) -> AsyncIterator[None]:
        """Count a stream until it ends. Raise HTTPException: 204 beyond a limit."""
        streams: Counter[str] = request.app.state.streams
        address = caller_of(request, None)
        if streams.total() >= self.total or streams[address] >= self.per_address:
            metrics.RATE_LIMITED.labels(request.app.state.settings.service, "streams").inc()
            raise HTTPException(204)
        streams[address] += 1
        request.scope["peyvand.endless"] = True  # see `run.http_protocol`
        try:
            yield
        finally:
            streams[address] -= 1
            if not streams[address]:
                del streams[address]


def streaming(total: int, per_address: int) -> Any:
    """Return a dependency that limits the open streams of a process, and those of each client address."""
    return Depends(StreamLimit(total, per_address))


def caller_of(request: Request, principal: Principal | None) -> str:
    """Return whom to count a request for: the principal who is signed in, else `@` and the client's address."""
    if principal is not None and PUBLIC not in principal.roles:
        return principal.id
    return f"@{network_of(request.client.host) if request.client else ''}"
