"""The front door: does it route by prefix, let bodies flow, and say honestly what it knows when a service is away?"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer, unused_port

from peyvand.gateway.server import application
from peyvand.gateway.settings import DoorSettings

BODY_LIMIT = 512 << 10


class Service:
    """A service that tells what reached it."""

    def __init__(self, name: str) -> None:
        self.name, self.gone = name, asyncio.Event()
        self.release = asyncio.Event()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=0)
        app.router.add_get("/readyz", self.ready)
        app.router.add_get("/stream", self.stream)
        app.router.add_post("/registration/breaks", self.breaks)
        app.router.add_route("*", "/{path:.*}", self.tell)
        return app

    async def ready(self, request: web.Request) -> web.Response:
        return web.Response()

    async def tell(self, request: web.Request) -> web.Response:
        received = 0
        async for chunk in request.content.iter_any():
            received += len(chunk)
        told = {
            "service": self.name,
            "method": request.method,
            "path": request.raw_path,
            "headers": [[name.lower(), value] for name, value in request.headers.items()],
            "received": received,
        }
        response = web.json_response(told, headers={"X-Request-ID": request.headers["X-Request-ID"], "ETag": '"7"'})
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

    async def breaks(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()


class Door:
    """The door before four services, two of which may be away."""

    def __init__(self, url: str, services: dict[str, Service], client: ClientSession) -> None:
        self.url, self.services, self.client = url, services, client

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(self.url + path, **more)

    def post(self, path: str, **more: Any) -> Any:
        return self.client.post(self.url + path, **more)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with AsyncExitStack() as stack:
        services, upstreams = {}, {}
        for name in ("registration", "screening", "reporting"):
            services[name] = Service(name)
            server = TestServer(services[name].application())
            await server.start_server()
            stack.push_async_callback(server.close)
            upstreams[name] = f"http://127.0.0.1:{server.port}"
        upstreams["market"] = f"http://127.0.0.1:{unused_port()}"
        settings = DoorSettings(
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
        server = TestServer(application(settings))
        await server.start_server(auto_decompress=False)
        stack.push_async_callback(server.close)
        client = await stack.enter_async_context(ClientSession())
        yield Door(f"http://127.0.0.1:{server.port}", services, client)


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
async def test_the_prefix_names_the_service_and_the_path_stays_as_it_was_sent(
    door: Door, path: str, service: str
) -> None:
    from yarl import URL

    async with door.client.get(URL(door.url + path, encoded=True)) as got:
        told = await got.json()
    assert (told["service"], told["path"]) == (service, path)


async def test_headers_pass_but_for_those_of_one_hop_and_those_that_claim_where_it_came_from(door: Door) -> None:
    sent = {
        "X-Request-ID": "r-1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "Idempotency-Key": "k",
        "X-Forwarded-For": "6.6.6.6",
        "Connection": "X-Mine",
        "X-Mine": "one hop only",
        "TE": "trailers",
    }
    async with door.get("/registration/v1/x", headers=sent) as got:
        told = dict((await got.json())["headers"])
        assert got.headers["X-Request-ID"] == "r-1"
        assert got.headers.getall("Set-Cookie") == ["one=1; HttpOnly", "two=2; HttpOnly"]
        assert got.headers["ETag"] == '"7"'
        assert "Keep-Alive" not in got.headers
    assert told["traceparent"] == sent["traceparent"] and told["idempotency-key"] == "k"
    assert told["x-forwarded-for"] == "127.0.0.1" and told["x-forwarded-proto"] == "http"
    assert told["x-forwarded-host"] == told["host"] == door.url.removeprefix("http://")
    assert not {"x-mine", "te"} & told.keys()


async def test_a_request_without_an_id_gets_one(door: Door) -> None:
    async with door.get("/registration/v1/x") as got:
        assert len(dict((await got.json())["headers"])["x-request-id"]) == 32


@pytest.mark.parametrize("size", [0, 10, 300 << 10])
async def test_bodies_flow_through_with_their_length(door: Door, size: int) -> None:
    async with door.post("/registration/v1/x", data=b"x" * size, headers={"Content-Type": "text/csv"}) as got:
        told = await got.json()
    assert (told["received"], told["method"]) == (size, "POST")
    assert dict(told["headers"]).get("content-length") == str(size)


async def _pieces(n: int) -> AsyncIterator[bytes]:
    for _ in range(n):
        yield b"x" * 1024


async def test_a_body_of_unknown_length_flows_through(door: Door) -> None:
    async with door.post("/registration/v1/x", data=_pieces(20)) as got:
        assert (await got.json())["received"] == 20 << 10


async def test_a_body_over_the_limit_is_refused_whether_its_length_is_told_or_not(door: Door) -> None:
    for data in (b"x" * (BODY_LIMIT + 1), _pieces(BODY_LIMIT // 1024 + 1)):
        async with door.post("/registration/v1/x", data=data) as got:
            assert got.status == 413
            assert (await got.json(content_type="application/problem+json"))["code"] == "body_too_large"


async def test_a_head_request_keeps_the_length_and_has_no_body(door: Door) -> None:
    async with door.client.head(door.url + "/ranking") as got:
        assert got.status == 200 and int(got.headers["Content-Length"]) > 0
        assert await got.read() == b""


async def test_a_stream_passes_event_by_event_and_ends_where_the_reader_leaves(door: Door) -> None:
    async with asyncio.timeout(5):
        async with door.get("/stream") as got:
            assert await got.content.readuntil(b"\n\n") == b"event: moved\n\n"
        await door.services["reporting"].gone.wait()


async def test_a_service_that_is_away_is_a_problem_with_the_moment_to_come_back(door: Door) -> None:
    async with door.post("/market/v1/leads", json={}) as got:
        problem = await got.json(content_type="application/problem+json")
        assert (got.status, problem["code"], problem["service"]) == (503, "service_away", "market")
        assert got.headers["Retry-After"] == "3"
        assert problem["detail_fa"] and problem["instance"] == got.headers["X-Request-ID"]


@pytest.mark.parametrize(("query", "word"), [("", "در دسترس نیست"), ("?lang=en", "away for a moment")])
async def test_a_person_gets_a_page_in_their_language(door: Door, query: str, word: str) -> None:
    async with door.get(f"/market/{query}", headers={"Accept": "text/html,*/*"}) as got:
        page = await got.text()
        assert got.status == 503 and word in page
        assert got.headers["Content-Security-Policy"] == "default-src 'self'; img-src 'self' data:"


async def test_what_broke_off_is_not_called_undone(door: Door) -> None:
    async with door.post("/registration/breaks", data=b"{}") as got:
        problem = await got.json(content_type="application/problem+json")
    assert (got.status, problem["code"]) == (502, "service_broke_off")


async def test_ready_only_when_all_four_are(door: Door) -> None:
    async with door.get("/healthz") as got:
        assert got.status == 200
    async with door.get("/readyz") as got:
        told = await got.json()
        assert got.status == 503 and not told["ready"]
        assert [why.partition(":")[0] for why in told["reasons"]] == ["market"]


async def test_the_metrics_of_a_process_are_not_public(door: Door) -> None:
    async with door.get("/metrics") as got:
        assert got.status == 404


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
async def test_what_no_honest_client_sends_reaches_nobody(door: Door, raw: bytes) -> None:
    host, port = door.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(raw)
        assert b" 400 " in await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


def test_it_refuses_to_start_outside_development(tmp_path: Path) -> None:
    settings = DoorSettings(
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

    for name in DoorSettings.model_fields:
        monkeypatch.delenv(f"PEYVAND_{name.upper()}", raising=False)
    assert main() == 2
    assert "PEYVAND_PUBLIC_URL" in capsys.readouterr().err
