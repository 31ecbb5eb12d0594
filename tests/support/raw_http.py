"""Raw connections to a service or a gateway with small limits."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from aiohttp import web
from fastapi import APIRouter
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import StreamingResponse

from base.settings import Settings
from peyvand.gateway import server as gateway_server
from peyvand.gateway.settings import GatewaySettings
from run import server
from run.connections import Timeouts
from security.auth import Principal
from tests.support.ports import free_port
from web.app import App, create_app
from web.authorization import public
from web.rate_limit import streaming

TIMEOUTS = Timeouts(head=0.8, body=0.8, rate=1_000, stall=0.8, idle=1.0, drain=0.8)
LONG = Timeouts(head=120, body=120, rate=1_000, stall=120, idle=120, drain=120)  # none ends during a test
LIMIT = 60.0  # seconds, on a busy machine: less than LONG, so that what ends within it was not ended by a timeout
PER_ADDRESS, TOTAL = 4, 12
OTHER = "127.0.0.2"  # no trusted proxy
Anyone = Annotated[Principal, public()]


class Endpoint:
    """A server with small limits, and what its application saw."""

    def __init__(self, port: int, app: App) -> None:
        self.port, self.app = port, app
        self.clients: list[Client] = []

    @property
    def seen(self) -> list[str]:
        seen: list[str] = self.app.state.seen
        return seen

    async def open(self, source: str = OTHER) -> "Client":
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
        self.clients.append(Client(reader, writer))
        return self.clients[-1]

    async def close(self) -> None:
        """Close the connections that the test opened."""
        for client in self.clients:
            client.writer.transport.abort()
            with suppress(ConnectionError):
                await client.writer.wait_closed()


class Client:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def rest(self, seconds: float = LIMIT) -> bytes:
        """Return what comes until the server closes the connection."""
        async with asyncio.timeout(seconds):
            try:
                return await self.reader.read(-1)
            except ConnectionResetError:
                return b""

    async def head(self, seconds: float = LIMIT) -> bytes:
        async with asyncio.timeout(seconds):
            return await self.reader.readuntil(b"\r\n\r\n")


async def until(condition: Callable[[], bool], seconds: float = LIMIT) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        await asyncio.sleep(0.01)


def request(method: str, path: str, body: bytes = b"", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n".encode() + body


def problem_in(response: bytes, status: int, code: str) -> dict[str, Any]:
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), response
    problem: dict[str, Any] = json.loads(body)
    assert problem["code"] == code and problem["detail"] and "…" not in problem["detail_fa"]
    return problem


def router() -> APIRouter:
    """Return routes that show what reaches the application."""
    router = APIRouter()

    @router.post("/echo", max_body_size=1 << 20)
    async def echo(request: Request, principal: Anyone) -> int:
        request.app.state.seen.append("begun")
        body = await request.body()
        await asyncio.sleep(0.1)
        request.app.state.seen.append("stored")
        return len(body)

    @router.get("/wait/{seconds}")
    async def wait(request: Request, seconds: float, principal: Anyone) -> str:
        await asyncio.sleep(seconds)
        return "done"

    @router.get("/held")
    async def held(request: Request, principal: Anyone) -> str:
        request.app.state.seen.append("held")
        await request.app.state.release.wait()
        return "done"

    @router.get("/flood")
    async def flood(request: Request, principal: Anyone) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                while True:
                    request.app.state.seen.append("chunk")
                    yield b"x" * (64 << 10)
                    await asyncio.sleep(0)
            finally:
                request.app.state.seen.append("ended")

        return StreamingResponse(chunks(), media_type="text/event-stream")

    @router.get("/stream", response_class=EventSourceResponse, dependencies=[streaming(total=5, per_address=2)])
    async def stream(request: Request, principal: Anyone) -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent(event="moved", data={"version": 1})
        await request.app.state.stopping.wait()

    return router


@asynccontextmanager
async def served(folder: Path, *, direct: bool, timeouts: Timeouts = TIMEOUTS) -> AsyncIterator[Endpoint]:
    """Serve the routes with small limits of number, directly or at the gateway, which then has these of time."""
    settings = Settings(
        service="tests",
        environment="development",
        kafka="-",
        mongo="-",  # type: ignore[arg-type]
        database="-",
        jwks=folder / "jwks.json",
        port=free_port(),
        max_connections=TOTAL if direct else 1_000,
        max_connections_per_address=PER_ADDRESS if direct else 1_000,
    )

    async def ready() -> list[Any]:
        return []

    app = create_app(settings, "Tests", lifespan=None, ready=ready, prefix="", routers=[router()])
    app.state.seen, app.state.release = [], asyncio.Event()
    async with AsyncExitStack() as stack:
        running = server._Server(server._config(app, settings, lifespan="off"))
        serving = asyncio.create_task(running.serve())

        async def stop() -> None:
            app.state.stopping.set()
            running.should_exit = running.force_exit = True
            await serving

        stack.push_async_callback(stop)
        await until(lambda: running.started)
        if direct:
            endpoint = Endpoint(settings.port, app)
            stack.push_async_callback(endpoint.close)
            yield endpoint
            return
        service = f"http://127.0.0.1:{settings.port}"
        gateway = GatewaySettings(
            environment="development",
            port=free_port(),
            public_url="http://127.0.0.1:8080",
            issuer="http://127.0.0.1:8080/issuer",
            jwks=folder / "jwks.json",
            issuer_key=folder / "issuer.jwk",
            upstream_registration=service,
            upstream_screening=service,
            upstream_market=service,
            upstream_reporting=service,
            max_connections=TOTAL,
            max_connections_per_address=PER_ADDRESS,
        )
        runner = gateway_server.runner_of(gateway, timeouts)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", gateway.port).start()
        endpoint = Endpoint(gateway.port, app)
        stack.push_async_callback(endpoint.close)
        yield endpoint
