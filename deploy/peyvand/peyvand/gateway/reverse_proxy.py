"""How a request goes through the front door to one service and its answer comes back, both as they flow."""

from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from peyvand.gateway.error_pages import refusal

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
WHOLE = 256 << 10  # bytes up to which a body of known length is read and passed on in one piece
SILENCE = 300.0  # seconds without a byte after which a service is given up
REQUEST_ID = web.RequestKey("request_id", str)
IDLE = 3.0  # seconds a connection is kept: less than the services keep it, so that no request meets a closed one


def connect() -> aiohttp.ClientSession:
    """The pool of connections to the services: nothing decoded, nothing followed, no cookie kept."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=SILENCE),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE),
    )


class _Body:
    """A body of unknown or great length as it flows, and whether it ran over the limit."""

    def __init__(self, request: web.Request, limit: int) -> None:
        self.request, self.limit, self.too_large = request, limit, False

    async def chunks(self) -> AsyncIterator[bytes]:
        passed = 0
        async for chunk in self.request.content.iter_any():
            passed += len(chunk)
            if passed > self.limit:
                self.too_large = True
                raise ValueError(f"a body of more than {self.limit} bytes")
            yield chunk


class Forwarder:
    """Passes requests to the service that their prefix names."""

    def __init__(self, upstreams: Mapping[str, str], public_url: str, body_limit: int) -> None:
        self.upstreams, self.body_limit = upstreams, body_limit
        self.scheme = urlsplit(public_url).scheme
        self.session: aiohttp.ClientSession | None = None

    def service_of(self, path: str) -> str:
        """`/registration/...` -> registration; what no other service claims is reporting's."""
        first = path.lstrip("/").partition("/")[0]
        return first if first in self.upstreams and first != "reporting" else "reporting"

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """The service's answer, or why there is none: 400, 413, 502 (it may have acted), 503 (it did not), 504."""
        assert self.session is not None
        raw_path = request.raw_path
        if not raw_path.startswith("/"):
            return refusal(request, 400, "malformed_request")
        if (request.content_length or 0) > self.body_limit:
            return refusal(request, 413, "body_too_large")
        service = self.service_of(request.path)
        answer: web.StreamResponse | None = None
        body = _Body(request, self.body_limit)
        try:
            async with self.session.request(
                request.method,
                URL(self.upstreams[service] + raw_path, encoded=True),
                headers=self._request_headers(request),
                data=await _content(request, body),
                allow_redirects=False,
            ) as got:
                answer = web.StreamResponse(status=got.status, reason=got.reason, headers=_passed_on(got.headers))
                await self._pass_back(request, got, answer)
                return answer
        except aiohttp.ClientConnectorError:
            return refusal(request, 503, "service_away", service=service)
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as e:
            if answer is not None and answer.prepared:
                raise  # half an answer is out: only a broken connection says that the rest is missing
            if body.too_large:
                return refusal(request, 413, "body_too_large")
            if isinstance(e, aiohttp.ServerTimeoutError):
                return refusal(request, 504, "service_silent", service=service)
            return refusal(request, 502, "service_broke_off", service=service)

    async def _pass_back(self, request: web.Request, got: aiohttp.ClientResponse, answer: web.StreamResponse) -> None:
        await answer.prepare(request)
        if request.method != hdrs.METH_HEAD:
            async for chunk in got.content.iter_any():
                await answer.write(chunk)
        await answer.write_eof()

    def _request_headers(self, request: web.Request) -> CIMultiDict[str]:
        headers = _passed_on(request.headers, NOT_FROM_OUTSIDE)
        headers["X-Forwarded-For"] = request.remote or ""
        headers["X-Forwarded-Proto"] = self.scheme
        headers["X-Forwarded-Host"] = request.headers.get(hdrs.HOST, "")
        headers.setdefault("X-Request-ID", request_id(request))
        return headers


async def _content(request: web.Request, body: _Body) -> bytes | AsyncIterator[bytes] | None:
    if not request.body_exists:
        return None
    if request.content_length is not None and request.content_length <= WHOLE:
        return await request.content.read(-1)
    return body.chunks()


def request_id(request: web.Request) -> str:
    """The id that this request came with, else one made here, once."""
    known = request.headers.get("X-Request-ID") or request.get(REQUEST_ID)
    if not known:
        known = request[REQUEST_ID] = uuid4().hex
    return known


def _passed_on(headers: CIMultiDictProxy[str], also_not: frozenset[str] = frozenset()) -> CIMultiDict[str]:
    named = {name.strip().lower() for value in headers.getall(hdrs.CONNECTION, ()) for name in value.split(",")}
    gone = HOP_BY_HOP | named | also_not
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in gone)
