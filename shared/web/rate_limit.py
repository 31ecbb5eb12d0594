"""Rate limits: `dependencies=[limited("tracking", per_minute=20)]` on a route; 429 with Retry-After beyond it."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from fastapi import Depends
from starlette.requests import Request

from contracts.commands import Refused
from observability import metrics
from security.auth import PUBLIC, Unauthenticated, authorized_principal

BUCKETS_KEPT = 50_000  # the one used longest ago is forgotten first


class Buckets:
    """Token buckets in the memory of one process, by name and by who asks. Machine time."""

    def __init__(self, now: Callable[[], float] = time.monotonic, kept: int = BUCKETS_KEPT) -> None:
        self.now, self.kept = now, kept
        self.left: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()  # tokens, and when counted

    def take(self, name: str, who: str, per_minute: float, burst: float) -> float:
        """Takes a token; returns 0, or the seconds until there will be one."""
        now = self.now()
        tokens, counted = self.left.pop((name, who), (burst, now))
        tokens = min(burst, tokens + (now - counted) * per_minute / 60)
        wait = 0.0 if tokens >= 1 else (1 - tokens) * 60 / per_minute
        self.left[name, who] = (tokens - 1 if tokens >= 1 else tokens), now
        if len(self.left) > self.kept:
            self.left.popitem(last=False)
        return wait


class Limit:
    """How often one principal, or one address where nobody is signed in, may use what bears this name."""

    def __init__(self, name: str, per_minute: float, burst: float) -> None:
        self.name, self.per_minute, self.burst = name, per_minute, burst

    async def __call__(self, request: Request) -> None:
        """Raises Refused("too_many_requests")."""
        wait = request.app.state.buckets.take(self.name, await _who(request), self.per_minute, self.burst)
        if wait:
            metrics.LIMITED.labels(request.app.state.settings.service, self.name).inc()
            raise Refused("too_many_requests", seconds=math.ceil(wait))


def limited(name: str, per_minute: float, burst: float | None = None) -> Any:
    """A dependency that limits a route; routes of one name share a bucket. `burst` is at once, else a minute's."""
    return Depends(Limit(name, per_minute, per_minute if burst is None else burst))


async def _who(request: Request) -> str:
    try:
        principal = await authorized_principal(request)
        if PUBLIC not in principal.roles:
            return principal.id
    except Unauthenticated:
        pass
    return f"@{request.client.host if request.client else ''}"
