"""Processes are told apart for sure, started so that none is forgotten, and ended for certain."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from peyvand.local_cluster.processes import Identity, alive, end, free_ports, identify, kill, start, stop, wait_until

SLEEP = ["/bin/sh", "-c", "echo here; exec sleep 60"]
DEAF = ["/bin/sh", "-c", "trap '' TERM; echo here; while :; do sleep 1; done"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def started(log: Path) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Whatever a test puts here is ended after it."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for each in processes:
        kill(each)
        stop(each, 0)


def test_a_process_is_its_id_and_its_start(started: list["subprocess.Popen[bytes]"], log: Path) -> None:
    started.append(start(SLEEP, log, os.environ))
    who = identify(started[0].pid)
    assert who is not None and alive(who)
    assert not alive(msgspec.structs.replace(who, started=who.started - 1)), "the id came again"
    assert not alive(msgspec.structs.replace(who, boot="another")), "the machine was started again"


def test_the_identity_stays_when_the_program_begins(started: list["subprocess.Popen[bytes]"], log: Path) -> None:
    recorded: list[Identity] = []
    started.append(start(SLEEP, log, os.environ, recorded.append))
    assert wait_until(lambda: log.read_text() == "here\n", 10)
    assert recorded == [identify(started[0].pid)]


def test_a_process_that_nobody_recorded_never_begins(log: Path) -> None:
    def record(who: Identity) -> None:
        found.append(who)
        raise OSError("the disk is full")

    found: list[Identity] = []
    with pytest.raises(OSError, match="the disk is full"):
        start(SLEEP, log, os.environ, record)
    assert wait_until(lambda: not alive(found[0]), 10)
    assert log.read_text() == ""


def test_ashes_are_nobody(log: Path) -> None:
    process = start(["true"], log, os.environ)
    assert wait_until(lambda: identify(process.pid) is None, 10), "a zombie is not alive"
    process.wait()


def test_what_is_deaf_is_ended_all_the_same(started: list["subprocess.Popen[bytes]"], log: Path) -> None:
    started.append(start(DEAF, log, os.environ))
    assert wait_until(lambda: log.read_text() == "here\n", 10)
    who = identify(started[0].pid)
    assert who is not None
    end([who], grace=0.3)
    assert not alive(who)


def test_what_stands_still_is_ended_too(started: list["subprocess.Popen[bytes]"], log: Path) -> None:
    started.append(start(SLEEP, log, os.environ))
    started[0].send_signal(signal.SIGSTOP)
    who = identify(started[0].pid)
    assert who is not None
    end([who], grace=5)
    assert not alive(who)
    assert started[0].wait() == -signal.SIGTERM


def test_stop_waits_for_no_one_for_ever(started: list["subprocess.Popen[bytes]"], log: Path) -> None:
    started.append(start(DEAF, log, os.environ))
    assert wait_until(lambda: log.read_text() == "here\n", 10)
    stop(started[0], grace=0.2)
    assert started[0].returncode == -signal.SIGKILL


def test_whoever_is_in_the_way_keeps_the_port() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        ports = free_ports({"door": taken, "mongod": None, "kafka": None})
    assert taken not in ports.values()
    assert len(set(ports.values())) == 3


def test_a_free_port_is_given_as_wanted() -> None:
    port = free_ports({"door": None})["door"]
    assert free_ports({"door": port}) == {"door": port}
