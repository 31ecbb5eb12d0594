"""Response times of other clients while thousands of slow connections are open, in turn, with and without them."""

import asyncio
from pathlib import Path
from statistics import median

from peyvand.performance_report import Measured, Verdict
from tests.bench.support.meter import Costs, Meter, millis, quantile
from tests.bench.support.platform_run import running_platform
from tests.support.slow_attack import attack, response_times

RATE = 100.0  # requests per second of the others
QUANTILES = (0.5, 0.95, 0.99)
AIM = 1.2
PROCESSES = ("gateway", "reporting-api")


async def run(folder: Path, quick: bool) -> Measured:
    """Measure in rounds on one platform: other work on the machine then meets both kinds."""
    connections, rounds, seconds = (300, 2, 4.0) if quick else (5_000, 12, 10.0)
    with running_platform(folder) as platform:
        await platform.open_round()
        ports = platform.ports["gateway"], platform.ports["reporting-api"]
        pids = {name: platform.system.process(name).identity.pid for name in PROCESSES}
        urls = [f"http://127.0.0.1:{port}/v1/nationwide" for port in ports]
        targets = [("127.0.0.1", port) for port in ports]

        async def measure() -> tuple[list[float], Costs]:
            meter = Meter(pids)
            return await response_times(urls, RATE, seconds), meter.read()

        await measure()  # warm up
        before, during = [], []
        for _ in range(rounds):
            before.append(await measure())
            with attack(connections, targets):
                during.append(await measure())
            await asyncio.sleep(10)  # until all streams are ended
    p99 = {id(kind): median(quantile(times, 0.99) for times, _ in kind) for kind in (before, during)}
    pairs = zip(before, during, strict=True)
    return Measured(
        rows=[_row("none", before), _row(f"{connections:,}", during)],
        processes=[
            row
            for name, kind in (("without", before), ("with", during))
            for row in kind[rounds // 2][1].rows(f"{seconds:.0f} s {name}", round(RATE * seconds))
        ],
        verdicts=[
            Verdict("median p99 during the attack over that before it", p99[id(during)] / p99[id(before)], AIM, True)
        ],
        notes=[
            "p99 of each round, before and during: "
            + ", ".join(f"{millis(quantile(b, 0.99))} and {millis(quantile(a, 0.99))}" for (b, _), (a, _) in pairs)
            + "."
        ],
    )


def _row(attackers: str, runs: list[tuple[list[float], Costs]]) -> list[str]:
    return [attackers, *(millis(median(quantile(times, share) for times, _ in runs)) for share in QUANTILES)]
