"""The linger time: the cost of smaller batches against the latency of larger ones."""

from pathlib import Path

from kernel.roles.worker import LINGER
from peyvand.performance_report import Measured, Verdict
from tests.bench.support.meter import millis
from tests.bench.support.platform_run import Load, running_platform

LINGERS = (0.05, 0.1, 0.2)
RATES = (100.0, 300.0)


async def run(folder: Path, quick: bool) -> Measured:
    """Start a platform for each linger time."""
    loads: dict[tuple[float, float], Load] = {}
    for linger in LINGERS[: 2 if quick else 3]:
        with running_platform(folder / f"linger-{linger}", PEYVAND_LINGER=str(linger)) as system:
            await system.open_round()
            await system.load(50, 1.0 if quick else 4.0)  # warm up
            for rate in RATES:
                loads[linger, rate] = await system.load(rate, 2.5 if quick else 10.0)
    chosen = {rate: loads[LINGER, rate] for rate in RATES}
    return Measured(
        rows=[_row(linger, load) for (linger, _), load in loads.items()],
        processes=[
            row
            for (linger, rate), load in loads.items()
            for row in load.costs.rows(f"{linger:g} s, {rate:.0f}/s", len(load.responses))
            if row[1].endswith("worker") or row[1] in ("mongod", "kafka")
        ],
        verdicts=[
            Verdict(f"201 to counted p99 at 300/s with {LINGER:g} s", chosen[300].lag(0.99) * 1e3, 500, True, 0, " ms"),
            Verdict(
                f"CPU seconds a second at 100/s, {LINGER:g} s : {LINGERS[0]:g} s",
                _busy(chosen[100]) / _busy(loads[LINGERS[0], 100.0]),
                1.0,
                at_most=True,
            ),
        ],
        notes=[
            f"`kernel.roles.worker.LINGER` is {LINGER:g} s. A shorter one suits machines with cores to spare and "
            "low latency; a longer one suits a slow journal."
        ],
    )


def _row(linger: float, load: Load) -> list[str]:
    return [
        f"{linger:g} s",
        f"{load.per_second:.0f}",
        f"{_busy(load):.2f}",
        millis(load.post(0.99)),
        millis(load.lag(0.5)),
        millis(load.lag(0.99)) + (f", {load.missing} not counted" if load.missing else ""),
    ]


def _busy(load: Load) -> float:
    """Return the CPU seconds per second of everything but the load client."""
    return sum(seconds for name, seconds in load.costs.cpu.items() if name != "load client") / load.seconds
