"""The process monitor: restarts with growing pauses, start failures with the end of the log, stops."""

import asyncio
import io
import os
import signal
from pathlib import Path

import pytest
from rich.console import Console

from peyvand.local_cluster import process_monitor
from peyvand.local_cluster.process_monitor import (
    MonitoredProcess,
    ProcessMonitor,
    StartFailed,
    cause_in,
    responds_ok,
    restart_pause,
)
from peyvand.local_cluster.processes import free_ports, start
from peyvand.terminal.checklist import Checklist


def monitored(script: str, tmp_path: Path) -> tuple[ProcessMonitor, io.StringIO]:
    """Return a monitor of a shell script that is ready when it prints so, and the output of the checklist."""
    shown, log = io.StringIO(), tmp_path / "log"

    async def ready() -> bool:
        return log.read_text().endswith("ready\n")

    process = MonitoredProcess("part", lambda: start(["/bin/sh", "-c", script], log, os.environ), ready, log)
    return ProcessMonitor(process, Checklist(Console(file=shown, width=200))), shown


def test_the_pause_before_a_restart_grows_to_a_bound() -> None:
    for deaths, longest in enumerate([0.5, 0.5, 1, 2, 4, 8, 15, 15]):
        pauses = [restart_pause(deaths) for _ in range(200)]
        assert min(pauses) >= 0.5 and 0.75 * longest < max(pauses) <= longest


async def test_a_dead_process_is_restarted_and_reported(tmp_path: Path) -> None:
    monitor, output = monitored("echo ready; exec sleep 60", tmp_path)
    await monitor.start()
    assert monitor.process is not None
    first = monitor.process
    first.send_signal(signal.SIGKILL)
    async with asyncio.timeout(60):
        while "back" not in output.getvalue():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert monitor.process.pid != first.pid
    assert "part died" in output.getvalue() and "SIGKILL" in output.getvalue()
    await monitor.stop(60)
    assert monitor.process.returncode == -signal.SIGTERM


async def test_a_failed_start_has_the_end_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_monitor, "restart_pause", lambda deaths: 0.0)
    monitor, _ = monitored("echo the master key is missing; exit 3", tmp_path)
    with pytest.raises(StartFailed, match=r"ended 3 times: the master key is missing"):
        await monitor.start()


def test_the_cause_is_the_last_error_of_mongod_before_pages_of_its_end() -> None:
    farewell = '{"t":{},"s":"I","c":"-","msg":"Shutting down","attr":{"exitCode":48}}\n' * 100
    warning = '{"s":"W","c":"CONTROL","msg":"No access control"}\n'
    error = '{"s":"E","c":"CONTROL","msg":"Failed to set up listener","attr":{"error":"Address already in use"}}\n'
    assert cause_in(error + warning + farewell) == 'Failed to set up listener {"error":"Address already in use"}'
    assert cause_in(warning + farewell) == "No access control {}"
    assert cause_in("x" * 5_000 + "\nKeyError: the master key\n").endswith("x\nKeyError: the master key")
    assert cause_in('["s"]\n17\n') == '["s"]\n17' and cause_in("") == ""


async def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    monitor, _ = monitored("trap '' TERM; echo ready; while :; do sleep 1; done", tmp_path)
    await monitor.start()
    await monitor.stop(0.2)
    assert monitor.process is not None and monitor.process.returncode == -signal.SIGKILL


async def test_a_port_without_a_server_does_not_respond() -> None:
    assert not await responds_ok(free_ports({"unused": None})["unused"], "/readyz")
