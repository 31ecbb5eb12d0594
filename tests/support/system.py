"""The whole platform for tests, started as `peyvand up`, on free ports, in a temporary folder."""

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

from base.kafka_access import KafkaAccess
from peyvand.api_client import sign_in
from peyvand.local_cluster.processes import alive, end, start, wait_until
from peyvand.local_cluster.servers import ADMIN
from peyvand.local_cluster.topology import SERVICES, ClusterState, RunningProcess, as_user, read_state
from peyvand.local_cluster.workspace import Workspace, current_workspace, development_secrets

START_TIMEOUT, STOP_TIMEOUT = 180.0, 60.0  # seconds, on a busy machine


class RunningSystem:
    """A running platform: its addresses and processes."""

    def __init__(self, run: Path, **environment: str) -> None:
        self.workspace, self.environment = Workspace(current_workspace().installation, run), environment
        self.log = run.with_suffix(".out")
        self.supervisor: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> ClusterState:
        """Return the present content of run/state.json."""
        state = read_state(self.workspace)
        assert state is not None, "there is no state file"
        return state

    @property
    def url(self) -> str:
        """Return the public address."""
        return self.state.public_url

    def process(self, name: str) -> RunningProcess:
        """Return one of its processes, such as `screening-worker`."""
        return self.state.processes[name]

    @property
    def kafka_admin(self) -> KafkaAccess:
        """Return the access of Kafka's administrator, who may publish to every topic."""
        return self.state.kafka.as_user(ADMIN, development_secrets(self.workspace, SERVICES).kafka_admin)

    @property
    def mongo_admin(self) -> str:
        """Return the MongoDB URL of the administrator, who may read the wrapped keys too."""
        return as_user(self.state.mongo, ADMIN, development_secrets(self.workspace, SERVICES).mongo_admin)

    @property
    def output(self) -> str:
        """Return what the supervisor has printed so far."""
        return self.log.read_text(errors="replace")

    def start(self, verb: str = "up") -> float:
        """Start it; return when everything is ready, with the seconds that it took."""
        environment = {
            **os.environ,
            **self.environment,
            "PEYVAND_HOME": str(self.workspace.installation),
            "PEYVAND_RUN": str(self.workspace.run),
            "PEYVAND_PORTS": "any",
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        began = time.monotonic()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "peyvand", verb]
        self.supervisor = supervisor = start(command, self.log, environment, parent_death_signal=signal.SIGTERM)

        def up() -> bool:
            state = read_state(self.workspace)
            return state is not None and state.supervisor.pid == supervisor.pid and state.ready

        wait_until(lambda: supervisor.poll() is not None or up(), START_TIMEOUT)
        if not up():
            raise RuntimeError(f"the platform does not start:\n{self.output[-3000:]}")
        return time.monotonic() - began

    def restarted(self, name: str, before: RunningProcess) -> RunningProcess:
        """Wait for the process that replaces one that died, and return it when it is ready."""

        def ready() -> bool:
            process = self.process(name)
            return process != before and self.output.count(f"{name} is back") >= process.starts - 1

        wait_until(ready, START_TIMEOUT)
        assert self.process(name) != before, f"{name} was not restarted"
        return self.process(name)

    def interrupt(self) -> int:
        """Press Ctrl-C; return the exit code."""
        assert self.supervisor is not None
        self.supervisor.send_signal(signal.SIGINT)
        return self.supervisor.wait(STOP_TIMEOUT)

    def end(self) -> None:
        """End everything reliably."""
        if self.supervisor and self.supervisor.poll() is None:
            try:
                self.interrupt()
            except subprocess.TimeoutExpired:
                self.supervisor.kill()
                self.supervisor.wait()
        if state := read_state(self.workspace):
            end([each.identity for each in state.processes.values() if alive(each.identity)])


@contextmanager
def started(folder: Path) -> Iterator[RunningSystem]:
    """Start a platform and end it afterwards."""
    system = RunningSystem(folder / "run")
    try:
        system.start()
        yield system
    finally:
        system.end()


def open_round(url: str, name: str, opens: datetime, closes: datetime, fields: Sequence[str] = ("JF001",)) -> None:
    """Open a round for applications between two instants, as the ministry."""
    terms = {"fields": list(fields), "opens": opens.isoformat(), "closes": closes.isoformat()}
    headers = {"Authorization": f"Bearer {sign_in(url, 'ministry_admin')}"}
    httpx.put(f"{url}/registration/v1/rounds/{name}", json=terms, headers=headers, timeout=30).raise_for_status()
