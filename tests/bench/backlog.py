"""Reporting's catch-up: the real worker, one and two of them, beside the bare script, in turns."""

from pathlib import Path
from statistics import median

from peyvand.performance_report import Measured, Verdict
from tests.bench.log_backlog import Backlog, backlog
from tests.bench.meter import Costs, budget, micros, rates, together
from tests.bench.readers import BARE, ONE, TWO, reading
from tests.support.tokens import Issuer

AIM, AIM_TWO = 1.2, 100_000.0


async def run(folder: Path, quick: bool) -> Measured:
    """Rounds in turns: the script, one worker, two workers; each from the first event to the last."""
    events, rounds = (50_000, 1) if quick else (1_000_000, 3)
    issuer = Issuer(folder)
    found: dict[str, list[tuple[float, Costs]]] = {BARE: [], ONE: [], TWO: []}
    async with backlog(folder, events) as log:
        for n in range(rounds):
            for what in found:
                found[what].append(await _read(what, log, folder, issuer, f"{what.replace(' ', '_')}_{n}"))
        return _told(found, log)


async def _read(what: str, log: Backlog, folder: Path, issuer: Issuer, database: str) -> tuple[float, Costs]:
    """Events a second, and what it cost."""
    async with reading(what, "reporting", "tallies", log, folder, issuer, database) as (began, meter):
        ended = await log.until(lambda: log.read(database), log.events)
        costs = meter.read()
        await _check(what, log, database)
    return log.events / (ended - began), costs


async def _check(what: str, log: Backlog, database: str) -> None:
    """Everybody is there, and every event was counted once."""
    there = log.client[database]
    people = await (there.applicants if what == BARE else there.records).estimated_document_count()
    told = log.unique if what == BARE else sum([d["events"] async for d in there.marks.find({})])
    if (people, told) != (log.people, log.unique):
        raise RuntimeError(f"{what}: {people} people and {told} events, not {log.people} and {log.unique}")


def _told(found: dict[str, list[tuple[float, Costs]]], log: Backlog) -> Measured:
    rows, processes, middle = [], [], {}
    for what, each in found.items():
        costs, speeds = together([c for _, c in each]), [rate for rate, _ in each]
        middle[what] = median(speeds)
        rows.append(
            [
                what,
                f"{middle[what]:,.0f}",
                rates(speeds),
                micros(costs.of("reader") / log.events),
                micros(costs.of("mongod") / log.events),
            ]
        )
        processes += costs.rows(what, log.events)
    ratios = [one / bare for (bare, _), (one, _) in zip(found[BARE], found[ONE], strict=True)]
    return Measured(
        rows=rows,
        processes=processes,
        verdicts=[
            Verdict("events/s, one worker : bare script, median of the rounds", median(ratios), AIM),
            Verdict("events/s, two workers", middle[TWO], AIM_TWO, digits=0),
        ],
        notes=[
            f"{log.events:,} events of {log.bytes_each:.0f} bytes about {log.people:,} applicants "
            f"({log.events - log.unique:,} repeats). A reader's CPU seconds hold its start too. After each run every "
            "applicant is there and every event was counted once.",
            f"Two workers: {budget(together([c for _, c in found[TWO]]), log.events, AIM_TWO, 'an event')}",
        ],
    )
