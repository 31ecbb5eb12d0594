"""Processes of the operating system: told apart for sure, started so that none is forgotten, ended for certain."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path

import msgspec

POLL = 0.05  # seconds between two looks at something that tells no other way
PR_SET_PDEATHSIG = 1

# A child waits to be told to go until its pid is written down: one that nobody recorded ends by itself.
_WAIT_THEN_RUN = 'read -r go && exec "$@" </dev/null'


class Identity(msgspec.Struct, frozen=True):
    """One process for sure: process ids come again, but not with the same start in the same boot."""

    pid: int
    started: int  # clock ticks after boot
    boot: str


def boot_id() -> str:
    """This boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> Identity | None:
    """Who has this process id now; None where nobody has, or only its ashes."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold anything
    return None if fields[0] in b"ZX" else Identity(pid, int(fields[19]), boot_id())


def alive(who: Identity) -> bool:
    """Whether exactly this process still runs."""
    return identify(who.pid) == who


def end(left: Collection[Identity], grace: float = 5.0) -> None:
    """Ends processes that need not be our children: asked first, and after `grace` seconds no longer asked."""
    for sign, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        for who in left:
            if alive(who):
                os.kill(who.pid, signal.SIGCONT)
                os.kill(who.pid, sign)
        wait_until(lambda: not any(map(alive, left)), patience)
        if not any(map(alive, left)):
            return


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Looks until it is so, or the time is over; returns whether it is so."""
    over = time.monotonic() + seconds
    while not true():
        if time.monotonic() > over:
            return False
        time.sleep(POLL)
    return True


def start(
    command: Sequence[str],
    log: Path | None,
    environment: Mapping[str, str],
    record: Callable[[Identity], None] = lambda _: None,
    *,
    folder: Path | None = None,
    if_we_die: signal.Signals | None = None,
) -> "subprocess.Popen[bytes]":
    """Starts a process in a session of its own, so that the terminal's Ctrl-C is ours alone to pass on.

    It runs only once `record` has returned. Without a `log` it writes where we write. `if_we_die`: what the
    kernel sends it when the calling thread is gone, for tests.
    """
    with log.open("ab") if log else nullcontext() as out:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _WAIT_THEN_RUN, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT if log else None,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
            preexec_fn=(lambda: _when_parent_dies(if_we_die)) if if_we_die else None,
        )
    assert process.stdin is not None
    try:
        if who := identify(process.pid):
            record(who)
    except BaseException:
        process.stdin.close()
        process.wait()
        raise
    with suppress(BrokenPipeError):  # it is gone already; whoever waits for it sees that
        process.stdin.write(b"go\n")
        process.stdin.close()
    return process


def _when_parent_dies(sign: signal.Signals) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, sign)


def stop(process: "subprocess.Popen[bytes]", grace: float) -> None:
    """SIGTERM, and SIGKILL to all that is left of it after `grace` seconds. Returns when it is gone."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            kill(process)
    process.wait()


def kill(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL to the process and to what it started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def listening(port: int) -> bool:
    """Whether somebody accepts connections at this port of the loopback."""
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def free_ports(wanted: Mapping[str, int | None]) -> dict[str, int]:
    """A free port of the loopback for each name, the wanted one where it is free; all different."""
    with ExitStack() as held:
        ports: dict[str, int] = {}
        for name, port in wanted.items():
            sock = held.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port or 0))
            except OSError:
                sock.bind(("127.0.0.1", 0))
            ports[name] = sock.getsockname()[1]
        return ports
