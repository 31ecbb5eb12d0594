"""The gateway: routing by prefix, streaming of bodies, and its own responses when a service does not answer."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from peyvand.gateway.server import application, runner_of
from peyvand.gateway.settings import GatewaySettings
from tests.support.ports import free_port

BODY_LIMIT = 512 << 10
REQUEST_ID = "0af7651916cd43dd8448eb211c80319c"


class Service:
    """A service that answers with a description of the request."""

    def __init__(self, name: str) -> None:
        self.name, self.gone = name, asyncio.Event()
        self.release = asyncio.Event()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=0)
        app.router.add_get("/readyz", self.ready)
        app.router.add_get("/stream", self.stream)
        app.router.add_post("/registration/breaks", self.break_off)
        app.router.add_route("*", "/{path:.*}", self.describe)
        return app

    async def ready(self, request: web.Request) -> web.Response:
        return web.Response()

    async def describe(self, request: web.Request) -> web.Response:
        received = 0
        async for chunk in request.content.iter_any():
            received += len(chunk)
        described = {
            "service": self.name,
            "method": request.method,
            "path": request.raw_path,
            "headers": [[name.lower(), value] for name, value in request.headers.items()],
            "received": received,
        }
        response = web.json_response(
            described, headers={"X-Request-ID": request.headers["X-Request-ID"], "ETag": '"7"'}
        )
        response.headers.add("Set-Cookie", "one=1; HttpOnly")
        response.headers.add("Set-Cookie", "two=2; HttpOnly")
        response.headers["Keep-Alive"] = "timeout=99"
        return response

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"event: moved\n\n")
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.gone.set()
            raise
        await response.write(b"event: again\n\n")
        return response

    async def break_off(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()


class Gateway:
    """The gateway before four services, one of which is not running."""

    def __init__(self, url: str, services: dict[str, Service], client: ClientSession) -> None:
        self.url, self.services, self.client = url, services, client

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(self.url + path, **more)

    def post(self, path: str, **more: Any) -> Any:
        return self.client.post(self.url + path, **more)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with AsyncExitStack() as stack:
        services, upstreams = {}, {}
        for name in ("registration", "screening", "reporting"):
            services[name] = Service(name)
            server = TestServer(services[name].application())
            await server.start_server()
            stack.push_async_callback(server.close)
            upstreams[name] = f"http://127.0.0.1:{server.port}"
        upstreams["market"] = f"http://127.0.0.1:{free_port()}"
        settings = GatewaySettings(
            environment="development",
            public_url="http://127.0.0.1:8080",
            issuer="http://127.0.0.1:8080/issuer",
            jwks=tmp_path / "jwks.json",
            issuer_key=tmp_path / "issuer.jwk",
            body_limit=BODY_LIMIT,
            upstream_registration=upstreams["registration"],
            upstream_screening=upstreams["screening"],
            upstream_market=upstreams["market"],
            upstream_reporting=upstreams["reporting"],
        )
        runner, port = runner_of(settings), free_port()
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        client = await stack.enter_async_context(ClientSession())
        yield Gateway(f"http://127.0.0.1:{port}", services, client)


@pytest.mark.parametrize("path", ["/registration/internal/v1/x", "/internal/v1/x", "/screening/%69nternal/v1/x"])
async def test_what_services_ask_each_other_is_not_forwarded(gateway: Gateway, path: str) -> None:
    from yarl import URL

    async with gateway.client.post(URL(gateway.url + path, encoded=True)) as response:
        assert response.status == 404 and (await response.json())["code"] == "not_found"


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/registration/v1/rounds", "registration"),
        ("/screening/", "screening"),
        ("/", "reporting"),
        ("/ranking?table=1&q=%D8%B3%2Fx", "reporting"),
        ("/registrations", "reporting"),
        ("/assets/peyvand/peyvand.css", "reporting"),
        ("/reporting/x", "reporting"),
    ],
)
async def test_the_prefix_selects_the_service_and_the_path_is_unchanged(
    gateway: Gateway, path: str, service: str
) -> None:
    from yarl import URL

    async with gateway.client.get(URL(gateway.url + path, encoded=True)) as response:
        body = await response.json()
    assert (body["service"], body["path"]) == (service, path)


async def test_headers_are_forwarded_except_hop_by_hop_and_forwarded_ones(gateway: Gateway) -> None:
    sent = {
        "X-Request-ID": REQUEST_ID,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "Idempotency-Key": "k",
        "X-Forwarded-For": "6.6.6.6",
        "Connection": "X-Mine",
        "X-Mine": "one hop only",
        "TE": "trailers",
    }
    async with gateway.get("/registration/v1/x", headers=sent) as response:
        headers = dict((await response.json())["headers"])
        assert response.headers["X-Request-ID"] == REQUEST_ID
        assert response.headers.getall("Set-Cookie") == ["one=1; HttpOnly", "two=2; HttpOnly"]
        assert response.headers["ETag"] == '"7"'
        assert "Keep-Alive" not in response.headers
    assert headers["traceparent"] == sent["traceparent"] and headers["idempotency-key"] == "k"
    assert headers["x-forwarded-for"] == "127.0.0.1" and headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-host"] == headers["host"] == gateway.url.removeprefix("http://")
    assert not {"x-mine", "te"} & headers.keys()


def header_fields_read() -> set[str]:
    """Return the header fields that the code of shared packages and services reads."""
    pattern = r'headers\.(?:get|getlist)\(\s*b?"([\w-]+)"|b"([\w-]+)" (?:not )?in headers|alias="([A-Z][\w-]+)"'
    sources = [path.read_text("utf-8") for top in ("shared", "services") for path in Path(top).rglob("*.py")]
    return {"".join(found).lower() for source in sources for found in re.findall(pattern, source)}


async def test_connection_cannot_name_away_what_a_service_decides_on(gateway: Gateway) -> None:
    read = header_fields_read()
    assert {"host", "authorization", "cookie", "origin", "sec-fetch-site", "idempotency-key", "x-request-id"} <= read
    valid = {"host": "127.0.0.1", "x-request-id": REQUEST_ID}
    sent = {name: valid.get(name, f"value-of-{name}") for name in read - {"x-forwarded-for"}}
    named = {"Connection": "close, " + ", ".join(sorted(name.title() for name in {*read, "x-forwarded-host"}))}
    async with gateway.get("/registration/v1/x", headers={**sent, **named, "X-Forwarded-For": "6.6.6.6"}) as response:
        received = dict((await response.json())["headers"])
    assert {name: received.get(name) for name in sent} == sent
    assert received["x-forwarded-for"] == received["x-forwarded-host"] == "127.0.0.1"


async def test_a_request_without_a_host_is_refused(gateway: Gateway) -> None:
    """The client library of the gateway would send the service's own host, which every service accepts."""
    host, port = gateway.url.removeprefix("http://").split(":")
    for raw in (b"GET /x HTTP/1.0\r\n\r\n", b"GET /x HTTP/1.1\r\n\r\n", b"GET /x HTTP/1.1\r\nHost:\r\n\r\n"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(raw)
        assert b" 400 " in await reader.readline(), raw
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("sent", [{}, {"X-Request-ID": "9990000018"}, {"X-Request-ID": "0" * 33}])
async def test_a_request_without_a_random_id_gets_one(gateway: Gateway, sent: dict[str, str]) -> None:
    async with gateway.get("/registration/v1/x", headers=sent) as response:
        assert len(dict((await response.json())["headers"])["x-request-id"]) == 32


@pytest.mark.parametrize("size", [0, 10, 300 << 10])
async def test_bodies_are_forwarded_with_their_length(gateway: Gateway, size: int) -> None:
    async with gateway.post("/registration/v1/x", data=b"x" * size, headers={"Content-Type": "text/csv"}) as response:
        body = await response.json()
    assert (body["received"], body["method"]) == (size, "POST")
    assert dict(body["headers"]).get("content-length") == str(size)


async def _pieces(n: int) -> AsyncIterator[bytes]:
    for _ in range(n):
        yield b"x" * 1024


async def test_a_body_of_unknown_length_is_forwarded(gateway: Gateway) -> None:
    async with gateway.post("/registration/v1/x", data=_pieces(20)) as response:
        assert (await response.json())["received"] == 20 << 10


async def test_a_body_over_the_limit_is_refused_with_or_without_its_length(gateway: Gateway) -> None:
    for data in (b"x" * (BODY_LIMIT + 1), _pieces(BODY_LIMIT // 1024 + 1)):
        async with gateway.post("/registration/v1/x", data=data) as response:
            assert response.status == 413
            assert (await response.json(content_type="application/problem+json"))["code"] == "too_large"


async def test_a_head_request_keeps_the_length_and_has_no_body(gateway: Gateway) -> None:
    async with gateway.client.head(gateway.url + "/ranking") as response:
        assert response.status == 200 and int(response.headers["Content-Length"]) > 0
        assert await response.read() == b""


async def test_a_stream_is_forwarded_by_event_and_closed_when_the_client_leaves(gateway: Gateway) -> None:
    async with asyncio.timeout(60):
        async with gateway.get("/stream") as response:
            assert await response.content.readuntil(b"\n\n") == b"event: moved\n\n"
        await gateway.services["reporting"].gone.wait()


async def test_an_unavailable_service_is_a_problem_with_retry_after(gateway: Gateway) -> None:
    async with gateway.post("/market/v1/leads", json={}) as response:
        problem = await response.json(content_type="application/problem+json")
        assert (response.status, problem["code"], problem["service"]) == (503, "service_away", "market")
        assert response.headers["Retry-After"] == "3"
        assert problem["detail_fa"] and problem["instance"].endswith(response.headers["X-Request-ID"])


@pytest.mark.parametrize(("query", "word"), [("", "نمی‌توانیم پاسخ بدهیم"), ("?lang=en", "We cannot answer right now")])
async def test_a_browser_gets_a_page_in_its_language(gateway: Gateway, query: str, word: str) -> None:
    async with gateway.get(f"/market/{query}", headers={"Accept": "text/html,*/*"}) as response:
        page = await response.text()
        assert response.status == 503 and word in page
        assert response.headers["Content-Security-Policy"].startswith("default-src 'self'; img-src 'self' data:")


async def test_an_interrupted_response_is_a_502(gateway: Gateway) -> None:
    async with gateway.post("/registration/breaks", data=b"{}") as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (502, "service_interrupted")


async def test_ready_only_if_all_four_services_are(gateway: Gateway) -> None:
    async with gateway.get("/healthz") as response:
        assert response.status == 200
    async with gateway.get("/readyz") as response:
        body = await response.json()
        assert response.status == 503 and not body["ready"]
        assert [(each["code"], each["text"].partition(":")[0]) for each in body["reasons"]] == [
            ("service_not_ready", "market")
        ]


async def test_metrics_are_not_public(gateway: Gateway) -> None:
    async with gateway.get("/metrics") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    "raw",
    [
        b"GET http://evil.example/x HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n",
    ],
    ids=["another host's target", "two lengths", "a long target", "a long header"],
)
async def test_a_malformed_request_is_not_forwarded(gateway: Gateway, raw: bytes) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(raw)
        assert b" 400 " in await reader.readline()
    finally:
        writer.close()
        with suppress(ConnectionError):  # what was not read resets the connection
            await writer.wait_closed()


def test_it_refuses_to_start_outside_development(tmp_path: Path) -> None:
    settings = GatewaySettings(
        public_url="https://peyvand.example",
        issuer="https://peyvand.example/issuer",
        jwks=tmp_path / "jwks.json",
        issuer_key=tmp_path / "issuer.jwk",
        upstream_registration="http://a",
        upstream_screening="http://b",
        upstream_market="http://c",
        upstream_reporting="http://d",
    )
    with pytest.raises(ValueError, match="PEYVAND_ENVIRONMENT=development"):
        application(settings)
    assert not list(tmp_path.iterdir())


def test_a_missing_setting_ends_it_with_the_name_of_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from peyvand.gateway.server import main

    for name in GatewaySettings.model_fields:
        monkeypatch.delenv(f"PEYVAND_{name.upper()}", raising=False)
    assert main() == 2
    assert "PEYVAND_PUBLIC_URL" in capsys.readouterr().err
