"""The HTTP client: what it sends, and how each failure is reported."""

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from base.http_client import HttpClient, HttpError

Respond = Callable[[httpx.Request], httpx.Response]


def client_of(respond: Respond, **options: object) -> HttpClient:
    """Return a client whose requests are answered by a function."""
    return HttpClient("http://issuer.test/base/", transport=httpx.MockTransport(respond), **options)  # type: ignore[arg-type]


def echo(request: httpx.Request) -> httpx.Response:
    """Return what was received."""
    received = {
        "method": request.method,
        "url": str(request.url),
        "authorization": request.headers.get("authorization", ""),
        "type": request.headers.get("content-type", ""),
        "body": request.content.decode(),
    }
    return httpx.Response(200, json=received)


def test_request_goes_to_the_base_url_with_token_headers_and_body() -> None:
    with client_of(echo, token="t-1") as client:
        posted = client.request("POST", "/token?a=b", content=b"x=y", headers={"Content-Type": "text/plain"}).json()
        sent_json = client.request("PUT", "/things", json={"name": "سارا"}).json()

    assert posted == {
        "method": "POST",
        "url": "http://issuer.test/base/token?a=b",
        "authorization": "Bearer t-1",
        "type": "text/plain",
        "body": "x=y",
    }
    assert sent_json["type"] == "application/json" and "سارا" in sent_json["body"]


def test_without_a_token_there_is_no_authorization() -> None:
    with client_of(echo) as client:
        assert client.request("GET", "/").json()["authorization"] == ""


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 409, 429, 500, 503])
def test_other_status_than_2xx_is_an_error_with_its_response(status: int) -> None:
    """A redirect is one too: the token must not follow it to another host."""
    urls: list[str] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        urls.append(str(request.url))
        return httpx.Response(status, json={"code": "refused"}, headers={"Location": "http://evil.test/"})

    with (
        client_of(refuse, token="t-1") as client,
        pytest.raises(HttpError, match=rf"GET http\S+/things: HTTP {status}") as e,
    ):
        client.request("GET", "/things")

    assert e.value.status == status and urls == ["http://issuer.test/base/things"]
    assert e.value.response is not None and e.value.response.json() == {"code": "refused"}


def test_response_longer_than_the_limit_is_an_error() -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"x" * int(request.url.path.rpartition("/")[2]))

    with client_of(respond, max_body=1_000) as client:
        assert len(client.request("GET", "/1000").content) == 1_000
        with pytest.raises(HttpError, match="longer than 1000 bytes"):
            client.request("GET", "/1001")


@pytest.mark.parametrize("address", ["issuer.test", "ftp://issuer.test", "file:///etc/passwd", ""])
def test_address_must_be_http(address: str) -> None:
    with pytest.raises(HttpError, match="not an http"):
        HttpClient(address)


def test_unreachable_server_is_an_error_without_status() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with HttpClient(f"http://127.0.0.1:{port}") as client, pytest.raises(HttpError, match=f"127.0.0.1:{port}/x") as e:
        client.request("GET", "/x")

    assert e.value.status == 0 and e.value.response is None


def test_silent_server_is_an_error_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with HttpClient(address, timeout=0.2) as client, pytest.raises(HttpError, match="no response in time"):
            client.request("GET", "/")


class Compressed(BaseHTTPRequestHandler):
    """Answer every request with compressed JSON."""

    def do_GET(self) -> None:
        """Send the response."""
        import gzip

        body = gzip.compress(b'{"compressed": true}')
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a real HTTP server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Compressed) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_compressed_response_is_decoded(server: str) -> None:
    with HttpClient(server) as client:
        response = client.request("GET", "/")

    assert response.json() == {"compressed": True} and "content-encoding" not in response.headers
