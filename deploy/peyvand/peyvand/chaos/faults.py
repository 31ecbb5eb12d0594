"""The schedule of faults, drawn from a seed: target, kind, and pause until the next; and their injection."""

import asyncio
import os
import re
import signal
from collections.abc import Mapping
from contextlib import suppress
from random import Random

import msgspec
from httpx import AsyncClient, HTTPError

from peyvand.chaos.proxy import FaultyProxy
from peyvand.local_cluster.process_monitor import responds_ok
from peyvand.local_cluster.processes import alive, listening
from peyvand.local_cluster.topology import SERVICES, ClusterState, read_state, role_name
from peyvand.local_cluster.workspace import Workspace

SERVERS = ("mongod", "kafka")
PROXIED = ("kafka", "mongod", "gateway")  # processes with a proxy before them
PROCESS_FAULTS = ("kill", "end", "freeze", "freeze long")
RESTARTS = ("restart join", "restart assignment", "restart catch-up")  # of workers: killed, and their successor then
RESTART_MOMENT = 10.0  # seconds in which that moment must come; otherwise the successor is killed all the same
FREEZE_SECONDS = {"freeze": 3.0, "freeze long": 14.0}  # seconds; the session of a worker in its group expires after 10
BLACKHOLE_SECONDS = {"blackhole": 3.0, "blackhole long": 14.0}
NETWORK_FAULTS = (*BLACKHOLE_SECONDS, "slow", "reset", "half open")
SLOW_SECONDS, DELAY = 4.0, (0.05, 0.5)  # duration of a slow network, and the range of its delay
CATCHING_UP = re.compile(r"^peyvand_catching_up_partitions\{.*\} [1-9]", re.MULTILINE)
RECOVERY_TIMEOUT = 120.0  # seconds until all processes are ready again, during which other faults go on


class InjectedFault(msgspec.Struct, frozen=True):
    """One fault: of a process, or of the network to one (target "to mongod")."""

    target: str
    kind: str
    pause: float  # seconds until the next fault may begin, whether or not this one is over
    delay: float = 0.0  # of a slow network

    @property
    def network_to(self) -> str:
        """Return the process to which the network is faulty; empty for a fault of a process."""
        return self.target.removeprefix("to ") if self.target.startswith("to ") else ""


def schedule(seed: int, faults: int, workers: int) -> list[InjectedFault]:
    """Return the faults of this seed: every kind on every target in random order, repeated until there are enough."""
    chance = Random(f"chaos/{seed}")
    roles = [role_name(s, "worker", n) for s in SERVICES for n in range(1, workers + 1)]
    names = [*roles, *(f"{s}-api" for s in SERVICES), *SERVERS]
    kinds = [(name, kind) for name in names for kind in PROCESS_FAULTS]
    kinds += [(role, kind) for role in roles for kind in RESTARTS]
    kinds += [(f"to {name}", kind) for name in PROXIED for kind in NETWORK_FAULTS]
    drawn: list[InjectedFault] = []
    while len(drawn) < faults:
        chance.shuffle(kinds)
        for target, kind in kinds:
            delay = round(chance.uniform(*DELAY), 2) if kind == "slow" else 0.0
            drawn.append(InjectedFault(target, kind, round(chance.uniform(1.0, 3.5), 2), delay))
    return drawn[:faults]


def current_state(workspace: Workspace) -> ClusterState:
    """Return the state of the running platform."""
    state = read_state(workspace)
    assert state is not None
    return state


async def inject(workspace: Workspace, proxies: Mapping[str, FaultyProxy], fault: InjectedFault) -> str:
    """Inject a fault and wait until all processes are ready; return how long that took. Raise NotRecovered."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    if fault.network_to:
        names = list(current_state(workspace).processes) if fault.network_to != "gateway" else []
        await _inject_network(proxies[fault.network_to], fault)
        for name in names:
            await _wait_ready(workspace, name)
    else:
        await _wait_ready(workspace, fault.target)
        pid = current_state(workspace).processes[fault.target].identity.pid
        await _signal(pid, "kill" if fault.kind in RESTARTS else fault.kind)
        if fault.kind in RESTARTS:
            pid = await _kill_successor(workspace, fault, pid)
        await _wait_ready(workspace, fault.target, other_than=0 if fault.kind in FREEZE_SECONDS else pid)
    return f"recovered after {loop.time() - began:.1f} s"


class NotRecovered(Exception):
    """A process is not ready again in time."""


async def _inject_network(proxy: FaultyProxy, fault: InjectedFault) -> None:
    if fault.kind in BLACKHOLE_SECONDS:
        await proxy.blackhole(BLACKHOLE_SECONDS[fault.kind])
    elif fault.kind == "slow":
        await proxy.slow(SLOW_SECONDS, fault.delay)
    elif fault.kind == "reset":
        proxy.reset()
    else:
        proxy.half_open()


async def _signal(pid: int, kind: str) -> None:
    with suppress(ProcessLookupError):
        if kind in FREEZE_SECONDS:
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(FREEZE_SECONDS[kind])
            finally:
                os.kill(pid, signal.SIGCONT)
        else:
            os.kill(pid, signal.SIGKILL if kind == "kill" else signal.SIGTERM)


async def _kill_successor(workspace: Workspace, fault: InjectedFault, pid: int) -> int:
    """Kill the successor of a killed worker at the moment that the fault names; return its id. Raise NotRecovered."""
    deadline = asyncio.get_running_loop().time() + RESTART_MOMENT
    while True:
        each = current_state(workspace).processes[fault.target]
        started = each.identity.pid != pid and alive(each.identity)
        late = asyncio.get_running_loop().time() - deadline
        if started and (late > 0 or (listening(each.port) and await _at_moment(each.port, fault.kind))):
            await _signal(each.identity.pid, "kill")
            return each.identity.pid
        if late > RECOVERY_TIMEOUT:
            raise NotRecovered(f"{fault.target} is not started again after {RECOVERY_TIMEOUT:.0f} s")
        await asyncio.sleep(0.05)


async def _at_moment(port: int, kind: str) -> bool:
    """Return whether a worker joins its group, is about to take over partitions, or reads the log."""
    if kind == "restart join":
        return True
    async with AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=2.0) as client:
        try:
            if kind == "restart assignment":
                return "no_partitions" not in (await client.get("/readyz")).text
            return bool(CATCHING_UP.search((await client.get("/metrics")).text))
        except HTTPError:
            return False


async def _wait_ready(workspace: Workspace, name: str, other_than: int = 0) -> None:
    """Wait until a process is ready, with another process id than `other_than`. Raise NotRecovered."""
    deadline = asyncio.get_running_loop().time() + RECOVERY_TIMEOUT
    while True:
        each = current_state(workspace).processes[name]
        running = each.identity.pid != other_than and alive(each.identity)
        if running and (listening(each.port) if name in SERVERS else await responds_ok(each.port, "/readyz")):
            return
        if asyncio.get_running_loop().time() > deadline:
            raise NotRecovered(f"{name} is not ready after {RECOVERY_TIMEOUT:.0f} s")
        await asyncio.sleep(0.2)
