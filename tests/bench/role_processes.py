"""Where a benchmark's processes run: a role of a service over the real parts, with nothing else beside it."""

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
from peyvand.local_cluster.topology import inherited
from tests.support.servers import Servers
from tests.support.tokens import Issuer

READY_WITHIN = 120.0  # seconds on a busy machine
KEY = "development-" + "5" * 64  # of the keys; secrets only where somebody keeps real people


class Running:
    """A process of a benchmark, with the port it answers on."""

    def __init__(self, process: "Popen[bytes]", port: int, log: Path) -> None:
        self.process, self.pid, self.port, self.log = process, process.pid, port, log

    def ready(self) -> bool:
        """Whether it says that it is ready."""
        if self.process.poll() is not None:
            raise RuntimeError(f"it ended:\n{self.log.read_text(errors='replace')[-3000:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def wait(self) -> float:
        """Waits until it is ready; the moment when it was."""
        if not wait_until(self.ready, READY_WITHIN):
            raise RuntimeError(f"it does not come up:\n{self.log.read_text(errors='replace')[-3000:]}")
        return time.monotonic()


@contextmanager
def role(
    service: str, kind: str, servers: Servers, folder: Path, issuer: Issuer, database: str = "", n: int = 1, **more: str
) -> Iterator[Running]:
    """One process of a service, as the supervisor would start it; ended afterwards."""
    port = free_ports({"port": None})["port"]
    environment = {
        **inherited(os.environ),
        "PEYVAND_ENVIRONMENT": "development",
        "PEYVAND_SERVICE": service,
        "PEYVAND_KAFKA": servers.kafka,
        "PEYVAND_MONGO": servers.mongo,
        "PEYVAND_DATABASE": database or service,
        "PEYVAND_PORT": str(port),
        "PEYVAND_ISSUER": issuer.name,
        "PEYVAND_JWKS": str(issuer.jwks),
        "PEYVAND_MASTER_KEY": KEY,
        "PEYVAND_INDEX_KEY": KEY,
        "PEYVAND_LOG_LEVEL": "warning",
        **more,
    }
    log = folder / f"{service}-{kind}-{n}.log"
    with process([sys.executable, "-m", f"{service}.main", kind], log, environment, port) as it:
        yield it


@contextmanager
def script(module: str, *arguments: str, log: Path, port: int) -> Iterator[Running]:
    """One of the bare alternatives, as a process of its own."""
    command = [sys.executable, "-m", f"tests.bench.{module}", *arguments]
    with process(command, log, inherited(os.environ), port) as it:
        yield it


@contextmanager
def process(command: list[str], log: Path, environment: dict[str, str], port: int) -> Iterator[Running]:
    """A process that does not outlive us."""
    running = start(command, log, environment, if_we_die=signal.SIGKILL)
    try:
        yield Running(running, port, log)
    finally:
        stop(running, 30)
