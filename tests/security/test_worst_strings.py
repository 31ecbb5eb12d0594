"""No request costs much: the worst known strings in every field of every operation, by the CPU time that they take.

The measure is the same operation with one kilobyte of plain text in the same field, in the same run.
"""

import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.generated_requests import (
    SERVICES,
    Sent,
    Value,
    bearer,
    client_of,
    operations,
    over_memory,
)
from tests.support.tokens import Issuer
from web.app import App

TIMES = 20
PLAIN = Value(*["a" * 1_000] * 4)
BYTES = 60_000  # of a body; the limit is 64 KiB
URL_BYTES = 8_000
CELL = 131_071  # characters: the longest that Python's csv module reads
WORST: Mapping[str, str] = {  # repeated as often as they fit
    "combining marks": "\u0301\u0327",
    "marks after a letter": "ا\u0655\u064b\u0327",
    "zero-width non-joiners": "\u200c",
    "presentation forms": "\ufdfa",
    "Hangul letters": "\u1100\u1161\u11a8",
    "digits": "9",
    "Persian digits": "۹",
    "spaces": " ",
    "slashes": "/",
    "letters that are replaced": "ي\u0640",
}


def filled(unit: str, size: int) -> str:
    """Return the unit as often as it fits into so many bytes."""
    return unit * (size // len(unit.encode()))


def longest(unit: str) -> Value:
    """Return the unit as often as it fits everywhere; in a form it is percent-encoded."""
    form = BYTES if unit.isascii() else BYTES // 3
    return Value(filled(unit, BYTES), filled(unit, URL_BYTES), filled(unit, CELL), filled(unit, form))


@pytest.fixture(params=SERVICES)
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[App, Issuer]]:
    """One of the services over memory, and the issuer of its tokens."""
    async with over_memory(request.param, tmp_path) as running:
        yield running


class Measured:
    """An application that measures the CPU time of its requests, without that of the client."""

    def __init__(self, app: App) -> None:
        self.app, self.taken = app, 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        started = time.process_time()
        await self.app(scope, receive, send)
        self.taken = time.process_time() - started

    async def cpu_time(self, client: httpx.AsyncClient, method: str, sent: Sent, repeats: int) -> float:
        """Return the CPU seconds of a request, at best; it must not fail."""
        best = float("inf")
        for _ in range(repeats):
            self.app.state.buckets.buckets.clear()  # no rate limit: a request that is refused costs nothing
            response = await client.request(method, **sent)
            assert response.status_code < 500, f"{method} {sent['url'][:200]}: {response.text[:300]}"
            assert response.status_code != 429
            best = min(best, self.taken)
        return best


async def test_the_worst_strings_cost_little_in_every_field(service: tuple[App, Issuer]) -> None:
    app, issuer = service
    measured, slow = Measured(app), list[str]()
    async with client_of(measured) as client:
        for operation in operations(app):
            client.headers = httpx.Headers(bearer(app, issuer, operation))
            plain = {
                where: await measured.cpu_time(client, operation.method, sent, 3)
                for where, sent in operation.requests(PLAIN)
            }
            for name, unit in WORST.items():
                for where, sent in operation.requests(longest(unit)):
                    limit = TIMES * plain[where]
                    if (taken := await measured.cpu_time(client, operation.method, sent, 1)) > limit:
                        taken = await measured.cpu_time(client, operation.method, sent, 3)
                    if taken > limit:
                        times = f"{taken / plain[where]:.0f} times {plain[where] * 1e3:.1f} ms"
                        slow.append(f"{operation.method} {operation.path} {where}, {name}: {times}")
    assert slow == []
