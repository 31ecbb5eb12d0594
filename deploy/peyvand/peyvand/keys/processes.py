"""The processes of registration: which keys they know, what their rotation has left, and how they get new keys."""

import time
from collections.abc import Iterable, Sequence

import msgspec

from peyvand.endpoints import CommandError, ProcessEndpoint
from peyvand.keys.steps import versions
from peyvand.local_cluster.processes import end
from peyvand.local_cluster.topology import SERVICES, ClusterState, read_state
from peyvand.local_cluster.workspace import Workspace, development_secrets
from peyvand.process_status import samples_of

KEYS, LEFT = "peyvand_registration_keys", "peyvand_registration_key_rotation_left"
START_TIMEOUT, GRACE, POLL = 120.0, 20.0, 0.2  # seconds
SERVICE = "registration"


class KeyProcess(msgspec.Struct, frozen=True):
    """One API or worker of registration."""

    name: str
    versions: tuple[int, ...] = ()  # of the keys that it knows, the one in use first; empty: it does not answer
    left: dict[str, int] = {}  # by key; empty: not counted, or no worker


def key_processes(processes: Iterable[ProcessEndpoint]) -> tuple[KeyProcess, ...]:
    """Return the processes of registration among these."""
    return tuple(_key_process(each) for each in processes if each.name.startswith(f"{SERVICE}-"))


def left(processes: Sequence[KeyProcess]) -> dict[str, int]:
    """Return what is left by key, of all workers together; nothing while a worker has not counted."""
    counted = [each.left for each in processes if "worker" in each.name]
    if not counted or not all(counted):
        return {}
    return {key: sum(each[key] for each in counted) for key in ("master", "index")}


def restart(workspace: Workspace) -> list[str]:
    """Restart the processes that do not know exactly the keys of the run folder, and return their names.

    One after the other, workers last: they look for what processes with former keys have stored. Raise CommandError.
    """
    restarted = []
    wanted = versions(development_secrets(workspace, SERVICES))
    for name in sorted(each for each in _state(workspace).processes if each.startswith(f"{SERVICE}-")):
        if _knows(workspace, name, wanted):
            continue
        end([_state(workspace).processes[name].identity], GRACE)  # the supervisor starts it again
        deadline = time.monotonic() + START_TIMEOUT
        while not _knows(workspace, name, wanted):
            if time.monotonic() > deadline:
                raise CommandError(f"{name} does not start with the keys {wanted}", "see its log, and run this again")
            time.sleep(POLL)
        restarted.append(name)
    return restarted


def _knows(workspace: Workspace, name: str, wanted: tuple[int, ...]) -> bool:
    process = _key_process(ProcessEndpoint(name, port=_state(workspace).processes[name].port))
    return process.versions[:1] == wanted[:1] and set(process.versions) == set(wanted)


def _state(workspace: Workspace) -> ClusterState:
    state = read_state(workspace)
    if state is None:
        raise CommandError("no platform runs from this clone", "start one with `make up`, and run this again")
    return state


def _key_process(process: ProcessEndpoint) -> KeyProcess:
    samples = samples_of(process)
    known = {int(each.labels["version"]): each.value for each in samples if each.name == KEYS}
    counted = {each.labels["key"]: int(each.value) for each in samples if each.name == LEFT}
    return KeyProcess(process.name, tuple(sorted(known, key=lambda version: (-known[version], version))), counted)
