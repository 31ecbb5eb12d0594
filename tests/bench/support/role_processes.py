"""The processes of a benchmark: one role of a service over real servers, and nothing else."""

import os
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from urllib.error import URLError

from peyvand.local_cluster.processes import free_ports, start, stop, wait_until
from peyvand.local_cluster.topology import inherited, kafka_environment
from tests.support.servers import Servers
from tests.support.tokens import Issuer

READY_WITHIN = 120.0  # seconds on a busy machine
KEY = "development-" + "5" * 64  # encryption key; a secret only where real personal data is stored


class Running:
    """A process of a benchmark, and the port on which it serves."""

    def __init__(self, process: "Popen[bytes]", port: int, log: Path) -> None:
        self.process, self.pid, self.port, self.log = process, process.pid, port, log

    def ready(self) -> bool:
        """Return whether the process is ready. Raise RuntimeError if it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the process has ended, its log:\n{self._log_end()}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def wait(self) -> float:
        """Wait until the process is ready; return the monotonic time."""
        if not wait_until(self.ready, READY_WITHIN):
            raise RuntimeError(f"the process is not ready after {READY_WITHIN:.0f} s, its log:\n{self._log_end()}")
        return time.monotonic()

    def _log_end(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


@contextmanager
def role(
    service: str, kind: str, servers: Servers, folder: Path, issuer: Issuer, database: str = "", n: int = 1, **more: str
) -> Iterator[Running]:
    """Start one process of a service as the supervisor does, and end it afterwards."""
    port = free_ports({"port": None})["port"]
    environment = {
        **inherited(os.environ),
        "PEYVAND_ENVIRONMENT": "development",
        "PEYVAND_SERVICE": service,
        **kafka_environment(servers.kafka),
        "PEYVAND_MONGO": servers.mongo,
        "PEYVAND_DATABASE": database or service,
        "PEYVAND_PORT": str(port),
        "PEYVAND_ISSUER": issuer.name,
        "PEYVAND_JWKS": str(issuer.jwks),
        "PEYVAND_MASTER_KEY": KEY,
        "PEYVAND_INDEX_KEY": KEY,
        "PEYVAND_TRACKING_KEY": KEY,
        "PEYVAND_LOG_LEVEL": "warning",
        **more,
    }
    log = folder / f"{service}-{kind}-{n}.log"
    with process([sys.executable, "-m", "run", service, kind], log, environment, port) as it:
        yield it


@contextmanager
def script(module: str, *arguments: str, log: Path, port: int) -> Iterator[Running]:
    """Start one of the bare scripts, and end it afterwards."""
    command = [sys.executable, "-m", f"tests.bench.support.{module}", *arguments]
    with process(command, log, inherited(os.environ), port) as it:
        yield it


@contextmanager
def process(command: list[str], log: Path, environment: dict[str, str], port: int) -> Iterator[Running]:
    """Start a process that ends with this one."""
    running = start(command, log, environment, parent_death_signal=signal.SIGKILL)
    try:
        yield Running(running, port, log)
    finally:
        stop(running, 30)
