"""The start of a platform that fails: sentences instead of tracebacks, and other ports if one was taken meanwhile."""

import asyncio
import io
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from base.tasks import cancel_and_wait
from peyvand.local_cluster.process_monitor import PortTaken, StartFailed
from peyvand.local_cluster.supervisor import Supervisor, _to_its_end
from peyvand.local_cluster.workspace import Workspace
from peyvand.terminal.checklist import Checklist


class Stub(Supervisor):
    """A supervisor whose attempts to start end with these exceptions; after the last it would be up."""

    def __init__(self, folder: Path, *outcomes: Exception) -> None:
        self.output, self.outcomes, self.attempts = io.StringIO(), list(outcomes), 0
        checklist = Checklist(Console(file=self.output, width=300))
        super().__init__(Workspace(folder, folder / "run"), checklist, simulate=False)

    async def _start_all(self) -> None:
        self.attempts += 1
        if self.outcomes:
            raise self.outcomes.pop(0)
        self.stopping.set()


def group(*errors: Exception) -> Exception:
    """Return the errors as two nested task groups raise them."""
    return ExceptionGroup("unhandled errors in a TaskGroup", [ExceptionGroup("inner", errors)])


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """Keep the handlers of pytest."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


async def test_a_failed_start_ends_with_its_sentence(tmp_path: Path) -> None:
    supervisor = Stub(tmp_path, group(StartFailed("mongod ended 3 times: no space"), RuntimeError("no folder")))
    assert await supervisor.run() == 1
    output = supervisor.output.getvalue()
    assert output.count("the platform does not start") == 2 and "Traceback" not in output
    assert "mongod ended 3 times: no space" in output and "no folder" in output and supervisor.attempts == 1


async def test_a_defect_is_not_taken_for_a_failed_start(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await Stub(tmp_path, group(ZeroDivisionError("a defect"))).run()
    assert raised.group_contains(ZeroDivisionError)


async def test_other_ports_are_chosen_once_when_one_was_taken(tmp_path: Path) -> None:
    supervisor = Stub(tmp_path, group(PortTaken("port 27017 of mongod")))
    assert await supervisor.run() == 0 and supervisor.attempts == 2
    assert "port 27017 of mongod; choosing other ports" in supervisor.output.getvalue()
    supervisor = Stub(tmp_path, group(PortTaken("port 1")), group(PortTaken("port 2")))
    assert await supervisor.run() == 1 and supervisor.attempts == 2
    assert "the platform does not start" in supervisor.output.getvalue()


async def test_what_a_cancelled_start_prepares_ends_before_the_next_attempt() -> None:
    begun, ended = asyncio.Event(), list[str]()
    loop = asyncio.get_running_loop()

    def prepare() -> None:
        loop.call_soon_threadsafe(begun.set)
        time.sleep(0.2)
        ended.append("prepared")

    task = asyncio.create_task(_to_its_end(prepare))
    await begun.wait()
    await cancel_and_wait(task)
    assert ended == ["prepared"]


@pytest.mark.parametrize("before", [True, False])
async def test_a_taken_port_is_recognised_before_and_after_the_start(tmp_path: Path, before: bool) -> None:
    supervisor, begun = Stub(tmp_path), tmp_path / "begun"
    supervisor.workspace.create()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        if before:
            other.listen()

        async def ready() -> bool:
            other.listen()
            return False

        with pytest.raises(PortTaken, match=f"port {port} of part"):
            command = ["/bin/sh", "-c", f"touch {begun}; sleep 0.2"]
            await supervisor._monitor("part", command, os.environ.copy, port, ready)
    assert begun.exists() is not before
