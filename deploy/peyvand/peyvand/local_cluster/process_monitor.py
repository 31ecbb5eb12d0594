"""Keeps one process alive: waits until it is ready, starts it again when it dies, ends it when asked."""

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from peyvand.local_cluster.processes import kill
from peyvand.terminal.checklist import Checklist

LOOK = 0.1  # seconds between two looks at a process
PATIENCE = 120.0  # seconds for the first readiness, on a slow machine that installs nothing any more
STEADY = 30.0  # seconds alive after which a death is a new story
TRIES = 3  # deaths in a row before the first readiness, after which it is not tried again
TAIL = 1_500  # characters of the log that tell why


class Failed(Exception):
    """A part of the country cannot be brought up; says what its log says."""


class Part(msgspec.Struct, frozen=True):
    """What there is to be kept."""

    name: str
    begin: Callable[[], "subprocess.Popen[bytes]"]
    ready: Callable[[], Awaitable[bool]]
    log: Path


class Keeper:
    """One part and its present process."""

    def __init__(self, part: Part, say: Checklist) -> None:
        self.part, self.say = part, say
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths = 0
        self.once_up = False
        self.keeping: asyncio.Task[None] | None = None

    async def up(self) -> None:
        """Starts it and returns when it is ready for the first time; keeps it from then on. Raises Failed."""
        over = time.monotonic() + PATIENCE
        while not await self._try(over):
            if self.deaths >= TRIES:
                raise Failed(f"{self.part.name} ended {self.deaths} times: {self._last_words()}")
            if time.monotonic() > over:
                raise Failed(f"{self.part.name} is not ready after {PATIENCE:.0f} s: {self._last_words()}")
            await asyncio.sleep(backoff(self.deaths))
        self.once_up = True
        self.keeping = asyncio.create_task(self._keep())

    async def _try(self, over: float = float("inf")) -> bool:
        """One start; whether it became ready."""
        self.process, began = self.part.begin(), time.monotonic()
        while self.process.poll() is None and time.monotonic() < over:
            if await self.part.ready():
                return True
            await asyncio.sleep(LOOK)
        self._count(time.monotonic() - began)
        return False

    async def _keep(self) -> None:
        began = time.monotonic()
        while True:
            while self.process and self.process.poll() is None:  # noqa: ASYNC110  a process tells no other way
                await asyncio.sleep(LOOK)
            self._count(time.monotonic() - began)
            pause = backoff(self.deaths)
            self.say.cross(f"{self.part.name} died", f"{self._how()}; starting again in {pause:.1f} s")
            await asyncio.sleep(pause)
            began = time.monotonic()
            if await self._try():
                self.say.tick(f"{self.part.name} is back", time.monotonic() - began)

    def _count(self, lived: float) -> None:
        self.deaths = 1 if lived > STEADY else self.deaths + 1

    def _how(self) -> str:
        code = self.process.poll() if self.process else None
        return "never began" if code is None else f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return self.part.log.read_text(errors="replace")[-TAIL:].strip() or "it said nothing"
        return "it said nothing"

    def no_more(self) -> None:
        """From now on a death is no surprise."""
        if self.keeping:
            self.keeping.cancel()

    async def stop(self, grace: float) -> None:
        """Asks it to end; no longer asks after `grace` seconds. Returns when it is gone."""
        self.no_more()
        process = self.process
        if process is None:
            return
        over = time.monotonic() + grace
        if process.poll() is None:
            process.terminate()
        while process.poll() is None:
            if time.monotonic() > over:
                kill(process)
            await asyncio.sleep(LOOK / 2)

    def kill(self) -> None:
        """Ends it at once."""
        self.no_more()
        if self.process:
            kill(self.process)


def backoff(deaths: int) -> float:
    """Seconds before a process that has died so often is started again: 0.5 to 15."""
    return float(min(0.5 * 2 ** max(deaths - 1, 0), 15.0))


async def answers(port: int, path: str) -> bool:
    """Whether somebody answers 200 at this address of the loopback within two seconds."""
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
