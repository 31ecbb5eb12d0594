"""Forward a request to the service that its path names, and stream the response back."""

from collections.abc import Mapping
from functools import cache
from typing import IO
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy, istr
from yarl import URL

from observability.log_fields import REQUEST_ID as REQUEST_ID_PATTERN
from peyvand.gateway.bodies import Bodies, BodyTooLarge, BuffersFull
from peyvand.gateway.connections import GatewayProtocol
from peyvand.gateway.error_pages import SERVER, error_response

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    }
)
NOT_FROM_OUTSIDE = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "expect"})
INTERNAL = "internal"  # a segment of paths by which services reach each other, not through the gateway
RETRY_AFTER = 5  # seconds
READ_TIMEOUT = 300.0  # seconds without a byte from a service
REQUEST_ID = web.RequestKey("request_id", str)
KEEPALIVE = 3.0  # seconds; shorter than that of the services, so that no request meets a closed connection


def connect() -> aiohttp.ClientSession:
    """Return the connection pool to the services: no decompression, no redirects, no cookies."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=READ_TIMEOUT),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE),
    )


class ReverseProxy:
    """Forwards requests to the service that their path prefix names, each when its body has come completely."""

    def __init__(self, upstreams: Mapping[str, str], public_url: str, body_limit: int) -> None:
        self.upstreams, self.bodies = upstreams, Bodies(body_limit)
        self.scheme = urlsplit(public_url).scheme
        self.session: aiohttp.ClientSession | None = None

    def service_of(self, path: str) -> str:
        """Return the service of a path: registration for `/registration/...`, reporting for paths of no other."""
        first = path.lstrip("/").partition("/")[0]
        return first if first in self.upstreams and first != "reporting" else "reporting"

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Return the service's response, or an error: 400, 404 for what services ask each other, 413, 5xx.

        502: it may have acted; 503: it has not; 504.
        """
        if not request.raw_path.startswith("/"):
            return error_response(request, "malformed")
        if not request.headers.get(hdrs.HOST):
            return error_response(request, "host_unknown")  # HTTP/1.0: the client library would send the service's own
        if INTERNAL in request.path.split("/"):
            return error_response(request, "not_found")
        try:
            async with self.bodies.received(request) as body:
                return await self._forward(request, body)
        except BodyTooLarge:
            return error_response(request, "too_large", limit=self.bodies.limit >> 10)
        except BuffersFull:
            return error_response(request, "connections_full", seconds=RETRY_AFTER)

    async def _forward(self, request: web.Request, body: bytes | IO[bytes] | None) -> web.StreamResponse:
        assert self.session is not None
        service = self.service_of(request.path)
        response: web.StreamResponse | None = None
        try:
            async with self.session.request(
                request.method,
                URL(self.upstreams[service] + request.raw_path, encoded=True),
                headers=self._request_headers(request),
                data=body,
                allow_redirects=False,
            ) as upstream:
                response = web.StreamResponse(
                    status=upstream.status, reason=upstream.reason, headers=_end_to_end(upstream.headers)
                )
                response.headers.update(SERVER)
                await self._stream_back(request, upstream, response)
                return response
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return error_response(request, "service_away", service)
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as e:
            if response is not None and response.prepared:
                raise  # half the response is sent: only a broken connection shows that the rest is missing
            if isinstance(e, aiohttp.ServerTimeoutError):
                return error_response(request, "service_unresponsive", service)
            return error_response(request, "service_interrupted", service)

    async def _stream_back(
        self, request: web.Request, upstream: aiohttp.ClientResponse, response: web.StreamResponse
    ) -> None:
        if upstream.content_type == "text/event-stream" and isinstance(request.protocol, GatewayProtocol):
            request.protocol.begin_stream()
        await response.prepare(request)
        if request.method != hdrs.METH_HEAD:
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
        await response.write_eof()

    def _request_headers(self, request: web.Request) -> CIMultiDict[str]:
        headers = _end_to_end(request.headers, NOT_FROM_OUTSIDE)
        headers["X-Forwarded-For"] = request.remote or ""
        headers["X-Forwarded-Proto"] = self.scheme
        headers["X-Forwarded-Host"] = request.headers.get(hdrs.HOST, "")
        headers["X-Request-ID"] = request_id(request)
        return headers


def request_id(request: web.Request) -> str:
    """Return the request's id: as sent by the client if it is well formed, else generated once."""
    if REQUEST_ID_PATTERN.fullmatch(given := request.headers.get("X-Request-ID", "")):
        return given
    if REQUEST_ID not in request:
        request[REQUEST_ID] = uuid4().hex
    return request[REQUEST_ID]


def _end_to_end(headers: CIMultiDictProxy[str], dropped: frozenset[str] = frozenset()) -> CIMultiDict[str]:
    """Return what is forwarded. `Connection` can name fields of extensions, but none on which a service decides."""
    named = {name.strip().lower() for value in headers.getall(hdrs.CONNECTION, ()) for name in value.split(",")}
    dropped |= HOP_BY_HOP | {name for name in named if not is_end_to_end(name)}
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


def is_end_to_end(name: str) -> bool:
    """Return whether a header field (in lower case) always concerns the service, whatever `Connection` names."""
    return name not in HOP_BY_HOP and (name in _registered_fields() or name.startswith("hx-"))


@cache
def _registered_fields() -> frozenset[str]:
    registered = {str(name).lower() for name in vars(hdrs).values() if isinstance(name, istr)}
    return frozenset(registered | {"idempotency-key"})
