"""Reporting's catch-up: one and two real workers against the bare script, in turns."""

from pathlib import Path
from statistics import median

from peyvand.performance_report import Measured, Verdict
from tests.bench.support.log_backlog import Backlog, backlog
from tests.bench.support.meter import Costs, budget, micros, rates, together
from tests.bench.support.readers import BARE, ONE, TWO, reading
from tests.support.tokens import Issuer

AIM, AIM_TWO = 1.2, 100_000.0


async def run(folder: Path, quick: bool) -> Measured:
    """Measure rounds in turns: the script, one worker, two workers; each from the first event to the last."""
    events, rounds = (50_000, 1) if quick else (1_000_000, 3)
    issuer = Issuer(folder)
    rounds_of: dict[str, list[tuple[float, Costs]]] = {BARE: [], ONE: [], TWO: []}
    async with backlog(folder, events) as log:
        for n in range(rounds):
            for reader in rounds_of:
                rounds_of[reader].append(await _read(reader, log, folder, issuer, f"{reader.replace(' ', '_')}_{n}"))
        return _results(rounds_of, log)


async def _read(reader: str, log: Backlog, folder: Path, issuer: Issuer, database: str) -> tuple[float, Costs]:
    """Return events per second, and the costs."""
    async with reading(reader, "reporting", "tallies", log, folder, issuer, database) as (began, meter, database):
        ended = await log.until(lambda: log.read(database), log.events)
        costs = meter.read()
        await _check(reader, log, database)
    return log.events / (ended - began), costs


async def _check(reader: str, log: Backlog, database: str) -> None:
    """Raise RuntimeError unless every applicant is there and every event was counted once."""
    db = log.client[database]
    people = await (db.applicants if reader == BARE else db.records).estimated_document_count()
    counted = log.unique if reader == BARE else sum([d["events"] async for d in db.partition_progress.find({})])
    if (people, counted) != (log.people, log.unique):
        raise RuntimeError(f"{reader}: {people} people and {counted} events, not {log.people} and {log.unique}")


def _results(rounds_of: dict[str, list[tuple[float, Costs]]], log: Backlog) -> Measured:
    rows, processes, medians = [], [], {}
    for reader, each in rounds_of.items():
        costs, speeds = together([c for _, c in each]), [rate for rate, _ in each]
        medians[reader] = median(speeds)
        rows.append(
            [
                reader,
                f"{medians[reader]:,.0f}",
                rates(speeds),
                micros(costs.of("reader") / log.events),
                micros(costs.of("mongod") / log.events),
            ]
        )
        processes += costs.rows(reader, log.events)
    ratios = [one / bare for (bare, _), (one, _) in zip(rounds_of[BARE], rounds_of[ONE], strict=True)]
    return Measured(
        rows=rows,
        processes=processes,
        verdicts=[
            Verdict("events/s, one worker : bare script, median of the rounds", median(ratios), AIM),
            Verdict("events/s, two workers", medians[TWO], AIM_TWO, digits=0),
        ],
        notes=[
            f"{log.events:,} events of {log.mean_bytes:.0f} bytes about {log.people:,} applicants "
            f"({log.events - log.unique:,} repeats). A reader's CPU seconds include its start. After each run every "
            "applicant is there and every event was counted once.",
            f"Two workers: {budget(together([c for _, c in rounds_of[TWO]]), log.events, AIM_TWO, 'an event')}",
        ],
    )
