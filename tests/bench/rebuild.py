"""A rebuild of reporting's projection from a long log, as `peyvand rebuild` does it."""

import asyncio
import os
import sys
import time
from pathlib import Path

import msgspec

from peyvand.performance_report import Measured, Verdict
from peyvand.rebuild.processes import RebuildTarget, Rebuilt
from tests.bench.support.log_backlog import Backlog, backlog
from tests.bench.support.meter import Costs, Meter, cpu_seconds, mebibytes, peak_memory
from tests.support.rebuilding import SCRIPT

AIM, MEMORY = 60.0, 4 << 30  # seconds, bytes
PART = 1_000_000  # events that are mixed with each other: more do not fit into memory
INTERVAL = 0.2  # seconds between two looks at the processes


async def run(folder: Path, quick: bool) -> Measured:
    """Rebuild once. Raise RuntimeError unless every applicant is there and every event was counted once."""
    events, parts = (PART // 10, 1) if quick else (PART, 10)
    async with backlog(folder, events, parts=parts) as log:
        target, servers = RebuildTarget(log.servers.kafka, log.servers.mongo), log.servers.pids
        meter = Meter({"mongod": servers["mongod"], "kafka": servers["kafka"]})
        began = time.monotonic()
        rebuild = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SCRIPT, msgspec.json.encode(target).decode()), stdout=asyncio.subprocess.PIPE
        )
        watch = asyncio.create_task(_watched(rebuild.pid))
        output, _ = await rebuild.communicate()
        seconds, costs = time.monotonic() - began, await watch
        if rebuild.returncode:
            raise RuntimeError("the rebuild failed, see its output above")
        rebuilt = msgspec.json.decode(output, type=Rebuilt)
        servers_costs = meter.read()
        await _check(log, rebuilt)
    memory = sum(costs.memory.values())
    everything = Costs(costs.cpu | servers_costs.cpu, costs.memory | servers_costs.memory)
    return Measured(
        rows=[
            [
                f"{log.events:,}",
                f"{log.people:,}",
                f"{seconds:.0f} s",
                f"{log.events / seconds:,.0f}",
                mebibytes(memory),
            ]
        ],
        processes=everything.rows(f"{os.cpu_count()} processes", log.events),
        verdicts=[
            Verdict("seconds", seconds, AIM * log.events / (10 * PART), True, 0, " s"),
            Verdict("peak memory of all processes", memory / (1 << 30), MEMORY / (1 << 30), True, 1, " GiB"),
        ],
        notes=[
            f"Events of {log.mean_bytes:.0f} bytes. Afterwards every applicant is there and every event was counted "
            "once. The time includes the start of the processes, and that the generation is served."
        ],
    )


async def _watched(pid: int) -> Costs:
    """Return CPU seconds and peak memory of a process and those that it started, once it has ended."""
    cpu, memory = dict[str, float](), dict[str, int]()
    while pids := _family(pid):
        for each in pids:
            name = "command" if each == pid else f"process {each}"
            cpu[name] = max(cpu.get(name, 0), cpu_seconds(each))
            memory[name] = max(memory.get(name, 0), peak_memory(each))
        await asyncio.sleep(INTERVAL)
    names = {name: f"rebuild {n}" for n, name in enumerate(name for name in cpu if memory[name] > 40 << 20)}
    return Costs({new: cpu[old] for old, new in names.items()}, {new: memory[old] for old, new in names.items()})


def _family(pid: int) -> list[int]:
    """Return a process and its descendants; nothing if it has ended."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(each for child in children for each in _family(int(child)))]


async def _check(log: Backlog, rebuilt: Rebuilt) -> None:
    db = log.client[rebuilt.generation]
    people = await db.records.estimated_document_count()
    counted = sum([d["events"] async for d in db.partition_progress.find({})])
    if (people, counted, rebuilt.events) != (log.people, log.unique, log.events):
        raise RuntimeError(f"{people} people and {counted} events of {rebuilt.events}, not {log.people}, {log.unique}")
