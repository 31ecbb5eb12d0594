"""The whole platform at a steady rate, with and without the gateway; and the highest rate that holds."""

from pathlib import Path

from peyvand.performance_report import Measured, Verdict
from tests.bench.support.meter import budget, micros, millis
from tests.bench.support.platform_run import COUNTED_P99, POST_P99, Load, in_groups, running_platform

RATE = 300.0
STEPS = (75, 110, 150, 190, 225, 300, 375, 450, 525, 600, 700, 800, 900)


async def run(folder: Path, quick: bool) -> Measured:
    """Measure everything on one platform."""
    long, half, step = (5.0, 3.0, 2.5) if quick else (60.0, 20.0, 6.0)
    with running_platform(folder) as system:
        await system.open_round()
        await system.load(50, 2.0 if quick else 5.0)  # warm up
        steps: list[Load] = []
        for rate in STEPS:
            await system.rest()
            steps.append(await system.load(rate, step))
            if not steps[-1].holds:
                break
        await system.rest()
        direct = await system.load(RATE, long)
        await system.rest()
        proxied = await system.load(RATE, half, gateway=True)
    holding = [each for each in steps if each.holds]
    costs = in_groups(direct.costs)
    cpu = sum(seconds for name, seconds in costs.cpu.items() if name != "load client")
    registrations = len(direct.responses)
    return Measured(
        rows=[_row(direct, "bypassed"), _row(proxied, "gateway"), *(_row(each, "bypassed, step") for each in steps)],
        processes=costs.rows(f"{RATE:.0f}/s for {long:.0f} s, bypassed", registrations)
        + in_groups(proxied.costs).rows(f"{RATE:.0f}/s for {half:.0f} s, gateway", len(proxied.responses)),
        verdicts=[
            Verdict("POST p99 at 300/s, gateway bypassed", direct.post(0.99) * 1e3, POST_P99 * 1e3, True, 1, " ms"),
            Verdict("201 to counted p99 at 300/s", direct.lag(0.99) * 1e3, COUNTED_P99 * 1e3, True, 0, " ms"),
            Verdict("the highest rate that holds", max((e.per_second for e in holding), default=0.0), RATE, digits=0),
        ],
        notes=[
            f"A registration costs {micros(cpu / registrations)} of CPU in all processes together, the load client "
            f"apart. Not counted within 20 s: {direct.missing + proxied.missing}.",
            budget(costs, registrations, RATE, "a registration"),
        ],
    )


def _row(load: Load, gateway: str) -> list[str]:
    return [
        f"{load.per_second:.0f}",
        gateway,
        *(millis(load.post(share)) for share in (0.5, 0.95, 0.99)),
        *(millis(load.lag(share)) for share in (0.5, 0.95, 0.99)),
        str(load.failed),
    ]
