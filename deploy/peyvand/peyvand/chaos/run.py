"""`peyvand chaos`: a platform of its own, load, faults, quiescence, and the verification; 0 if nothing differs."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from pymongo import AsyncMongoClient
from rich.console import Console

from base.clock import hold_clock, set_clock
from peyvand.chaos import check
from peyvand.chaos.faults import PROXIED, SERVERS, InjectedFault, NotRecovered, current_state, inject, schedule
from peyvand.chaos.load import TIMEOUT, ChaosLoad
from peyvand.chaos.proxy import FaultyProxy
from peyvand.local_cluster.processes import alive, start
from peyvand.local_cluster.topology import inherited, read_state
from peyvand.local_cluster.workspace import Workspace, current_workspace
from peyvand.simulation import plan, run
from peyvand.simulation.client import PlatformClient
from peyvand.simulation.quiescence import NotQuiescent, QuiescenceProbe
from peyvand.simulation.scenario import Round, instant

WORKERS = 2
CONCURRENT_FAULTS = 4
PROVINCES = ("IR-20", "IR-23", "IR-07", "IR-10")
START_TIMEOUT, STOP_TIMEOUT, STALLED_AFTER = 120.0, 60.0, 180.0  # seconds; stalled: no progress


def run_chaos(seed: int, faults: int, seconds: float) -> int:
    """Run it and print a line per fault; keep the folder if something differs. Return the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="peyvand-chaos-"))
    workspace = Workspace(current_workspace().installation, folder / "run")
    differences = ["it was interrupted"]
    try:
        differences = asyncio.run(_run_platform(workspace, folder, seed, faults, seconds))
    finally:
        for each in differences[:20]:
            print(f"differs: {each}")
        if differences:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return int(bool(differences))


async def _run_platform(workspace: Workspace, folder: Path, seed: int, faults: int, seconds: float) -> list[str]:
    """Run a platform with a faulty proxy before Kafka, MongoDB and the gateway; return the differences."""
    proxies = {name: FaultyProxy(name, partial(_port, workspace, name)) for name in PROXIED}
    for each in proxies.values():
        await each.start()
    environment = inherited(os.environ) | {
        "PEYVAND_RUN": str(workspace.run),
        "PEYVAND_PORTS": "any",
        "PEYVAND_WORKERS": str(WORKERS),
        "PEYVAND_PROXY_PORTS": ",".join(f"{name}:{proxies[name].port}" for name in SERVERS),
    }
    command = [sys.executable, "-m", "peyvand", "up"]
    supervisor = start(command, folder / "supervisor.log", environment, parent_death_signal=signal.SIGTERM)
    try:
        return await _run_faults(workspace, proxies, seed, faults, seconds)
    finally:
        await asyncio.to_thread(_stop, workspace, supervisor)
        for each in proxies.values():
            await each.stop()


def _port(workspace: Workspace, name: str) -> int:
    return current_state(workspace).ports[name]


def _stop(workspace: Workspace, supervisor: "subprocess.Popen[bytes]") -> None:
    state = read_state(workspace)
    for each in state.processes.values() if state else ():  # a frozen process does not handle SIGTERM
        if alive(each.identity):
            with suppress(ProcessLookupError):
                os.kill(each.identity.pid, signal.SIGCONT)
    supervisor.terminate()
    try:
        supervisor.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        supervisor.terminate()  # the second signal kills everything
        supervisor.wait(STOP_TIMEOUT)


async def _run_faults(
    workspace: Workspace, proxies: dict[str, FaultyProxy], seed: int, faults: int, seconds: float
) -> list[str]:
    """Wait for the platform, put it under load, inject the faults, and verify; return the differences."""
    deadline = monotonic() + START_TIMEOUT
    while not ((found := read_state(workspace)) and found.ready):
        if monotonic() > deadline:
            return ["the platform did not start"]
        await asyncio.sleep(0.2)
    state = current_state(workspace)
    set_clock(workspace.clock, instant(0), running=True)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(state.mongo, tz_aware=True)
    probe = QuiescenceProbe(client, state.kafka)
    try:
        async with PlatformClient(f"http://127.0.0.1:{proxies['gateway'].port}", TIMEOUT) as platform:
            await Round(platform, plan.draw(seed, 1.0, frozenset(PROVINCES)), seed).open(1.0)
            load, over = ChaosLoad(platform, list(PROVINCES), seed, workspace.run / "history.jsonl"), asyncio.Event()
            running = asyncio.create_task(load.run(over))
            differences = await _inject_all(workspace, proxies, schedule(seed, faults, WORKERS), seconds, load)
            over.set()
            await running
            await load.retry_unknown()
            try:
                await probe.wait(hold_clock(workspace.clock), STALLED_AFTER)
            except NotQuiescent as e:
                return [*differences, str(e)]
            progress = workspace.run / "simulation.json"
            target = run.Target(state.public_url, state.kafka, state.mongo, workspace.clock, progress)
            return differences + await _verify(target, platform, client, load)
    finally:
        await probe.stop()
        await client.close()


async def _inject_all(
    workspace: Workspace,
    proxies: Mapping[str, FaultyProxy],
    faults: Sequence[InjectedFault],
    seconds: float,
    load: ChaosLoad,
) -> list[str]:
    """Inject the faults, several at a time but never two on one target; return those without recovery in time."""
    failures, deadline = list[str](), monotonic() + seconds
    slots, targets = asyncio.Semaphore(CONCURRENT_FAULTS), defaultdict[str, asyncio.Lock](asyncio.Lock)
    injected = Counter[tuple[str, str]]()

    async def inject_one(n: int, fault: InjectedFault) -> None:
        try:
            async with targets[fault.target]:
                outcome = await inject(workspace, proxies, fault)
        except NotRecovered as e:
            outcome = f"NOT RECOVERED: {e}"
            failures.append(f"fault {n}, {fault.kind} {fault.target}: {e}")
        finally:
            slots.release()
        injected[_kind_of_target(fault), fault.kind] += 1
        print(f"{n:>4} {fault.kind:<14} {fault.target:<24} {outcome}; {len(load.ok)} acknowledged", flush=True)

    async with asyncio.TaskGroup() as group:
        for n, fault in enumerate(faults, 1):
            await slots.acquire()
            if monotonic() > deadline:
                print(f"the time is over after {n - 1} of {len(faults)} faults", flush=True)
                break
            group.create_task(inject_one(n, fault))
            await asyncio.sleep(fault.pause)
    for target in sorted({target for target, _ in injected}):
        counts = ", ".join(f"{kind} {n}" for (t, kind), n in sorted(injected.items()) if t == target)
        print(f"{target:<12} {counts}", flush=True)
    return failures


def _kind_of_target(fault: InjectedFault) -> str:
    """Return worker, api, mongod, kafka, or the network to one of them."""
    kinds = [kind for kind in ("worker", "api") if f"-{kind}" in fault.target]
    return kinds[0] if kinds else fault.target


async def _verify(
    target: run.Target, platform: PlatformClient, client: AsyncMongoClient[dict[str, Any]], load: ChaosLoad
) -> list[str]:
    """Compare acknowledged requests, stored events, log and ranking; print a summary, return the differences."""
    counted = await asyncio.to_thread(check.counted, target.mongo)
    stored = await asyncio.to_thread(check.stored_events, target.mongo)
    log = await asyncio.to_thread(check.logged, target.kafka)
    lost = check.lost(load.ok.values(), counted) + check.missing_acts(load.acts, stored)
    doubled = check.duplicates(stored)
    doubled += [] if len(set(load.ok.values())) == len(load.ok) else ["one application for two persons"]
    unacknowledged = len(set(counted) - set(load.ok.values()))
    differences = [f"lost: {each}" for each in lost] + [f"twice: {each}" for each in doubled]
    differences += [f"refused: {each}" for each in load.refused]
    if unacknowledged > len(load.unknown):
        differences.append(f"{unacknowledged} are counted without acknowledgement, and {len(load.unknown)} are unknown")
    differences += check.log_defects(log, stored)
    differs = await run.prove(target, platform, client, set(load.ok.values()), Console())
    differences += ["recount and ranking differ"] if differs else []
    comparison = "recount differs from ranking" if differs else "recount = ranking"
    print(f"{len(load.acts)} acts of officers acknowledged, {len(load.unknown)} applications unknown", flush=True)
    print(f"{len(load.ok)} acknowledged, {len(lost)} lost, {len(doubled)} twice, {comparison}", flush=True)
    return differences
