"""The whole country for the tests that need it, started as a person starts it, on free ports, in a temporary folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import httpx

from peyvand.api_client import sign_in
from peyvand.local_cluster.processes import alive, end, start, wait_until
from peyvand.local_cluster.topology import Process, State, read_state
from peyvand.local_cluster.workspace import Home, here

UP_WITHIN, DOWN_WITHIN = 180.0, 60.0  # seconds on a busy machine


class RunningSystem:
    """One country: where it is, and the processes it consists of."""

    def __init__(self, run: Path, **environment: str) -> None:
        self.home, self.environment = Home(here().parts, run), environment
        self.log = run.with_suffix(".out")
        self.supervisor: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> State:
        """What run/state.json says now."""
        state = read_state(self.home)
        assert state is not None, "no state is written"
        return state

    @property
    def url(self) -> str:
        """The one address."""
        return self.state.public_url

    def process(self, name: str) -> Process:
        """One of its processes, such as `screening-worker`."""
        return self.state.processes[name]

    @property
    def said(self) -> str:
        """What the supervisor has shown so far."""
        return self.log.read_text(errors="replace")

    def start(self, verb: str = "up") -> float:
        """Starts it and returns when everything is ready, after how many seconds."""
        environment = {
            **os.environ,
            **self.environment,
            "PEYVAND_HOME": str(self.home.parts),
            "PEYVAND_RUN": str(self.home.run),
            "PEYVAND_PORTS": "any",
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        began = time.monotonic()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "peyvand", verb]
        self.supervisor = supervisor = start(command, self.log, environment, if_we_die=signal.SIGTERM)

        def up() -> bool:
            state = read_state(self.home)
            return state is not None and state.supervisor.pid == supervisor.pid and state.ready

        wait_until(lambda: supervisor.poll() is not None or up(), UP_WITHIN)
        if not up():
            raise RuntimeError(f"the country does not come up:\n{self.said[-3000:]}")
        return time.monotonic() - began

    def back(self, name: str, before: Process) -> Process:
        """The process that has taken the place of one that died, once it is ready."""

        def again() -> bool:
            return self.process(name) != before and self.said.count(f"{name} is back") >= self.process(name).starts - 1

        wait_until(again, UP_WITHIN)
        assert self.process(name) != before, f"{name} was not started again"
        return self.process(name)

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        assert self.supervisor is not None
        self.supervisor.send_signal(signal.SIGINT)
        return self.supervisor.wait(DOWN_WITHIN)

    def end(self) -> None:
        """Ends everything for certain."""
        if self.supervisor and self.supervisor.poll() is None:
            try:
                self.interrupt()
            except subprocess.TimeoutExpired:
                self.supervisor.kill()
                self.supervisor.wait()
        if state := read_state(self.home):
            end([each.who for each in state.processes.values() if alive(each.who)])


@contextmanager
def started(folder: Path) -> Iterator[RunningSystem]:
    """A country that is up, and gone afterwards."""
    system = RunningSystem(folder / "run")
    try:
        system.start()
        yield system
    finally:
        system.end()


def open_round(url: str, name: str, opens: datetime, closes: datetime, fields: Sequence[str] = ("JF001",)) -> None:
    """The ministry sets when a round takes applications."""
    terms = {"fields": list(fields), "opens": opens.isoformat(), "closes": closes.isoformat()}
    headers = {"Authorization": f"Bearer {sign_in(url, 'ministry_admin')}"}
    httpx.put(f"{url}/registration/v1/rounds/{name}", json=terms, headers=headers, timeout=30).raise_for_status()
