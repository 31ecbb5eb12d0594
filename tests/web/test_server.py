"""How a process runs: health beside the work, a drained end, and a bad end that says so."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from aiohttp.test_utils import unused_port

from base.settings import Settings
from observability import logging
from run import server
from run.server import role_main, serve_worker


class Working:
    """A worker that works until it is told to stop, or something ends it."""

    def __init__(self, ends: Exception | None = None, drain: float = 0.0) -> None:
        self.ends, self.drain, self.began, self.drained = ends, drain, asyncio.Event(), False
        self.reasons: list[str] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Works."""
        self.began.set()
        if self.ends:
            await asyncio.sleep(0.05)
            raise self.ends
        await stop.wait()
        await asyncio.sleep(self.drain)
        self.drained = True

    async def ready(self) -> list[str]:
        """Why not."""
        return self.reasons


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a worker on a free port."""
    monkeypatch.setattr(logging, "configure_logging", lambda *_: None)
    return Settings(
        service="tests",
        environment="development",
        kafka="-",
        mongo="-",  # type: ignore[arg-type]
        database="-",
        jwks=tmp_path / "jwks.json",
        port=unused_port(),
    )


async def until(what: Callable[[], Awaitable[bool]], seconds: float = 5) -> None:
    """Waits for something to become so."""
    end = time.monotonic() + seconds
    while not await what():
        assert time.monotonic() < end, "it did not come to be"
        await asyncio.sleep(0.02)


async def test_a_worker_shows_its_health_and_drains_when_it_is_told_to_stop(settings: Settings) -> None:
    worker = Working(drain=0.3)
    running = asyncio.create_task(serve_worker(worker, settings))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.port}") as client:

        async def answers() -> bool:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await until(answers)
        assert (await client.get("/healthz")).json()["service"] == "tests"
        assert 'peyvand_build_info{role="worker",service="tests"' in (await client.get("/metrics")).text
        assert (await client.get("/anything")).status_code == 404
        worker.reasons = ["no partitions assigned yet"]
        response = await client.get("/readyz")
        assert (response.status_code, response.json()["reasons"]) == (503, worker.reasons)

        worker.reasons = []
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
        assert (await client.get("/readyz")).json() == {"ready": False, "reasons": ["stopping"]}
    await asyncio.wait_for(running, 5)
    assert worker.drained


async def test_what_ends_a_worker_ends_its_process(settings: Settings) -> None:
    with pytest.raises(ValueError, match="for good"):
        await asyncio.wait_for(serve_worker(Working(ValueError("for good")), settings), 5)


async def test_a_worker_that_does_not_drain_is_cut_off(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "DRAIN", 0.2)
    worker = Working(drain=60)
    running = asyncio.create_task(serve_worker(worker, settings))
    await worker.began.wait()
    os.kill(os.getpid(), signal.SIGINT)

    await asyncio.wait_for(running, 5)
    assert not worker.drained


async def test_a_port_that_is_taken_ends_the_process(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.port)), pytest.raises(OSError, match="in use"):
        await asyncio.wait_for(serve_worker(Working(), settings), 5)


def test_a_role_is_named_by_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[str] = []

    async def worker() -> None:
        ran.append("worker")

    role_main(["main", "api"], api=lambda: ran.append("api"), worker=worker)
    role_main(["main", "worker"], api=lambda: ran.append("api"), worker=worker)
    assert ran == ["api", "worker"]
    for wrong in (["main"], ["main", "both"], ["main", "api", "worker"], []):
        with pytest.raises(SystemExit, match=r"api\|worker"):
            role_main(wrong, api=lambda: None, worker=worker)


API = """
import asyncio, sys
from pathlib import Path
from typing import Annotated
from fastapi import APIRouter
from security.auth import Principal, public
from base.settings import Settings
from web.app import create_app, serve

settings = Settings(service="tests", environment="development", kafka="-", mongo="-", database="-",
                    jwks=Path("-"), port=int(sys.argv[1]))
router = APIRouter()

@router.get("/slow")
async def slow(principal: Annotated[Principal, public()]) -> str:
    await asyncio.sleep(1)
    return "whole"

async def ready() -> list[str]:
    return []

serve(create_app(settings, "Tests", lifespan=None, ready=ready, prefix="", routers=[router]), settings)
"""


async def test_an_api_answers_what_it_has_begun_before_it_ends() -> None:
    port = unused_port()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", API, str(port))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

            async def answers() -> bool:
                try:
                    return (await client.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(answers, 20)
            slow = asyncio.create_task(client.get("/slow"))
            await asyncio.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            assert (await slow).json() == "whole"
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_a_worker_loads_no_fastapi() -> None:
    told = "import sys, run.server; sys.exit(any(m in sys.modules for m in ('fastapi', 'starlette', 'joserfc')))"

    assert subprocess.run([sys.executable, "-W", "ignore", "-c", told], check=False).returncode == 0
