"""The outermost layer of every API: request ids, host check, cross-site check, security headers, latency, faults.

Plain ASGI: it runs on every request, so whatever does not depend on the request is computed once.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from base.settings import Settings
from observability import health, metrics
from observability.log_fields import REQUEST_ID, error_id
from security.auth import COOKIE
from web.problems import code_of, problem, respond

CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
FRAMED = {"X-Frame-Options": "SAMEORIGIN"}  # header of a page that our own pages may show in a frame
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PROCESS_PATHS = frozenset(health.PATHS)  # of the process: served at its own port, never through a proxy
UNMATCHED = "unmatched"  # route label of paths without a route
CLOSED_RETRY_AFTER = 10  # seconds
LONGEST_ADDRESS = 8 << 10  # bytes of path and query as sent; each routed part is decoded several times

_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_COOKIE = f"{COOKIE}=".encode()

log = structlog.get_logger(__name__)


def security_headers(content_policy: str, *, development: bool) -> list[tuple[bytes, bytes]]:
    """Return the headers of every response; a browser keeps to TLS except in development."""
    headers = [
        (b"content-security-policy", content_policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"same-origin"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    ]
    return (
        headers if development else [*headers, (b"strict-transport-security", b"max-age=63072000; includeSubDomains")]
    )


class Middleware:
    """Wrap an application. `templates` returns path templates by endpoint, `closed` why a method is refused for now."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        templates: Callable[[], Mapping[Any, str]],
        closed: Callable[[str], str] = lambda method: "",
    ) -> None:
        self.app, self.service, self.templates, self.closed = app, settings.service, templates, closed
        public = urlsplit(settings.public_url)
        self.development = settings.development
        self.hosts = {public.hostname or "", settings.host, "127.0.0.1", "localhost", "[::1]"}
        self.origin = f"{public.scheme}://{public.netloc}".encode()
        self.security_headers = security_headers(CONTENT_POLICY, development=settings.development)
        framed = CONTENT_POLICY.replace("frame-ancestors 'none'", "frame-ancestors 'self'")
        self.framed_headers = security_headers(framed, development=settings.development)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        arrived, headers = time.perf_counter(), dict(scope["headers"])
        _identify(scope, headers)
        request_id = scope["peyvand.request_id"]
        started = replaced = False

        async def send_guarded(message: Message) -> None:
            nonlocal started, replaced
            if message["type"] == "http.response.start":
                started = True
                if message["status"] >= 400 and _is_plain_text(message["headers"]):
                    replaced = True  # an inner layer refused in plain text: send a problem instead
                    await self._send_problem(scope, receive, send_guarded, message["status"])
                    return
                security = self.security_headers
                if any(name == b"x-frame-options" for name, _ in message["headers"]):
                    security = [each for each in self.framed_headers if each[0] != b"x-frame-options"]
                own = [*security, *_cache_control(message["headers"])]
                message["headers"] = [*message["headers"], *own, (b"x-request-id", request_id.encode())]
                duration = time.perf_counter() - arrived
                metrics.observe_request(
                    self.service, self._template(scope), scope["method"], message["status"], duration
                )
            elif replaced and not message.pop("peyvand.replacement", False):
                return  # the body in plain text
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id, error_id=error_id(request_id))
        try:
            if code := self._refusal(scope, headers):
                retry = {"Retry-After": str(CLOSED_RETRY_AFTER)} if code == self.closed(scope["method"]) else {}
                body = problem(code, instance=request_id, seconds=CLOSED_RETRY_AFTER, limit=LONGEST_ADDRESS >> 10)
                await respond(Request(scope), body, retry)(scope, receive, send_guarded)
            else:
                await self.app(scope, _in_time(scope, receive), send_guarded)
        except ClientDisconnect:
            return  # before its request was whole: there is no one to answer
        except Exception:
            log.exception("request failed", method=scope["method"], route=self._template(scope))
            if not started:
                await self._send_problem(scope, receive, send_guarded, 500)
            elif not replaced:
                raise  # part of the response is sent: only closing the connection shows that it is incomplete

    def _template(self, scope: Scope) -> str:
        return self.templates().get(scope.get("endpoint"), UNMATCHED)

    def _refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        """Return the code with which to refuse a request before any route sees it, or ""."""
        if scope["path"] in PROCESS_PATHS:
            return "not_found" if b"x-forwarded-for" in headers else ""
        path, query = scope.get("raw_path") or b"", scope["query_string"]
        if len(path) + len(query) > LONGEST_ADDRESS:
            return "address_too_long"
        if not _is_text(path) or not _is_text(query):
            return "malformed"
        if code := self.closed(scope["method"]):
            return code
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name not in self.hosts and not (self.development and name.isalnum()):
            return "host_unknown"
        return "" if scope["method"] in SAFE or self._is_same_site(headers, host) else "cross_site"

    def _is_same_site(self, headers: Mapping[bytes, bytes], host: str) -> bool:
        """Return whether a write comes from our own pages or from a program, which sends no cookie."""
        if b"authorization" in headers:
            return True
        if site := headers.get(b"sec-fetch-site"):
            return site in (b"same-origin", b"none")
        if origin := headers.get(b"origin"):
            return origin == self.origin or origin.partition(b"://")[2] == host.encode()
        return _COOKIE not in headers.get(b"cookie", b"")

    async def _send_problem(self, scope: Scope, receive: Receive, send: Send, status: int) -> None:
        code = code_of(status)
        limit = scope.get("starlette.max_body_size", 0) // 1024
        body = problem(code, status=status, instance=scope["peyvand.request_id"], limit=limit)

        async def send_replacement(message: Message) -> None:
            is_body = message["type"] == "http.response.body"
            await send({**message, "peyvand.replacement": True} if is_body else message)

        await respond(Request(scope), body)(scope, receive, send_replacement)


def _in_time(scope: Scope, receive: Receive) -> Receive:
    """Return a `receive` that raises 408 when the body takes too long."""

    async def receive_in_time() -> Message:
        message = await receive()
        if "peyvand.body_too_slow" in scope:  # set by `run.http_protocol`
            raise HTTPException(408)
        return message

    return receive_in_time


def _identify(scope: Scope, headers: Mapping[bytes, bytes]) -> None:
    """Set the request id and the trace: those of the caller if they are well formed, else random ones."""
    trace = headers.get(b"traceparent", b"")
    if not _TRACEPARENT.fullmatch(trace):
        random = os.urandom(24).hex()
        trace = f"00-{random[:32]}-{random[32:]}-00".encode()
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    scope["peyvand.traceparent"] = trace.decode()
    scope["peyvand.request_id"] = given if REQUEST_ID.fullmatch(given) else trace[3:35].decode()


def _is_text(encoded: bytes) -> bool:
    """Return whether a part of an address is UTF-8 without NUL once it is decoded."""
    if b"%" not in encoded and encoded.isascii():
        return b"\0" not in encoded
    decoded = unquote_to_bytes(encoded)
    try:
        return "\0" not in decoded.decode()
    except UnicodeDecodeError:
        return False


def _is_plain_text(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/plain") for name, value in headers)


def _cache_control(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Forbid caching unless the route allows it; a response with an ETag may be kept and revalidated."""
    names = {name for name, _ in headers}
    if b"cache-control" in names:
        return []
    return [(b"cache-control", b"private, no-cache" if b"etag" in names else b"no-store")]
