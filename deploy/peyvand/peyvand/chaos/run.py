"""`peyvand storm`: a country of its own, load, faults, rest, and the check; 0 where nothing was lost or doubled."""

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

from pymongo import AsyncMongoClient
from rich.console import Console

from base.clock import hold_clock, set_clock
from peyvand.chaos import check
from peyvand.chaos.faults import LINKS, PARTS, Fault, NotBack, befall, schedule, state
from peyvand.chaos.load import Impatient, Load
from peyvand.chaos.proxy import Link
from peyvand.local_cluster.processes import alive, start
from peyvand.local_cluster.topology import inherited, read_state
from peyvand.local_cluster.workspace import Home, here
from peyvand.simulation import plan, run
from peyvand.simulation.quiescence import Unrest, Watch
from peyvand.simulation.scenario import Round, instant

WORKERS = 2
TOGETHER = 4  # faults at once
PROVINCES = ("IR-20", "IR-23", "IR-07", "IR-10")
UP_WITHIN, DOWN_WITHIN, RESTS_WITHIN = 120.0, 60.0, 180.0  # seconds


def storm(seed: int, faults: int, seconds: float) -> int:
    """Runs it and prints a line a fault; keeps the folder where something differs."""
    folder = Path(tempfile.mkdtemp(prefix="peyvand-storm-"))
    home = Home(here().parts, folder / "run")
    wrong = ["it did not end"]
    try:
        wrong = asyncio.run(_country(home, folder, seed, faults, seconds))
    finally:
        for each in wrong[:20]:
            print(f"differs: {each}")
        if wrong:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return int(bool(wrong))


async def _country(home: Home, folder: Path, seed: int, faults: int, seconds: float) -> list[str]:
    """A country whose parts are reached, and whose door is, by ways that can go wrong."""
    links = {name: Link(name, partial(_port, home, name)) for name in LINKS}
    for each in links.values():
        await each.start()
    environment = inherited(os.environ) | {
        "PEYVAND_RUN": str(home.run),
        "PEYVAND_PORTS": "any",
        "PEYVAND_WORKERS": str(WORKERS),
        "PEYVAND_LINKS": ",".join(f"{name}:{links[name].port}" for name in PARTS),
    }
    command = [sys.executable, "-m", "peyvand", "up"]
    supervisor = start(command, folder / "supervisor.log", environment, if_we_die=signal.SIGTERM)
    try:
        return await _storm(home, links, seed, faults, seconds)
    finally:
        await asyncio.to_thread(_end, home, supervisor)
        for each in links.values():
            await each.stop()


def _port(home: Home, name: str) -> int:
    return state(home).ports[name]


def _end(home: Home, supervisor: "subprocess.Popen[bytes]") -> None:
    found = read_state(home)
    for each in found.processes.values() if found else ():  # a frozen one would not hear it
        if alive(each.who):
            with suppress(ProcessLookupError):
                os.kill(each.who.pid, signal.SIGCONT)
    supervisor.terminate()
    try:
        supervisor.wait(DOWN_WITHIN)
    except subprocess.TimeoutExpired:
        supervisor.terminate()  # asked twice it ends at once
        supervisor.wait(DOWN_WITHIN)


async def _storm(home: Home, links: dict[str, Link], seed: int, faults: int, seconds: float) -> list[str]:
    until = monotonic() + UP_WITHIN
    while not ((found := read_state(home)) and found.ready):
        if monotonic() > until:
            return ["the country did not come up"]
        await asyncio.sleep(0.2)
    at = state(home)
    set_clock(home.clock, instant(0), running=True)
    client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(at.mongo, tz_aware=True)
    watch = Watch(client, at.kafka)
    try:
        async with Impatient(f"http://127.0.0.1:{links['door'].port}") as country:
            await Round(country, plan.draw(seed, 1.0, frozenset(PROVINCES)), seed).open()
            load, over = Load(country, list(PROVINCES), seed, home.run / "history.jsonl"), asyncio.Event()
            blowing = asyncio.create_task(load.blow(over))
            wrong = await _befall_all(home, links, schedule(seed, faults, WORKERS), seconds, load)
            over.set()
            await blowing
            await load.ask_again()
            try:
                await watch.rest(hold_clock(home.clock), RESTS_WITHIN)
            except Unrest as moving:
                return [*wrong, str(moving)]
            where = run.Where(at.public_url, at.kafka, at.mongo, home.clock, home.run / "simulation.json")
            return wrong + await _prove(where, country, client, load)
    finally:
        await watch.stop()
        await client.close()


async def _befall_all(
    home: Home, links: Mapping[str, Link], faults: Sequence[Fault], seconds: float, load: Load
) -> list[str]:
    """One after the other, up to TOGETHER at once, never two on one target; says who was not back in time."""
    wrong, over = list[str](), monotonic() + seconds
    slots, targets = asyncio.Semaphore(TOGETHER), defaultdict[str, asyncio.Lock](asyncio.Lock)
    befell = Counter[tuple[str, str]]()

    async def one(n: int, fault: Fault) -> None:
        try:
            async with targets[fault.target]:
                how = await befall(home, links, fault)
        except NotBack as e:
            how = f"NOT BACK: {e}"
            wrong.append(f"fault {n}, {fault.act} {fault.target}: {e}")
        finally:
            slots.release()
        befell[_kind(fault), fault.act] += 1
        print(f"{n:>4} {fault.act:<12} {fault.target:<24} {how}; {len(load.ok)} acknowledged", flush=True)

    async with asyncio.TaskGroup() as together:
        for n, fault in enumerate(faults, 1):
            await slots.acquire()
            if monotonic() > over:
                print(f"the time is over after {n - 1} of {len(faults)} faults", flush=True)
                break
            together.create_task(one(n, fault))
            await asyncio.sleep(fault.peace)
    kinds = sorted({kind for kind, _ in befell})
    for kind in kinds:
        acts = ", ".join(f"{act} {n}" for (k, act), n in sorted(befell.items()) if k == kind)
        print(f"{kind:<12} {acts}", flush=True)
    return wrong


def _kind(fault: Fault) -> str:
    """What a target is: worker, api, mongod, kafka, or the way to one."""
    kinds = [kind for kind in ("worker", "api") if f"-{kind}" in fault.target]
    return kinds[0] if kinds else fault.target


async def _prove(
    where: run.Where, country: Impatient, client: "AsyncMongoClient[dict[str, object]]", load: Load
) -> list[str]:
    facts = await asyncio.to_thread(check.counted, where.mongo)
    kept, log = await asyncio.to_thread(check.emitted, where.mongo), await asyncio.to_thread(check.logged, where.kafka)
    lost, doubled = check.lost(load.ok.values(), facts) + check.untold(load.acts, kept), check.twice(kept)
    doubled += [] if len(set(load.ok.values())) == len(load.ok) else ["one application for two persons"]
    strangers = len(set(facts) - set(load.ok.values()))
    wrong = [f"lost: {each}" for each in lost] + [f"twice: {each}" for each in doubled]
    wrong += [f"refused: {each}" for each in load.refused]
    if strangers > len(load.unknown):
        wrong.append(f"{strangers} are counted that nobody acknowledged, and {len(load.unknown)} are unknown")
    wrong += check.holes(log, kept)
    differs = await run.prove(where, country, client, set(load.ok.values()), Console())
    wrong += ["recount and ranking differ"] if differs else []
    same = "recount differs from ranking" if differs else "recount = ranking"
    print(f"{len(load.acts)} acts of officers acknowledged, {len(load.unknown)} applications unknown", flush=True)
    print(f"{len(load.ok)} acknowledged, {len(lost)} lost, {len(doubled)} twice, {same}", flush=True)
    return wrong
