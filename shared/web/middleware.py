"""The outermost layer of every API: request ids, hosts, cross-site writes, security headers, latency, faults.

Plain ASGI and cheap: everything that can be prepared is, and a header is looked at once.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from base.settings import Settings
from observability import metrics
from security.auth import COOKIE
from web.problems import problem, respond

CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
OWN = frozenset({"/healthz", "/readyz", "/metrics"})  # of the process: asked at its port, never through a proxy
UNMATCHED = "unmatched"
CLOSED_SECONDS = 10  # after which to come again

_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")
_COOKIE = f"{COOKIE}=".encode()

log = structlog.get_logger(__name__)


class Middleware:
    """Wraps an application; `templates` gives paths by endpoint, `closed` why nobody is served."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        templates: Callable[[], Mapping[Any, str]],
        closed: Callable[[], str] = lambda: "",
    ) -> None:
        self.app, self.service, self.templates, self.closed = app, settings.service, templates, closed
        public = urlsplit(settings.public_url)
        self.development = settings.development
        self.hosts = {public.hostname or "", settings.host, "127.0.0.1", "localhost", "[::1]"}
        self.origin = f"{public.scheme}://{public.netloc}".encode()
        self.security = [
            (b"content-security-policy", CONTENT_POLICY.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
        ]
        if not settings.development:
            self.security.append((b"strict-transport-security", b"max-age=63072000; includeSubDomains"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, headers = time.perf_counter(), dict(scope["headers"])
        _name(scope, headers)
        started = replaced = False

        async def answer(message: Message) -> None:
            nonlocal started, replaced
            if message["type"] == "http.response.start":
                started = True
                if message["status"] >= 400 and _plain(message["headers"]):
                    replaced = True  # some layer spoke for itself, in plain text
                    await self._plainly_refused(scope, receive, message, answer)
                    return
                message["headers"] = [*message["headers"], *self.security, *_kept(message["headers"]), scope_id]
                template = self.templates().get(scope.get("endpoint"), UNMATCHED)
                metrics.observe_request(
                    self.service, template, scope["method"], message["status"], time.perf_counter() - began
                )
            elif replaced and not message.pop("peyvand.ours", False):
                return
            await send(message)

        scope_id = (b"x-request-id", scope["peyvand.request_id"].encode())
        structlog.contextvars.bind_contextvars(request_id=scope["peyvand.request_id"])
        try:
            if code := self._refusal(scope, headers):
                wait = {"Retry-After": str(CLOSED_SECONDS)} if code == "restoring" else {}
                body = problem(code, instance=scope["peyvand.request_id"], seconds=CLOSED_SECONDS)
                await respond(Request(scope), body, wait)(scope, receive, answer)
            else:
                await self.app(scope, receive, answer)
        except Exception:
            log.exception("fault", method=scope["method"], route=self.templates().get(scope.get("endpoint"), UNMATCHED))
            if not started:
                await self._refuse(scope, receive, answer, 500)
            elif not replaced:
                raise  # half an answer is out: only closing the connection says that it is not whole

    def _refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        if scope["path"] in OWN:
            return "not_found" if b"x-forwarded-for" in headers else ""
        if self.closed():
            return "restoring"
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name not in self.hosts and not (self.development and name.isalnum()):
            return "host_unknown"
        return "" if scope["method"] in SAFE or self._same_site(headers, host) else "cross_site"

    def _same_site(self, headers: Mapping[bytes, bytes], host: str) -> bool:
        """Whether a write comes from our own pages, or from a programme, which brings no cookie."""
        if b"authorization" in headers:
            return True
        if site := headers.get(b"sec-fetch-site"):
            return site in (b"same-origin", b"none")
        if origin := headers.get(b"origin"):
            return origin == self.origin or origin.partition(b"://")[2] == host.encode()
        return _COOKIE not in headers.get(b"cookie", b"")

    async def _plainly_refused(self, scope: Scope, receive: Receive, message: Message, answer: Send) -> None:
        await self._refuse(scope, receive, answer, message["status"])

    async def _refuse(self, scope: Scope, receive: Receive, answer: Send, status: int) -> None:
        code = {413: "too_large", 404: "not_found", 405: "method_not_allowed"}.get(
            status, "malformed" if status < 500 else "failed"
        )
        limit = scope.get("starlette.max_body_size", 0) // 1024
        body = problem(code, status=status, instance=scope["peyvand.request_id"], limit=limit)

        async def ours(message: Message) -> None:
            await answer({**message, "peyvand.ours": True} if message["type"] == "http.response.body" else message)

        await respond(Request(scope), body)(scope, receive, ours)


def _name(scope: Scope, headers: Mapping[bytes, bytes]) -> None:
    """Gives the request its id and its place in a trace: what the caller brought, where it will do."""
    trace = headers.get(b"traceparent", b"")
    if not _TRACEPARENT.fullmatch(trace):
        chance = os.urandom(24).hex()
        trace = f"00-{chance[:32]}-{chance[32:]}-00".encode()
    told = headers.get(b"x-request-id", b"")
    scope["peyvand.traceparent"] = trace.decode()
    scope["peyvand.request_id"] = told.decode() if _REQUEST_ID.fullmatch(told) else trace[3:35].decode()


def _plain(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/plain") for name, value in headers)


def _kept(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Nothing is kept by caches unless the route says so; what has a version may be kept and asked about."""
    names = {name for name, _ in headers}
    if b"cache-control" in names:
        return []
    return [(b"cache-control", b"private, no-cache" if b"etag" in names else b"no-store")]
