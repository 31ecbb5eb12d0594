"""A real Prometheus that scrapes a running platform. The rules are the repository's with shorter durations."""

import asyncio
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import yaml

from peyvand.local_cluster.processes import free_ports, start, stop, wait_until
from peyvand.local_cluster.prometheus import configuration
from peyvand.local_cluster.workspace import ROOT
from tests.support.system import RunningSystem

RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
SPEED_UP = 60  # a rule with `for: 5m` waits five seconds
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def shorter(rules: str, factor: int = SPEED_UP) -> str:
    """Return the rules with every duration (for, range, offset) divided; thresholds are unchanged."""

    def divided(match: re.Match[str]) -> str:
        return f"{match[1]}{max(1, int(match[2]) * SECONDS[match[3]] // factor)}s"

    return re.sub(r"(for: |\[|offset )(\d+)([smhd])\b", divided, rules)


class Prometheus:
    """A Prometheus server that scrapes the platform."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"
        self.fired: dict[str, float] = {}  # alert -> after how many seconds
        self.began = time.monotonic()

    def firing(self) -> set[str]:
        """Return the alerts that fire now."""
        alerts = httpx.get(f"{self.url}/api/v1/alerts", timeout=5).json()["data"]["alerts"]
        names = {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}
        for name in sorted(names - self.fired.keys()):
            self.fired[name] = time.monotonic() - self.began
            print(f"{self.fired[name]:6.1f} s {name}", flush=True)
        return names

    async def wait_for(self, *alerts: str, within: float = 40) -> None:
        """Wait until each of these has fired."""
        deadline = time.monotonic() + within
        while not set(alerts) <= self.fired.keys():
            self.firing()
            assert time.monotonic() < deadline, f"not fired: {sorted(set(alerts) - self.fired.keys())}; {self.fired}"
            await asyncio.sleep(0.5)

    async def wait_resolved(self, *alerts: str, within: float = 60) -> None:
        """Wait until none of these fires any more."""
        deadline = time.monotonic() + within
        while still := self.firing() & set(alerts):
            assert time.monotonic() < deadline, f"still firing: {still}"
            await asyncio.sleep(0.5)


@contextmanager
def prometheus_for(folder: Path, system: RunningSystem, **more: int) -> Iterator[Prometheus]:
    """Start a Prometheus that scrapes all processes, and further ones by name and port."""
    rules, port = folder / "alerts.yaml", free_ports({"prometheus": None})["prometheus"]
    rules.write_text(shorter(RULES.read_text("utf-8")))
    content = yaml.safe_load(configuration(system.state, rules))
    content["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    content["scrape_configs"][0]["static_configs"] += [
        {"targets": [f"127.0.0.1:{at}"], "labels": {"process": name}} for name, at in more.items()
    ]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(content))
    command = ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/tsdb"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    command.append("--no-storage.tsdb.wal-compression")  # so that its files can be searched
    process = start(command, folder / "prometheus.log", os.environ, parent_death_signal=signal.SIGKILL)
    try:
        prometheus = Prometheus(folder, port)

        def ready() -> bool:
            with suppress(httpx.HTTPError):
                return httpx.get(f"{prometheus.url}/-/ready").status_code == 200
            return False

        assert wait_until(ready, 30), (folder / "prometheus.log").read_text()
        yield prometheus
    finally:
        stop(process, 10)
