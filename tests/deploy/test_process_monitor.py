"""What dies is started again, ever more slowly; what never comes up is given up with its last words."""

import asyncio
import io
import os
import signal
from pathlib import Path

import pytest
from rich.console import Console

from peyvand.local_cluster import process_monitor
from peyvand.local_cluster.process_monitor import Failed, Keeper, Part, backoff
from peyvand.local_cluster.processes import start
from peyvand.terminal.checklist import Checklist


def kept(script: str, tmp_path: Path) -> tuple[Keeper, io.StringIO]:
    shown, log = io.StringIO(), tmp_path / "log"

    async def ready() -> bool:
        return log.read_text().endswith("ready\n")

    part = Part("part", lambda: start(["/bin/sh", "-c", script], log, os.environ), ready, log)
    return Keeper(part, Checklist(Console(file=shown, width=200))), shown


def test_backoff_grows_to_a_bound() -> None:
    assert [backoff(n) for n in range(8)] == [0.5, 0.5, 1, 2, 4, 8, 15, 15]


async def test_what_dies_is_started_again_and_shown(tmp_path: Path) -> None:
    part, shown = kept("echo ready; exec sleep 60", tmp_path)
    await part.up()
    assert part.process is not None
    first = part.process
    first.send_signal(signal.SIGKILL)
    async with asyncio.timeout(10):
        while "back" not in shown.getvalue():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert part.process.pid != first.pid
    assert "part died" in shown.getvalue() and "SIGKILL" in shown.getvalue()
    await part.stop(5)
    assert part.process.returncode == -signal.SIGTERM


async def test_what_never_comes_up_is_given_up_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_monitor, "backoff", lambda deaths: 0.0)
    part, _ = kept("echo the master key is missing; exit 3", tmp_path)
    with pytest.raises(Failed, match=r"ended 3 times: the master key is missing"):
        await part.up()


async def test_what_is_deaf_is_ended_when_its_time_is_over(tmp_path: Path) -> None:
    part, _ = kept("trap '' TERM; echo ready; while :; do sleep 1; done", tmp_path)
    await part.up()
    await part.stop(0.2)
    assert part.process is not None and part.process.returncode == -signal.SIGKILL


async def test_who_does_not_answer_is_not_ready() -> None:
    from peyvand.local_cluster.processes import free_ports

    assert not await process_monitor.answers(free_ports({"nobody": None})["nobody"], "/readyz")
