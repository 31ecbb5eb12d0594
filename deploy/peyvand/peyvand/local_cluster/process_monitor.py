"""Monitor one process: wait until it is ready, restart it when it dies, stop it when asked to."""

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from base.backoff import backoff
from peyvand.local_cluster.processes import kill
from peyvand.terminal.checklist import Checklist

POLL = 0.1  # seconds
START_TIMEOUT = 120.0  # seconds until the first readiness, on a slow machine
STABLE_AFTER = 30.0  # seconds of life after which a death counts as the first again
START_ATTEMPTS = 3  # deaths in a row before the first readiness, after which the start has failed
RESTART_BASE, RESTART_LIMIT = 0.5, 15.0  # seconds before a restart
LOG_TAIL = 1_500  # characters of the log in an error


class StartFailed(Exception):
    """A process of the platform cannot be started; the message has the cause that its log names."""


class PortTaken(StartFailed):
    """Another process listens on the port that was chosen for it."""


class MonitoredProcess(msgspec.Struct, frozen=True):
    """How to start a process, and how to find out whether it is ready."""

    name: str
    begin: Callable[[], "subprocess.Popen[bytes]"]
    ready: Callable[[], Awaitable[bool]]
    log: Path


class ProcessMonitor:
    """Monitors one process through all its restarts."""

    def __init__(self, monitored: MonitoredProcess, checklist: Checklist) -> None:
        self.monitored, self.checklist = monitored, checklist
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths = 0
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process; return when it is ready for the first time. Restart it from then on. Raise StartFailed."""
        deadline = time.monotonic() + START_TIMEOUT
        while not await self._try(deadline):
            if self.deaths >= START_ATTEMPTS:
                raise StartFailed(f"{self.monitored.name} ended {self.deaths} times: {self._log()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{self.monitored.name} is not ready after {START_TIMEOUT:.0f} s: {self._log()}")
            await asyncio.sleep(restart_pause(self.deaths))
        self.task = asyncio.create_task(self._monitor())

    async def _try(self, deadline: float = float("inf")) -> bool:
        """Start the process once; return whether it became ready."""
        self.process, began = self.monitored.begin(), time.monotonic()
        while self.process.poll() is None and time.monotonic() < deadline:
            if await self.monitored.ready():
                return True
            await asyncio.sleep(POLL)
        self._count_death(time.monotonic() - began)
        return False

    async def _monitor(self) -> None:
        began = time.monotonic()
        while True:
            while self.process and self.process.poll() is None:  # noqa: ASYNC110  the end of a process is only polled
                await asyncio.sleep(POLL)
            self._count_death(time.monotonic() - began)
            pause = restart_pause(self.deaths)
            self.checklist.cross(f"{self.monitored.name} died", f"{self._cause()}; restarting in {pause:.1f} s")
            await asyncio.sleep(pause)
            began = time.monotonic()
            if await self._try():
                self.checklist.tick(f"{self.monitored.name} is back", time.monotonic() - began)

    def _count_death(self, lifetime: float) -> None:
        self.deaths = 1 if lifetime > STABLE_AFTER else self.deaths + 1

    def _cause(self) -> str:
        code = self.process.poll() if self.process else None
        return "never started" if code is None else f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def _log(self) -> str:
        with contextlib.suppress(OSError):
            return cause_in(self.monitored.log.read_text(errors="replace")) or "its log is empty"
        return "it has no log"

    def stop_monitoring(self) -> None:
        """Do not restart the process any more."""
        if self.task:
            self.task.cancel()

    async def stop(self, grace: float) -> None:
        """Send SIGTERM, and SIGKILL after `grace` seconds; return when the process is gone."""
        self.stop_monitoring()
        process = self.process
        if process is None:
            return
        deadline = time.monotonic() + grace
        if process.poll() is None:
            process.terminate()
        while process.poll() is None:
            if time.monotonic() > deadline:
                kill(process)
            await asyncio.sleep(POLL / 2)

    def kill(self) -> None:
        """Kill the process at once."""
        self.stop_monitoring()
        if self.process:
            kill(self.process)


def cause_in(log: str) -> str:
    """Return the cause of an end as a log names it: the last error of mongod, else its last warning, else the end.

    What mongod does on its way out fills pages of JSON after it.
    """
    for levels in ("EF", "W"):
        for line in reversed(log.splitlines()):
            if (entry := _mongod_entry(line)) and entry["s"] in levels:
                return f"{entry['msg']} {msgspec.json.encode(entry.get('attr', {})).decode()}"[:LOG_TAIL]
    return log[-LOG_TAIL:].strip()


def _mongod_entry(line: str) -> dict[str, Any] | None:
    with contextlib.suppress(msgspec.DecodeError):
        entry = msgspec.json.decode(line)
        return entry if isinstance(entry, dict) and {"s", "msg"} <= entry.keys() else None
    return None


def restart_pause(deaths: int) -> float:
    """Return the seconds before a process that died so many times in a row is restarted."""
    return backoff(max(deaths - 1, 0), RESTART_BASE, RESTART_LIMIT)


async def responds_ok(port: int, path: str) -> bool:
    """Return whether this path on the loopback answers 200 within two seconds."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
