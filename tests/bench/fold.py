"""The fold of a rebuild against a raw reader of the same log, in turns."""

from pathlib import Path
from statistics import median

from peyvand.performance_report import Measured, Verdict
from tests.bench.support.folding import in_process
from tests.bench.support.log_backlog import backlog
from tests.bench.support.meter import Costs, micros, rates, together

READERS = {"raw": "raw aiokafka and msgspec", "fold": "decode, consume, contributions"}


async def run(folder: Path, quick: bool) -> Measured:
    """Measure rounds in turns, each reader in a process of its own."""
    events, rounds = (50_000, 3) if quick else (300_000, 3)
    rounds_of: dict[str, list[dict[str, float]]] = {name: [] for name in READERS}
    async with backlog(folder, events) as log:
        for _ in range(rounds):
            for name, each in rounds_of.items():
                each.append(await in_process(name, log.servers.kafka))
                if each[-1]["events"] != log.events:
                    raise RuntimeError(f"{name} read {each[-1]['events']} of {log.events}")
    rows, processes = [], []
    for name, each in rounds_of.items():
        speeds = [r["events"] / r["seconds"] for r in each]
        costs = together([Costs({"reader": r["cpu"]}, {"reader": round(r["memory"])}) for r in each])
        per_event = micros(costs.cpu["reader"] / log.events)
        rows.append([READERS[name], f"{median(speeds):,.0f}", rates(speeds), per_event, f"{log.events:,}"])
        processes += costs.rows(READERS[name], log.events)
    wall = median(r["seconds"] / f["seconds"] for r, f in zip(rounds_of["raw"], rounds_of["fold"], strict=True))
    cpu = median(r["cpu"] / f["cpu"] for r, f in zip(rounds_of["raw"], rounds_of["fold"], strict=True))
    return Measured(
        rows=rows,
        processes=processes,
        verdicts=[
            Verdict("events/s, fold : raw, median of the rounds", wall, 0.5),
            Verdict("the same by CPU seconds, which a busy machine changes less", cpu, 0.5),
        ],
        notes=[
            f"Events of {log.mean_bytes:.0f} bytes about {log.people:,} applicants, thoroughly mixed.",
            f"CPU of the fold per event: {_stages(rounds_of['fold'])}. The aim allows "
            f"{micros(2 * median(each['cpu'] / each['events'] for each in rounds_of['raw']))} for all of it.",
        ],
    )


def _stages(each: list[dict[str, float]]) -> str:
    names = [name for name in each[0] if name not in ("events", "seconds", "cpu", "memory")]
    return ", ".join(f"{name} {micros(median(r[name] / r['events'] for r in each))}" for name in names)
