"""No request costs much: the worst known texts in every field, header and claim, by the CPU time that they take.

The measure is the same operation with one kilobyte of plain text in the same place, in the same run.
"""

import base64
import time
import unicodedata
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.generated_requests import (
    CLAIMS,
    KEY,
    SERVICES,
    Form,
    Operation,
    Sent,
    Value,
    bearer,
    client_of,
    encoded,
    operations,
    over_memory,
    quoted,
    url_of,
)
from tests.support.tokens import Issuer
from web.app import App
from web.rate_limit import Buckets

TIMES = 20
PLAIN = Value(*["a" * 1_000] * 4)
BYTES = 60_000  # of a body; the limit is 64 KiB
URL_BYTES = 8_000  # of an address as sent; the limit is 8 KiB
LONGEST_ROUTE = 200  # bytes of an address without the text
HEADER_BYTES = 60_000  # the head of a request may have 64 kB
CLAIM_BYTES = 1_400  # a token may have 8 KiB, and takes up to 4 bytes for each
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


HEADERS = (
    *("Idempotency-Key", "X-Request-ID", "Accept", "Accept-Language", "Authorization", "Content-Type", "Host"),
    *("Origin", "Cache-Control", "If-None-Match", "Sec-Fetch-Site", "traceparent", "Forwarded", "X-Forwarded-For"),
    *("Cookie", "Cookie peyvand_token", "Cookie peyvand_lang", "Cookie peyvand_login", "Cookie peyvand_draft"),
)
TOKEN_CLAIMS = ("sub", "jti", "iss", "aud", "exp", "name", "roles", "province", "county", "lead", "another")
DEEP: Mapping[str, bytes] = {
    "lists": b"[" * (BYTES // 2) + b"]" * (BYTES // 2),
    "lists without end": b"[" * BYTES,
    "objects": b'{"a":' * (BYTES // 6) + b"1" + b"}" * (BYTES // 6),
    "a field of lists": b'{"reason":' + b"[" * (BYTES // 2 - 10) + b"]" * (BYTES // 2 - 10) + b"}",
    "a million names": b"{" + b",".join(b'"%x":1' % n for n in range(BYTES // 9)) + b"}",
    "a name many times": b"{" + b",".join([b'"reason":1'] * (BYTES // 11)) + b"}",
    "a long number": b'{"reason":' + b"9" * (BYTES - 20) + b"}",
    "a long fraction": b'{"reason":0.' + b"9" * (BYTES - 20) + b"e-9999}",
    "escapes": b'{"reason":"' + b"\\u0301" * (BYTES // 6 - 10) + b'"}',
}


class Compared(NamedTuple):
    """A request, and the one with plain text in the same place."""

    where: str
    name: str
    plain: Sent
    worst: Sent


def filled(unit: str, size: int) -> str:
    """Return the unit as often as it fits into so many bytes."""
    return unit * (size // len(unit.encode()))


def longest(unit: str) -> Value:
    """Return the unit as often as it fits everywhere; in an address and a form it is percent-encoded."""
    encoding = len(quoted(unit)) // len(encoded(unit))
    url, form = filled(unit, (URL_BYTES - LONGEST_ROUTE) // encoding), filled(unit, BYTES // encoding)
    return Value(filled(unit, BYTES), url, filled(unit, CELL), form)


def in_fields(operation: Operation | Form) -> Iterator[Compared]:
    """Yield requests with each text in each field."""
    plain = dict(operation.requests(PLAIN))
    for name, unit in WORST.items():
        for where, sent in operation.requests(longest(unit)):
            yield Compared(where, name, plain[where], sent)
    for name, raw in DEEP.items():
        cursor = base64.urlsafe_b64encode(raw[: (URL_BYTES - LONGEST_ROUTE) * 3 // 4]).decode()
        for where, sent in operation.requests(Value.of(cursor)):
            if where.startswith("query"):
                yield Compared(where, f"cursor of {name}", plain[where], sent)


def in_bodies(operation: Operation | Form) -> Iterator[Compared]:
    """Yield requests with each deep or long JSON as the body, also of operations that take another type or none."""
    for media_type in ("application/json", "application/problem+json", "text/csv", "application/x-www-form-urlencoded"):
        request = {"url": url_of(operation), "headers": {"Content-Type": media_type, **KEY}}
        plain = {**request, "content": b'{"reason":"' + b"a" * 1_000 + b'"}'}
        for name, raw in DEEP.items():
            yield Compared(media_type, name, plain, {**request, "content": raw})


def in_headers(operation: Operation | Form) -> Iterator[Compared]:
    """Yield requests with each text in each header that is read."""

    def request(name: str, text: str) -> Sent:
        header, _, cookie = name.partition(" ")
        value = encoded(f"{cookie}={text}" if cookie else text).strip()
        return {"url": url_of(operation), "headers": [(header, value), ("Accept", "text/html")]}

    for header in HEADERS:
        plain = request(header, "a" * 1_000)
        for name, unit in WORST.items():
            yield Compared(f"header {header}", name, plain, request(header, filled(unit, HEADER_BYTES)))


def in_claims(operation: Operation | Form, issuer: Issuer) -> Iterator[Compared]:
    """Yield requests with each text in each claim of a valid token."""

    def request(claim: str, value: Any) -> Sent:
        token = issuer.token("manager", **{**CLAIMS, "jti": "a", claim: value})
        return {"url": url_of(operation), "headers": {"Authorization": f"Bearer {token}"}}

    for claim in TOKEN_CLAIMS:
        plain = request(claim, "a" * 1_000)
        for name, unit in WORST.items():
            text = filled(unit, CLAIM_BYTES)
            yield Compared(f"claim {claim}", name, plain, request(claim, text))
            yield Compared(f"claim {claim}", f"list of {name}", plain, request(claim, list(text[: CLAIM_BYTES // 8])))


@pytest.fixture(params=SERVICES)
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[App, Issuer]]:
    """One of the services over memory, and the issuer of its tokens."""
    async with over_memory(request.param, tmp_path) as running:
        yield running


class Measured:
    """An application that measures the CPU time of its requests, without that of the client."""

    def __init__(self, app: Any) -> None:
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

    async def slow(self, client: httpx.AsyncClient, method: str, requests: Iterable[Compared]) -> Sequence[str]:
        """Return the requests that take too long."""
        slow, plain = list[str](), dict[str, float]()
        for where, name, simple, worst in requests:
            if where not in plain:
                plain[where] = await self.cpu_time(client, method, simple, 3)
            limit = TIMES * plain[where]
            if (taken := await self.cpu_time(client, method, worst, 1)) > limit:
                taken = await self.cpu_time(client, method, worst, 10)  # a measure that others disturbed
            if taken > limit:
                slow.append(f"{method} {worst['url'][:80]} {where}, {name}: {taken * 1e3:.1f} ms of {limit * 1e3:.1f}")
        return slow


async def test_the_worst_texts_cost_little_everywhere(service: tuple[App, Issuer]) -> None:
    app, issuer = service
    measured, slow, seen = Measured(app), list[str](), set[tuple[str, bool]]()
    async with client_of(measured) as client:
        for operation in operations(app):
            client.headers = httpx.Headers(allowed := bearer(app, issuer, operation))
            slow += await measured.slow(client, operation.method, in_fields(operation))
            if operation.method != "GET":
                slow += await measured.slow(client, operation.method, in_bodies(operation))
            if (kind := (operation.method, bool(allowed))) not in seen:  # read before the operation is known
                seen.add(kind)
                slow += await measured.slow(client, operation.method, in_headers(operation))
                slow += await measured.slow(client, operation.method, in_claims(operation, issuer))
    assert slow == []
    assert seen >= {("GET", True), ("POST", True)}


async def test_what_takes_long_is_found() -> None:
    """The canary."""

    async def normalizes(request: Request) -> Response:
        return Response(unicodedata.normalize("NFC", (await request.body()).decode()[:100]))

    async def normalizes_everything(request: Request) -> Response:
        return Response(unicodedata.normalize("NFC", (await request.body()).decode()))

    routes = [Route(f"/{each.__name__}", each, methods=["POST"]) for each in (normalizes, normalizes_everything)]
    app: Any = Starlette(routes=routes)
    app.state.buckets = Buckets()
    worst = encoded(filled(WORST["combining marks"], BYTES))
    async with client_of(measured := Measured(app)) as client:
        for url, found in (("/normalizes", 0), ("/normalizes_everything", 1)):
            request = Compared("body", "marks", {"url": url, "content": b"a" * 1_000}, {"url": url, "content": worst})
            assert len(await measured.slow(client, "POST", [request])) == found
