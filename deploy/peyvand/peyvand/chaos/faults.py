"""What goes wrong, drawn from a seed before it begins: which process or which way, how, and when the next begins."""

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from random import Random

import msgspec

from peyvand.chaos.proxy import Link
from peyvand.local_cluster.process_monitor import answers
from peyvand.local_cluster.processes import alive, listening
from peyvand.local_cluster.topology import SERVICES, State, read_state, role_name
from peyvand.local_cluster.workspace import Home

PARTS = ("mongod", "kafka")
LINKS = ("kafka", "mongod", "door")  # the ways to the parts, and of the people to the country
ACTS = ("kill", "end", "freeze", "freeze long")
FROZEN = {"freeze": 3.0, "freeze long": 14.0}  # seconds; a worker's session ends after 10
HELD = {"hold": 3.0, "hold long": 14.0}
LINK_ACTS = (*HELD, "slow", "reset", "half open")
SLOW, DELAY = 4.0, (0.05, 0.5)  # seconds that a way is slow, and how slow
RECOVERS = 120.0  # seconds that everybody has to be back, though other faults come meanwhile


class Fault(msgspec.Struct, frozen=True):
    """One fault of the schedule: of a process, or of the way to one ("to mongod")."""

    target: str
    act: str
    peace: float  # seconds until the next one may begin, whether or not this one is over
    delay: float = 0.0  # of a slow way

    @property
    def link(self) -> str:
        """The way it befalls, if it does."""
        return self.target.removeprefix("to ") if self.target.startswith("to ") else ""


def schedule(seed: int, faults: int, workers: int) -> list[Fault]:
    """The faults of this seed, always the same: every act on every target, mixed, and so on anew."""
    chance = Random(f"storm/{seed}")
    roles = [role_name(s, "worker", n) for s in SERVICES for n in range(1, workers + 1)]
    names = [*roles, *(f"{s}-api" for s in SERVICES), *PARTS]
    every = [(name, act) for name in names for act in ACTS]
    every += [(f"to {name}", act) for name in LINKS for act in LINK_ACTS]
    found: list[Fault] = []
    while len(found) < faults:
        chance.shuffle(every)
        for target, act in every:
            delay = round(chance.uniform(*DELAY), 2) if act == "slow" else 0.0
            found.append(Fault(target, act, round(chance.uniform(1.0, 3.5), 2), delay))
    return found[:faults]


def state(home: Home) -> State:
    """Who runs now."""
    found = read_state(home)
    assert found is not None
    return found


async def befall(home: Home, links: Mapping[str, Link], fault: Fault) -> str:
    """Lets it happen, and waits until everybody is back; says how that went, or raises NotBack."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    if fault.link:
        link, everybody = links[fault.link], list(state(home).processes)
        if fault.act in HELD:
            await link.hold(HELD[fault.act])
        elif fault.act == "slow":
            await link.slow(SLOW, fault.delay)
        elif fault.act == "reset":
            link.reset()
        else:
            link.forget()
        for name in everybody if fault.link != "door" else ():
            await _back(home, name)
    else:
        await _back(home, fault.target)
        pid = state(home).processes[fault.target].who.pid
        await _strike(pid, fault.act)
        await _back(home, fault.target, than=0 if fault.act in FROZEN else pid)
    return f"back after {loop.time() - began:.1f} s"


class NotBack(Exception):
    """A process that is not ready again in time."""


async def _strike(pid: int, act: str) -> None:
    with suppress(ProcessLookupError):
        if act in FROZEN:
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(FROZEN[act])
            finally:
                os.kill(pid, signal.SIGCONT)
        else:
            os.kill(pid, signal.SIGKILL if act == "kill" else signal.SIGTERM)


async def _back(home: Home, name: str, than: int = 0) -> None:
    """Until it is ready, as another process `than` that one. Raises NotBack."""
    over = asyncio.get_running_loop().time() + RECOVERS
    while True:
        each = state(home).processes[name]
        there = each.who.pid != than and alive(each.who)
        if there and (listening(each.port) if name in PARTS else await answers(each.port, "/readyz")):
            return
        if asyncio.get_running_loop().time() > over:
            raise NotBack(f"{name} is not ready {RECOVERS:.0f} s later")
        await asyncio.sleep(0.2)
