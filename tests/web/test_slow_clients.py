"""Slow, silent, half-closed and too many connections, directly at a service and through the gateway."""

import asyncio
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn

from base.addresses import network_of
from base.settings import Settings
from run import server
from run.connections import Connections, Timeouts, Watch, open_file_limit
from run.http_protocol import HttpProtocol
from tests.support.raw_http import (
    LIMIT,
    LONG,
    OTHER,
    PER_ADDRESS,
    TIMEOUTS,
    TOTAL,
    Client,
    Endpoint,
    problem_in,
    request,
    served,
    until,
)

Serve = Callable[[Timeouts], AbstractAsyncContextManager[Endpoint]]


@pytest.fixture(params=["service", "gateway"])
def serve(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Return a function that serves the routes, directly or behind the gateway, which then has the limits."""

    def serve(timeouts: Timeouts) -> AbstractAsyncContextManager[Endpoint]:
        monkeypatch.setattr(server, "TIMEOUTS", timeouts)
        return served(tmp_path, direct=request.param == "service", timeouts=timeouts)

    return serve


@pytest.fixture
async def endpoint(serve: Serve) -> AsyncIterator[Endpoint]:
    """Serve the routes with timeouts that a test can wait for."""
    async with serve(TIMEOUTS) as endpoint:
        yield endpoint


@pytest.fixture
async def patient(serve: Serve) -> AsyncIterator[Endpoint]:
    """Serve the routes with timeouts that do not end during a test: what it shows has another reason."""
    async with serve(LONG) as endpoint:
        yield endpoint


# Heads and trailers


async def test_a_head_has_a_limit_and_trailers_are_dropped() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        names = b",".join(name for name, _ in scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": names})

    protocol = cast(Any, partial(HttpProtocol, Connections("t", 9, 9)))
    config = uvicorn.Config(app, lifespan="off", log_config=None, http=protocol)
    running = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(running.serve([listening]))
    try:
        for sent, expected in (
            (
                b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
                b"transfer-encoding",
            ),
            (b"X: y\r\n" * 100_000, b"400 Bad Request"),
            (b"X: " + b"y" * 1_000_000, b"400 Bad Request"),
        ):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + sent)
            answer = await reader.read(10_000)
            answer += b"" if b"Bad" in answer else await reader.read(10_000)
            writer.transport.abort()
            assert expected in answer and b"x-forwarded-for" not in answer
    finally:
        running.should_exit = True
        await serving


# Time


async def test_a_head_that_does_not_end_is_refused(endpoint: Endpoint) -> None:
    client = await endpoint.open()
    began = time.monotonic()
    await client.send(b"GET /wait/0 HTTP/1.1\r\n")
    sending = asyncio.create_task(dribble_on(client, b"X: y\r\n"))
    try:
        problem_in(await client.rest(), 408, "body_too_slow")
    finally:
        sending.cancel()
    assert time.monotonic() - began > TIMEOUTS.head * 0.9


async def test_a_head_behind_an_open_response_has_a_limit_too(tmp_path: Path) -> None:
    async with served(tmp_path, direct=True) as endpoint:
        client = await endpoint.open()
        await client.send(request("GET", "/stream"))
        await client.head()
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(LIMIT):
                for line in [b"GET / HTTP/1.1\r\n", *[b"x: " + b"y" * 16_000 + b"\r\n"] * 1_000]:
                    await client.send(line)


async def test_what_is_no_http_is_refused_while_its_sender_goes_on(tmp_path: Path) -> None:
    async with served(tmp_path, direct=True) as endpoint:
        client = await endpoint.open()
        sending = asyncio.create_task(dribble_on(client, b"\0 no HTTP\r\n"))
        try:
            problem_in(await client.rest(), 400, "malformed")
        finally:
            sending.cancel()


async def test_garbage_behind_a_whole_request_is_not_answered_in_its_place(tmp_path: Path) -> None:
    """A 400 would show that nothing was done."""
    async with served(tmp_path, direct=True) as endpoint:
        client = await endpoint.open()
        await client.send(request("GET", "/wait/0.3") + b"\0 no HTTP\r\n\r\n")
        assert await client.rest() == b""


async def test_the_next_head_on_a_connection_has_the_same_time(endpoint: Endpoint) -> None:
    client = await endpoint.open()
    await client.send(request("GET", "/wait/0"))
    assert b" 200 " in await client.head()
    await client.reader.readexactly(len(b'"done"'))
    await client.send(b"GET /wait/0 HT")
    problem_in(await client.rest(), 408, "body_too_slow")


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
async def test_a_silent_connection_is_closed(endpoint: Endpoint, sent: bytes) -> None:
    client = await endpoint.open()
    await client.send(sent)
    assert not (answer := await client.rest()) or (sent and problem_in(answer, 408, "body_too_slow"))


async def test_an_idle_connection_is_closed(endpoint: Endpoint) -> None:
    client = await endpoint.open()
    await client.send(request("GET", "/wait/0"))
    assert (await client.rest()).endswith(b'"done"')


@pytest.mark.parametrize("dribble", [False, True], ids=["stalled", "below the rate"])
async def test_a_body_that_is_too_slow_is_refused(endpoint: Endpoint, dribble: bool) -> None:
    client = await endpoint.open()
    await client.send(request("POST", "/echo", b"x" * 10, length=100_000))

    sending = asyncio.create_task(dribble_on(client)) if dribble else None
    try:
        answer = await client.rest()
    finally:
        if sending:
            sending.cancel()
    problem = problem_in(answer, 408, "body_too_slow")
    assert b"x-request-id: " + problem["instance"].rpartition(":")[2].encode() in answer.lower()
    assert "stored" not in endpoint.seen


async def test_a_slow_body_above_the_rate_is_accepted(serve: Serve) -> None:
    """It takes longer than its first bytes may: each chunk earns more than a busy machine needs for the next one."""
    limits, began = Timeouts(head=120, body=0.8, rate=5, stall=120, idle=1.0, drain=120), time.monotonic()
    async with serve(limits) as endpoint:
        client = await endpoint.open()
        await client.send(request("POST", "/echo", length=3_000))
        for n in range(15):
            await asyncio.sleep(0.08 if n else 0.01)
            await client.send(b"x" * 200)
        assert time.monotonic() - began > limits.body
        assert (await client.rest()).endswith(b"3000")
        assert endpoint.seen == ["begun", "stored"]


async def test_a_body_that_came_fast_must_not_end_slowly(endpoint: Endpoint) -> None:
    """50,000 bytes earn no 50 seconds: who got them could send the missing 100 at leisure."""
    client = await endpoint.open()
    await client.send(request("POST", "/echo", b"x" * 50_000, length=50_100))
    sending = asyncio.create_task(dribble_on(client))
    try:
        problem_in(await client.rest(), 408, "body_too_slow")
    finally:
        sending.cancel()


async def dribble_on(client: Client, data: bytes = b"x") -> None:
    """Send a little often, also when the response has come."""
    while True:
        await asyncio.sleep(0.01)
        await client.send(data)


async def test_a_gateway_sends_only_whole_requests_to_a_service(patient: Endpoint) -> None:
    """A service sees the head at once; the gateway waits for the body first, which may be a file."""
    client = await patient.open()
    body = b"x" * 200_000
    await client.send(request("POST", "/echo", body[:-1], length=len(body)))
    if patient.port == patient.app.state.settings.port:
        await until(lambda: patient.seen == ["begun"])
    else:
        await asyncio.sleep(0.2)
        assert patient.seen == []
    await client.send(b"x")
    await until(lambda: patient.seen == ["begun", "stored"])
    client.writer.write_eof()
    assert (await client.rest()).endswith(b"200000")


async def test_who_does_not_read_is_disconnected_and_fills_no_memory(endpoint: Endpoint) -> None:
    client = await endpoint.open()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await client.send(request("GET", "/flood"))
    await until(lambda: "ended" in endpoint.seen)
    assert endpoint.seen.count("chunk") < 600  # of 64 kB: the buffers of the kernel
    client.writer.transport.abort()


# Half-closed connections


async def test_a_half_closed_request_is_answered(patient: Endpoint) -> None:
    client = await patient.open()
    await client.send(request("POST", "/echo", b"abc"))
    client.writer.write_eof()
    answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"3")
    assert patient.seen == ["begun", "stored"]


async def test_all_requests_on_a_half_closed_connection_are_answered(patient: Endpoint) -> None:
    client = await patient.open()
    await client.send(request("GET", "/wait/0.1") + request("GET", "/wait/0") + request("POST", "/echo", b"ab"))
    client.writer.write_eof()
    assert (await client.rest()).count(b"HTTP/1.1 200 ") == 3


async def test_half_a_request_on_a_half_closed_connection_is_dropped(patient: Endpoint) -> None:
    for half in (b"GET /wait/0 HTTP/1.1\r\n", request("POST", "/echo", b"ab", length=9)):
        client = await patient.open()
        await client.send(half)
        client.writer.write_eof()
        assert b" 200 " not in await client.rest()
    assert "stored" not in patient.seen


# Number


async def test_new_connections_of_an_address_replace_those_that_wait(patient: Endpoint) -> None:
    silent = [await patient.open() for _ in range(PER_ADDRESS)]
    elsewhere = await patient.open("127.0.0.3")
    client = await patient.open()
    await client.send(request("GET", "/wait/0"))
    assert b" 200 " in await client.head()
    assert await silent[0].rest() == b""
    await elsewhere.send(request("GET", "/wait/0"))
    assert b" 200 " in await elsewhere.head()


async def test_an_address_with_only_busy_connections_gets_no_more(patient: Endpoint) -> None:
    busy = [await patient.open() for _ in range(PER_ADDRESS)]
    for each in busy:
        await each.send(request("GET", "/held"))
    await until(lambda: patient.seen.count("held") == PER_ADDRESS)
    answer = await (await patient.open()).rest()
    problem_in(answer, 503, "connections_full")
    assert b"\r\nRetry-After: 5\r\n" in answer
    elsewhere = await patient.open("127.0.0.3")
    await elsewhere.send(request("GET", "/wait/0"))
    assert b" 200 " in await elsewhere.head()
    patient.app.state.release.set()
    for each in busy:
        assert b" 200 " in await each.head()


async def test_the_total_is_limited_as_well(patient: Endpoint) -> None:
    silent = [await patient.open(f"127.0.0.{3 + n}") for n in range(TOTAL)]
    client = await patient.open()
    await client.send(request("GET", "/wait/0"))
    assert b" 200 " in await client.head()
    assert await silent[0].rest() == b""


async def test_trusted_proxies_are_limited_in_total_only() -> None:
    class Transport:
        aborted = False

        def get_extra_info(self, name: str) -> Any:
            return ("10.0.0.1", 1)

        def abort(self) -> None:
            self.aborted = True

        def write(self, data: bytes) -> None: ...

        def close(self) -> None: ...

    connections = Connections("tests", total=3, per_address=1, trusted={"10.0.0.1"})
    watches = [Watch(connections, Transport(), print, lambda: False) for _ in range(4)]  # type: ignore[arg-type]
    assert [each.start() for each in watches] == [True, True, True, False]
    assert len(connections.open) == 3 and not any(each.transport.aborted for each in watches)  # type: ignore[attr-defined]
    for each in watches:
        each.end()
    assert not connections.open and not connections.by_address


async def test_streams_are_limited_by_address_and_freed_when_their_readers_leave(patient: Endpoint) -> None:
    streams = [await patient.open() for _ in range(2)]
    for each in streams:
        await each.send(request("GET", "/stream"))
        assert b" 200 " in await each.head()
    client = await patient.open()
    await client.send(request("GET", "/stream"))
    assert (await client.head()).startswith(b"HTTP/1.1 204 "), "an EventSource does not reconnect"
    elsewhere = await patient.open("127.0.0.3")
    await elsewhere.send(request("GET", "/stream"))
    assert b" 200 " in await elsewhere.head()

    streams[0].writer.close()
    streams[1].writer.write_eof()  # a half-closed stream has no reader either
    await until(lambda: patient.app.state.streams.total() == 1)
    again = await patient.open()
    await again.send(request("GET", "/stream"))
    assert b" 200 " in await again.head()


async def test_streams_are_limited_in_total(patient: Endpoint) -> None:
    for n in range(5):
        client = await patient.open(f"127.0.0.{3 + n}")
        await client.send(request("GET", "/stream"))
        assert b" 200 " in await client.head()
    client = await patient.open()
    await client.send(request("GET", "/stream"))
    assert (await client.head()).startswith(b"HTTP/1.1 204 ")


def test_a_subscriber_counts_as_one_address() -> None:
    assert network_of("2001:db8:0:7::1") == network_of("2001:db8:0:7:ffff::2") != network_of("2001:db8:0:8::1")
    assert network_of("::ffff:10.0.0.1") != network_of("::ffff:10.0.0.2") and network_of("10.0.0.1") == "10.0.0.1"


@pytest.mark.parametrize(("hard", "fit"), [(20_000, 8_000), (4_096, 3_584), (resource.RLIM_INFINITY, 8_000)])
def test_open_files_are_raised_to_what_is_allowed(monkeypatch: pytest.MonkeyPatch, hard: int, fit: int) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    assert open_file_limit(8_000) == fit
    assert limits == [(8_512 if hard == resource.RLIM_INFINITY else hard, hard)]


def test_uvicorn_runs_the_limited_protocol(tmp_path: Path) -> None:
    settings = Settings(
        service="tests",
        environment="development",
        kafka="-",
        mongo="-",  # type: ignore[arg-type]
        database="-",
        jwks=tmp_path / "jwks.json",
    )
    config: uvicorn.Config = server._config(lambda *_: None, settings, lifespan="off")
    assert config.http.func is HttpProtocol  # type: ignore[union-attr]
    connections = config.http.args[0]  # type: ignore[union-attr]
    assert connections.timeouts == Timeouts() and connections.trusted("127.0.0.1") and not connections.trusted(OTHER)
