"""A national round of 24 steps, simulated through the public APIs and recounted at the end."""

import asyncio
import os
import re
import sys
import time
from pathlib import Path

from peyvand.performance_report import Measured
from tests.bench.support.meter import Meter, mebibytes
from tests.bench.support.platform_run import in_groups
from tests.support.system import started

BEGINS = re.compile(r"([\d,]+) registrations, ([\d,]+) seats")
ENDS = re.compile(r"31/31 provinces, ([\d,]+) events, 0 lost, recount = ranking")


async def run(folder: Path, quick: bool) -> Measured:
    """Simulate the round on a platform of its own. Raise RuntimeError if anything is lost or counted wrongly."""
    with started(folder) as system:
        scale = "0.01" if quick else "1"
        command = [sys.executable, "-m", "peyvand", "simulate", "--scale", scale, "--no-trickle"]
        own = {"PEYVAND_HOME": str(system.workspace.installation), "PEYVAND_RUN": str(system.workspace.run)}
        meter = Meter({name: each.identity.pid for name, each in system.state.processes.items()})
        began = time.monotonic()
        simulation = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **own}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output = (await simulation.communicate())[0].decode()
        seconds, costs = time.monotonic() - began, in_groups(meter.read())
    begins, ends = BEGINS.search(output), ENDS.search(output)
    if not begins or not ends or simulation.returncode:
        raise RuntimeError(f"the round was not proved:\n{output[-3000:]}")
    events, memory = int(ends[1].replace(",", "")), mebibytes(sum(costs.memory.values()))
    figures = [f"{seconds / 60:.1f}", f"{events / seconds:,.0f}", f"{costs.of():,.0f}", memory]
    return Measured(
        rows=[[*begins.groups(), ends[1], *figures]],
        processes=costs.rows(f"scale {scale}", events),
        notes=["Nothing was lost, and an independent recount of the log gave the same ranks and figures."],
    )
