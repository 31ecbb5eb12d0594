"""Forward a request to the service that its path names, and stream the response back."""

from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from observability.log_fields import REQUEST_ID as REQUEST_ID_PATTERN
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
    }
)
NOT_FROM_OUTSIDE = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "expect"})
BUFFERED = 256 << 10  # bytes up to which a body of known length is forwarded in one piece
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


class _Body:
    """A streamed request body of unknown or great length, and whether it exceeded the limit."""

    def __init__(self, request: web.Request, limit: int) -> None:
        self.request, self.limit, self.too_large = request, limit, False

    async def chunks(self) -> AsyncIterator[bytes]:
        received = 0
        async for chunk in self.request.content.iter_any():
            received += len(chunk)
            if received > self.limit:
                self.too_large = True
                raise ValueError(f"a body of more than {self.limit} bytes")
            yield chunk


class ReverseProxy:
    """Forwards requests to the service that their path prefix names."""

    def __init__(self, upstreams: Mapping[str, str], public_url: str, body_limit: int) -> None:
        self.upstreams, self.body_limit = upstreams, body_limit
        self.scheme = urlsplit(public_url).scheme
        self.session: aiohttp.ClientSession | None = None

    def service_of(self, path: str) -> str:
        """Return the service of a path: registration for `/registration/...`, reporting for paths of no other."""
        first = path.lstrip("/").partition("/")[0]
        return first if first in self.upstreams and first != "reporting" else "reporting"

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Return the service's response, or an error: 400, 413, 502 (it may have acted), 503 (it has not), 504."""
        assert self.session is not None
        raw_path = request.raw_path
        if not raw_path.startswith("/"):
            return error_response(request, "malformed")
        if (request.content_length or 0) > self.body_limit:
            return error_response(request, "too_large", limit=self.body_limit >> 10)
        service = self.service_of(request.path)
        response: web.StreamResponse | None = None
        body = _Body(request, self.body_limit)
        try:
            async with self.session.request(
                request.method,
                URL(self.upstreams[service] + raw_path, encoded=True),
                headers=self._request_headers(request),
                data=await _content(request, body),
                allow_redirects=False,
            ) as upstream:
                response = web.StreamResponse(
                    status=upstream.status, reason=upstream.reason, headers=_end_to_end(upstream.headers)
                )
                response.headers.update(SERVER)
                await self._stream_back(request, upstream, response)
                return response
        except aiohttp.ClientConnectorError:
            return error_response(request, "service_away", service)
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as e:
            if response is not None and response.prepared:
                raise  # half the response is sent: only a broken connection shows that the rest is missing
            if body.too_large:
                return error_response(request, "too_large", limit=self.body_limit >> 10)
            if isinstance(e, aiohttp.ServerTimeoutError):
                return error_response(request, "service_unresponsive", service)
            return error_response(request, "service_interrupted", service)

    async def _stream_back(
        self, request: web.Request, upstream: aiohttp.ClientResponse, response: web.StreamResponse
    ) -> None:
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


async def _content(request: web.Request, body: _Body) -> bytes | AsyncIterator[bytes] | None:
    if not request.body_exists:
        return None
    if request.content_length is not None and request.content_length <= BUFFERED:
        return await request.content.read(-1)
    return body.chunks()


def request_id(request: web.Request) -> str:
    """Return the request's id: as sent by the client if it is well formed, else generated once."""
    if REQUEST_ID_PATTERN.fullmatch(given := request.headers.get("X-Request-ID", "")):
        return given
    if REQUEST_ID not in request:
        request[REQUEST_ID] = uuid4().hex
    return request[REQUEST_ID]


def _end_to_end(headers: CIMultiDictProxy[str], dropped: frozenset[str] = frozenset()) -> CIMultiDict[str]:
    named = {name.strip().lower() for value in headers.getall(hdrs.CONNECTION, ()) for name in value.split(",")}
    dropped |= HOP_BY_HOP | named
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)
