"""The HTTP client of the control plane: sign-in, subscribers, operator commands.

with HttpClient("https://issuer.example", timeout=5.0) as client:
    response = client.request("POST", "/token", content=body, headers={"Content-Type": FORM})
"""

import ssl
from collections.abc import Mapping
from functools import cache
from types import TracebackType
from typing import Any, Self

import httpx

USER_AGENT = "peyvand"
MAX_BODY = 64 << 20  # bytes of one response
_OF_TRANSFER = frozenset({"content-encoding", "content-length", "transfer-encoding"})  # describe the bytes on the wire


class HttpError(Exception):
    """A request failed. `status` and `response` are those of a refusal; 0 and None if there was no response."""

    def __init__(self, message: str, status: int = 0, response: httpx.Response | None = None) -> None:
        super().__init__(message)
        self.status, self.response = status, response


@cache
def _trust() -> ssl.SSLContext:
    """Return what verifies servers: reading the system's certificates takes longer than many a request."""
    return ssl.create_default_context()


class HttpClient:
    """Requests to one server, with an optional bearer token and without redirects.

    Synchronous: inside a coroutine call it through `asyncio.to_thread`. Certificates are checked against the system's
    trust store; proxy variables of the environment apply.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str = "",
        timeout: float = 10.0,
        max_body: int = MAX_BODY,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`timeout` in seconds bounds connecting and each read; `max_body` is in bytes; `transport` is for tests.

        Raise HttpError if `base_url` is no http or https address.
        """
        if not base_url.startswith(("http://", "https://")):
            raise HttpError(f"{base_url} is not an http:// or https:// address")
        self.base_url, self.max_body = base_url.rstrip("/"), max_body
        self._client = httpx.Client(
            timeout=timeout,
            follow_redirects=False,
            verify=_trust(),
            transport=transport,
            headers={"User-Agent": USER_AGENT, **({"Authorization": f"Bearer {token}"} if token else {})},
        )

    def __enter__(self) -> Self:
        self._client.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.__exit__(kind, error, traceback)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Return a response with status 2xx. `path` begins with "/" and may have a query.

        Raise HttpError for any other status, a timeout, a failed connection, or a body longer than `max_body`.
        """
        url = self.base_url + path
        try:
            with self._client.stream(method, url, json=json, content=content, headers=headers) as streamed:
                response = self._read(streamed, f"{method} {url}")
        except httpx.TimeoutException as e:
            raise HttpError(f"{method} {url}: no response in time ({type(e).__name__})") from e
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise HttpError(f"{method} {url}: {e or type(e).__name__}") from e
        if not response.is_success:
            raise HttpError(f"{method} {url}: HTTP {response.status_code}", response.status_code, response)
        return response

    def _read(self, streamed: httpx.Response, what: str) -> httpx.Response:
        body = bytearray()
        for chunk in streamed.iter_bytes():
            body += chunk
            if len(body) > self.max_body:
                raise HttpError(f"{what}: the response is longer than {self.max_body} bytes", streamed.status_code)
        kept = [(name, value) for name, value in streamed.headers.multi_items() if name not in _OF_TRANSFER]
        return httpx.Response(streamed.status_code, headers=kept, content=bytes(body), request=streamed.request)
