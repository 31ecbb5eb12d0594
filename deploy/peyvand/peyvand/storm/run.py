"""`peyvand storm`: a country of its own, load, faults, rest, and the check; 0 where nothing was lost or doubled."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from time import monotonic

from pymongo import AsyncMongoClient
from rich.console import Console

from peyvand.country import inherited, read_state
from peyvand.home import Home, here
from peyvand.processes import alive, start
from peyvand.simulation import plan, run
from peyvand.simulation.drive import Round, instant
from peyvand.simulation.quiet import Unrest, Watch
from peyvand.storm import check
from peyvand.storm.faults import befall, schedule, state
from peyvand.storm.load import Impatient, Load
from plumbing.clock import hold_clock, set_clock

WORKERS = 2
PROVINCES = ("IR-20", "IR-23", "IR-07", "IR-10")
UP_WITHIN, DOWN_WITHIN, RESTS_WITHIN = 120.0, 60.0, 180.0  # seconds


def storm(seed: int, faults: int, seconds: float) -> int:
    """Runs it and prints a line a fault; keeps the folder where something differs."""
    folder = Path(tempfile.mkdtemp(prefix="peyvand-storm-"))
    home = Home(here().parts, folder / "run")
    environment = inherited(os.environ) | {
        "PEYVAND_RUN": str(home.run),
        "PEYVAND_PORTS": "any",
        "PEYVAND_WORKERS": str(WORKERS),
    }
    command = [sys.executable, "-m", "peyvand", "up"]
    supervisor = start(command, folder / "supervisor.log", environment, if_we_die=signal.SIGTERM)
    wrong = ["it did not end"]
    try:
        wrong = asyncio.run(_storm(home, seed, faults, seconds))
    finally:
        _end(home, supervisor)
        for each in wrong[:20]:
            print(f"differs: {each}")
        if wrong:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return int(bool(wrong))


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


async def _storm(home: Home, seed: int, faults: int, seconds: float) -> list[str]:
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
        async with Impatient(at.public_url) as country:
            await Round(country, plan.draw(seed, 1.0, frozenset(PROVINCES)), seed).open()
            load, over = Load(country, list(PROVINCES), seed, home.run / "history.jsonl"), asyncio.Event()
            blowing = asyncio.create_task(load.blow(over))
            began = monotonic()
            for n, fault in enumerate(schedule(seed, faults, WORKERS), 1):
                if monotonic() - began > seconds:
                    print(f"the time is over after {n - 1} of {faults} faults", flush=True)
                    break
                how = await befall(home, fault)
                print(f"{n:>4} {fault.act:<12} {fault.process:<24} {how}; {len(load.ok)} acknowledged", flush=True)
            over.set()
            await blowing
            await load.ask_again()
            try:
                await watch.rest(hold_clock(home.clock), RESTS_WITHIN)
            except Unrest as moving:
                return [str(moving)]
            where = run.Where(at.public_url, at.kafka, at.mongo, home.clock, home.run / "simulation.json")
            return await _prove(where, country, client, load)
    finally:
        await watch.stop()
        await client.close()


async def _prove(
    where: run.Where, country: Impatient, client: "AsyncMongoClient[dict[str, object]]", load: Load
) -> list[str]:
    facts = await asyncio.to_thread(check.counted, where.mongo)
    lost, doubled = check.lost(load.ok.values(), facts), await asyncio.to_thread(check.twice, where.mongo)
    doubled += [] if len(set(load.ok.values())) == len(load.ok) else ["one application for two persons"]
    strangers = len(set(facts) - set(load.ok.values()))
    wrong = [f"lost: {each}" for each in lost] + [f"twice: {each}" for each in doubled]
    wrong += [f"refused: {each}" for each in load.refused]
    if strangers > len(load.unknown):
        wrong.append(f"{strangers} are counted that nobody acknowledged, and {len(load.unknown)} are unknown")
    wrong += await asyncio.to_thread(check.holes, where.mongo, where.kafka)
    differs = await run.prove(where, country, client, set(load.ok.values()), Console())
    wrong += ["recount and ranking differ"] if differs else []
    same = "recount differs from ranking" if differs else "recount = ranking"
    print(f"{load.acts} acts of officers, {len(load.unknown)} unknown", flush=True)
    print(f"{len(load.ok)} acknowledged, {len(lost)} lost, {len(doubled)} twice, {same}", flush=True)
    return wrong
