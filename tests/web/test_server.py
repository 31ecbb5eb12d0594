"""How a process runs: health beside the work, a graceful shutdown, and an exit with an error."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from base.settings import Settings
from observability.health import ReadinessReason
from run import __main__ as command
from run import server
from run.server import serve_worker
from tests.support.ports import free_port

LIMIT = 60.0  # seconds, on a busy machine: nothing here is measured
NOT_ASSIGNED = ReadinessReason("not_assigned", "no partitions are assigned yet")


class StubWorker:
    """A worker that runs until it is stopped, and then ends when it may; or that raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.started, self.may_end, self.drained = error, asyncio.Event(), asyncio.Event(), False
        self.reasons: list[ReadinessReason] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Wait until stopped."""
        self.started.set()
        if self.error:
            raise self.error
        await stop.wait()
        await self.may_end.wait()
        self.drained = True

    async def ready(self) -> Sequence[ReadinessReason]:
        """Return the reasons set by the test."""
        return self.reasons


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a worker on a free port."""
    monkeypatch.setattr(server, "configure_logging", lambda *_: None)
    return Settings(
        service="tests",
        environment="development",
        kafka="-",
        mongo="-",  # type: ignore[arg-type]
        database="-",
        jwks=tmp_path / "jwks.json",
        port=free_port(),
    )


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = LIMIT) -> None:
    """Wait for a condition to become true."""
    end = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < end, "the condition did not become true"
        await asyncio.sleep(0.02)


async def is_ready(client: httpx.AsyncClient) -> bool:
    """Return whether the process answers that it is ready."""
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def is_stopping(client: httpx.AsyncClient) -> bool:
    """Return whether the process answers that it is not ready because it stops."""
    answer = (await client.get("/readyz")).json()
    return (answer["ready"], [each["code"] for each in answer["reasons"]]) == (False, ["stopping"])


async def test_worker_serves_health_and_drains_on_sigterm(settings: Settings) -> None:
    worker = StubWorker()
    running = asyncio.create_task(serve_worker(worker, settings))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.port}") as client:
        await until(lambda: is_ready(client))
        assert (await client.get("/healthz")).json()["service"] == "tests"
        assert 'peyvand_build_info{role="worker",service="tests"' in (await client.get("/metrics")).text
        assert (await client.get("/anything")).status_code == 404
        worker.reasons = [NOT_ASSIGNED]
        response = await client.get("/readyz")
        assert (response.status_code, response.json()["reasons"]) == (
            503,
            [{"code": "not_assigned", "text": "no partitions are assigned yet"}],
        )

        worker.reasons = []
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: is_stopping(client))
        assert not running.done() and not worker.drained
        worker.may_end.set()
    await asyncio.wait_for(running, LIMIT)
    assert worker.drained


async def test_error_of_the_worker_ends_the_process(settings: Settings) -> None:
    with pytest.raises(ValueError, match="fatal"):
        await asyncio.wait_for(serve_worker(StubWorker(ValueError("fatal")), settings), LIMIT)


async def test_worker_that_does_not_drain_is_cancelled(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "DRAIN", 0.2)
    worker = StubWorker()
    running = asyncio.create_task(serve_worker(worker, settings))
    await worker.started.wait()
    os.kill(os.getpid(), signal.SIGINT)

    await asyncio.wait_for(running, LIMIT)
    assert not worker.drained


async def test_port_in_use_ends_the_process(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.port)), pytest.raises(OSError, match="in use"):
        await asyncio.wait_for(serve_worker(StubWorker(), settings), LIMIT)


def test_command_line_names_service_and_role(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, Any]] = []
    service = object()
    stubs = {
        "stub.service": SimpleNamespace(service=service),
        "run.api": SimpleNamespace(run_api=lambda service: ran.append(("api", service))),
        "run.worker": SimpleNamespace(run_worker=lambda service: ran.append(("worker", service))),
    }
    for name, module in {"stub": SimpleNamespace(), **stubs}.items():
        monkeypatch.setitem(sys.modules, name, module)

    command.main(["stub", "api"])
    command.main(["stub", "worker"])
    assert ran == [("api", service), ("worker", service)]
    for wrong in (["stub"], ["stub", "both"], ["stub", "api", "worker"], []):
        with pytest.raises(SystemExit, match=r"api\|worker"):
            command.main(wrong)
    with pytest.raises(SystemExit, match="no service 'missing'"):
        command.main(["missing", "api"])
    assert len(ran) == 2


API = """
import asyncio, sys
from pathlib import Path
from typing import Annotated
from fastapi import APIRouter, Request
from base.settings import Settings
from run.server import serve
from security.auth import Principal
from web.app import create_app
from web.authorization import public

settings = Settings(service="tests", environment="development", kafka="-", mongo="-", database="-",
                    jwks=Path("-"), port=int(sys.argv[1]))
router = APIRouter()

@router.get("/slow")
async def slow(request: Request, principal: Annotated[Principal, public()]) -> str:
    print("begun", flush=True)
    await request.app.state.stopping.wait()
    await asyncio.sleep(0.5)  # longer than a server that did not wait would go on
    return "complete"

async def ready():
    return []

serve(create_app(settings, "Tests", lifespan=None, ready=ready, prefix="", routers=[router]), settings)
"""


async def test_api_completes_requests_before_it_ends() -> None:
    port = free_port()
    command = (sys.executable, "-c", API, str(port))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await until(lambda: is_ready(client))
            slow = asyncio.create_task(client.get("/slow", timeout=LIMIT))
            assert await asyncio.wait_for(process.stdout.readline(), LIMIT) == b"begun\n"
            process.send_signal(signal.SIGTERM)
            assert (await slow).json() == "complete"
        assert await asyncio.wait_for(process.wait(), LIMIT) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_worker_loads_no_web_framework() -> None:
    script = "import sys, run.server; sys.exit(any(m in sys.modules for m in ('fastapi', 'starlette', 'joserfc')))"

    assert subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=False).returncode == 0
