"""Operating system processes: identified and ended reliably, and recorded before they run."""

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

POLL = 0.05  # seconds
PR_SET_PDEATHSIG = 1

# The child runs only after its pid is recorded; if the parent dies before, its input closes and it ends.
_WAIT_THEN_RUN = 'read -r go && exec "$@" </dev/null'


class ProcessIdentity(msgspec.Struct, frozen=True):
    """Identifies one process reliably: a pid may be reused, but not with the same start in the same boot."""

    pid: int
    started: int  # clock ticks after boot
    boot: str


def boot_id() -> str:
    """Return the id of the machine's present boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of the process with this id; None if there is none, or only a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold anything
    return None if fields[0] in b"ZX" else ProcessIdentity(pid, int(fields[19]), boot_id())


def alive(identity: ProcessIdentity) -> bool:
    """Return whether exactly this process still runs."""
    return identify(identity.pid) == identity


def end(processes: Collection[ProcessIdentity], grace: float = 5.0) -> None:
    """End processes, children or not: SIGTERM, and SIGKILL after `grace` seconds."""
    for signal_number, timeout in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        for identity in processes:
            if alive(identity):
                os.kill(identity.pid, signal.SIGCONT)
                os.kill(identity.pid, signal_number)
        wait_until(lambda: not any(map(alive, processes)), timeout)
        if not any(map(alive, processes)):
            return


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition holds or the time is over; return whether it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def start(
    command: Sequence[str],
    log: Path | None,
    environment: Mapping[str, str],
    record: Callable[[ProcessIdentity], None] = lambda _: None,
    *,
    folder: Path | None = None,
    parent_death_signal: signal.Signals | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a process in a session of its own, so that the terminal's Ctrl-C does not reach it.

    It runs only after `record` has returned. Without a `log` it inherits standard output and error. The kernel sends
    it `parent_death_signal` when the calling thread ends (for tests).
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
            preexec_fn=(lambda: _set_parent_death_signal(parent_death_signal)) if parent_death_signal else None,
        )
    assert process.stdin is not None
    try:
        if identity := identify(process.pid):
            record(identity)
    except BaseException:
        process.stdin.close()
        process.wait()
        raise
    with suppress(BrokenPipeError):  # it has ended already, as its exit code shows
        process.stdin.write(b"go\n")
        process.stdin.close()
    return process


def _set_parent_death_signal(signal_number: signal.Signals) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number)


def stop(process: "subprocess.Popen[bytes]", grace: float) -> None:
    """Send SIGTERM, and SIGKILL to its process group after `grace` seconds; return when it is gone."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            kill(process)
    process.wait()


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Send SIGKILL to the process and to those that it started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def listening(port: int) -> bool:
    """Return whether a process accepts connections on this port of the loopback."""
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def free_ports(preferred: Mapping[str, int | None]) -> dict[str, int]:
    """Return a free port of the loopback for each name, the preferred one if it is free; all different.

    For a minute no one else gets them who does not ask for just these: see `_keep`.
    """
    with ExitStack() as held:
        ports: dict[str, int] = {}
        for name, port in preferred.items():
            sock = held.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port or 0))
            except OSError:
                sock.bind(("127.0.0.1", 0))
            _keep(sock)
            ports[name] = sock.getsockname()[1]
        return ports


def _keep(bound: socket.socket) -> None:
    """Keep the kernel from choosing this port for someone else, such as an outgoing connection.

    A connection that our end closes first leaves the port in TIME_WAIT, in which only a server that names it, with
    SO_REUSEADDR as all ours have, may use it.
    """
    bound.listen(1)
    with socket.create_connection(bound.getsockname()):
        bound.accept()[0].close()
