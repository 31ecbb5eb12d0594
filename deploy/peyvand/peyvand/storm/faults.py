"""What goes wrong, drawn from a seed before it begins: which process, how, and how long there is peace afterwards."""

import asyncio
import os
import signal
from contextlib import suppress
from random import Random

import msgspec

from peyvand.country import SERVICES, State, read_state, role_name
from peyvand.home import Home
from peyvand.keeper import answers
from peyvand.processes import alive, listening

PARTS = ("mongod", "kafka")
ACTS = ("kill", "end", "freeze", "freeze long")
FROZEN = {"freeze": 3.0, "freeze long": 14.0}  # seconds; a worker's session ends after 10
RECOVERS = 45.0  # seconds that a process has to be back before the next fault comes all the same


class Fault(msgspec.Struct, frozen=True):
    """One fault of the schedule."""

    process: str
    act: str
    peace: float  # seconds after the recovery


def schedule(seed: int, faults: int, workers: int) -> list[Fault]:
    """The faults of this seed, always the same."""
    chance = Random(f"storm/{seed}")
    roles = [role_name(s, "worker", n) for s in SERVICES for n in range(1, workers + 1)]
    names = [*roles, *(f"{s}-api" for s in SERVICES), *PARTS]
    weights = [2] * len(roles) + [2] * len(SERVICES) + [1] * len(PARTS)
    return [
        Fault(
            chance.choices(names, weights)[0], chance.choices(ACTS, (5, 3, 3, 1))[0], round(chance.uniform(0.7, 1.5), 2)
        )
        for _ in range(faults)
    ]


def state(home: Home) -> State:
    """Who runs now."""
    found = read_state(home)
    assert found is not None
    return found


async def befall(home: Home, fault: Fault) -> str:
    """Lets it happen, waits until the process is back, and says how that went."""
    before = state(home).processes[fault.process]
    if not alive(before.who):
        await _back(home, fault.process)
        before = state(home).processes[fault.process]
    pid, loop = before.who.pid, asyncio.get_running_loop()
    began = loop.time()
    with suppress(ProcessLookupError):
        if fault.act in FROZEN:
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(FROZEN[fault.act])
            finally:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        else:
            os.kill(pid, signal.SIGKILL if fault.act == "kill" else signal.SIGTERM)
            await asyncio.sleep(0.3)
    back = await _back(home, fault.process)
    await asyncio.sleep(fault.peace)
    return f"{'back' if back else 'NOT BACK'} after {loop.time() - began - fault.peace:.1f} s"


async def _back(home: Home, name: str) -> bool:
    over = asyncio.get_running_loop().time() + RECOVERS
    while asyncio.get_running_loop().time() < over:
        each = state(home).processes[name]
        if alive(each.who) and (listening(each.port) if name in PARTS else await answers(each.port, "/readyz")):
            return True
        await asyncio.sleep(0.2)
    return False
