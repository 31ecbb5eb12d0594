"""Processes: identified and ended reliably, and recorded before they run."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from peyvand.local_cluster.processes import (
    ProcessIdentity,
    alive,
    end,
    free_ports,
    identify,
    kill,
    start,
    stop,
    wait_until,
)

IP_LOCAL_PORT_RANGE = 51  # of linux/in.h; `socket` names it from Python 3.12 on
SLEEP = ["/bin/sh", "-c", "echo here; exec sleep 60"]
IGNORES_SIGTERM = ["/bin/sh", "-c", "trap '' TERM; echo here; while :; do sleep 1; done"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def started(log: Path) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Yield a list; the processes that a test adds are ended after it."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for each in processes:
        kill(each)
        stop(each, 0)


def test_a_process_is_identified_by_id_and_start(started: list["subprocess.Popen[bytes]"], log: Path) -> None:
    started.append(start(SLEEP, log, os.environ))
    identity = identify(started[0].pid)
    assert identity is not None and alive(identity)
    assert not alive(msgspec.structs.replace(identity, started=identity.started - 1)), "the id is reused"
    assert not alive(msgspec.structs.replace(identity, boot="another")), "the machine was rebooted"


def test_the_identity_is_the_same_after_exec(started: list["subprocess.Popen[bytes]"], log: Path) -> None:
    recorded: list[ProcessIdentity] = []
    started.append(start(SLEEP, log, os.environ, recorded.append))
    assert wait_until(lambda: log.read_text() == "here\n", 60)
    assert recorded == [identify(started[0].pid)]


def test_an_unrecorded_process_never_runs(log: Path) -> None:
    def record(identity: ProcessIdentity) -> None:
        recorded.append(identity)
        raise OSError("the disk is full")

    recorded: list[ProcessIdentity] = []
    with pytest.raises(OSError, match="the disk is full"):
        start(SLEEP, log, os.environ, record)
    assert wait_until(lambda: not alive(recorded[0]), 60)
    assert log.read_text() == ""


def test_a_zombie_is_not_alive(log: Path) -> None:
    process = start(["true"], log, os.environ)
    assert wait_until(lambda: identify(process.pid) is None, 60), "a zombie is not alive"
    process.wait()


def test_a_process_that_ignores_sigterm_is_killed(started: list["subprocess.Popen[bytes]"], log: Path) -> None:
    started.append(start(IGNORES_SIGTERM, log, os.environ))
    assert wait_until(lambda: log.read_text() == "here\n", 60)
    identity = identify(started[0].pid)
    assert identity is not None
    end([identity], grace=0.3)
    assert not alive(identity)


def test_a_stopped_process_is_ended(started: list["subprocess.Popen[bytes]"], log: Path) -> None:
    started.append(start(SLEEP, log, os.environ))
    started[0].send_signal(signal.SIGSTOP)
    identity = identify(started[0].pid)
    assert identity is not None
    end([identity], grace=60)
    assert not alive(identity)
    assert started[0].wait() == -signal.SIGTERM


def test_stop_kills_after_its_grace(started: list["subprocess.Popen[bytes]"], log: Path) -> None:
    started.append(start(IGNORES_SIGTERM, log, os.environ))
    assert wait_until(lambda: log.read_text() == "here\n", 60)
    stop(started[0], grace=0.2)
    assert started[0].returncode == -signal.SIGKILL


def test_a_used_port_is_not_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        ports = free_ports({"gateway": taken, "mongod": None, "kafka": None})
    assert taken not in ports.values()
    assert len(set(ports.values())) == 3


def test_a_chosen_port_is_kept_from_all_who_ask_for_any() -> None:
    """From other servers and from outgoing connections: a test would otherwise fail once in a hundred runs."""
    port = free_ports({"kafka": None})["kafka"]
    only = (port | port << 16).to_bytes(4, sys.byteorder)  # the ports among which the kernel may choose
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        for connects in (False, True):
            with socket.socket() as other:
                try:
                    other.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, only)
                except OSError:
                    pytest.skip("not run: this kernel has no IP_LOCAL_PORT_RANGE")
                with pytest.raises(OSError, match=r"Address already in use|Cannot assign requested address"):
                    other.connect(elsewhere.getsockname()) if connects else other.bind(("127.0.0.1", 0))
    with socket.create_server(("127.0.0.1", port)) as server:
        assert server.getsockname()[1] == port


def test_the_preferred_port_is_used_if_free() -> None:
    port = free_ports({"gateway": None})["gateway"]
    assert free_ports({"gateway": port}) == {"gateway": port}
