"""Screening's catch-up: each consumed event causes one that must be published; against the bare script, in turns."""

from pathlib import Path
from statistics import median

import msgspec

from contracts.subjects import PARTITIONS
from contracts.topics import topic_of
from peyvand.performance_report import Measured, Verdict
from tests.bench.support.bare_scripts import RESPONSES
from tests.bench.support.log_backlog import Backlog, backlog
from tests.bench.support.meter import Costs, budget, micros, rates, together
from tests.bench.support.readers import BARE, ONE, TWO, reading
from tests.support.tokens import Issuer

AIM = 20_000.0


class _Round(msgspec.Struct):
    consumed: float  # events a second
    published: float
    costs: Costs


async def run(folder: Path, quick: bool) -> Measured:
    """Measure rounds in turns."""
    events, rounds = (10_000, 2) if quick else (100_000, 3)
    issuer = Issuer(folder)
    rounds_of: dict[str, list[_Round]] = {BARE: [], ONE: [], TWO: []}
    async with backlog(folder, events, only="registration") as log:
        for n in range(rounds):
            for reader in rounds_of:
                rounds_of[reader].append(await _measure(reader, log, folder, issuer, f"{reader.replace(' ', '_')}_{n}"))
        return _results(rounds_of, log)


async def _measure(reader: str, log: Backlog, folder: Path, issuer: Issuer, database: str) -> _Round:
    topic = RESPONSES if reader == BARE else topic_of("screening")
    before = await log.ends(topic)
    async with reading(reader, "screening", "responses", log, folder, issuer, database) as (began, meter, _):
        consumed = await log.until(lambda: log.read(database), log.events)
        wanted = log.events if reader == BARE else log.unique  # the script responds to repeats, too
        published = await log.until(lambda: log.ends(topic), before + wanted)
        costs = meter.read()
        if reader != BARE:
            await log.until(lambda: _all_published(log, database), 1)
    return _Round(log.events / (consumed - began), log.events / (published - began), costs)


async def _all_published(log: Backlog, database: str) -> int:
    """Return 1 when no record has pending events."""
    pending = {"partition": {"$in": list(range(PARTITIONS))}, "pending_since": {"$exists": True}}
    return int(await log.client[database].records.find_one(pending, {"_id": 1}) is None)


def _results(rounds_of: dict[str, list[_Round]], log: Backlog) -> Measured:
    rows, processes = [], []
    for reader, each in rounds_of.items():
        costs = together([r.costs for r in each])
        rows.append(
            [
                reader,
                f"{median(r.consumed for r in each):,.0f}",
                f"{median(r.published for r in each):,.0f}",
                rates([r.published for r in each]),
                micros(costs.of("reader") / log.events),
                micros(costs.of("mongod") / log.events),
            ]
        )
        processes += costs.rows(reader, log.events)
    ratios = [ours.published / bare.published for bare, ours in zip(rounds_of[BARE], rounds_of[ONE], strict=True)]
    return Measured(
        rows=rows,
        processes=processes,
        verdicts=[
            Verdict(
                "events/s consumed and published, two workers",
                median(r.published for r in rounds_of[TWO]),
                AIM,
                digits=0,
            ),
            Verdict("published, one worker : bare script, median of the rounds", median(ratios), 1.0),
        ],
        notes=[
            f"{log.events:,} events about {log.people:,} applicants, 1 % of them twice.",
            f"Two workers: {budget(together([r.costs for r in rounds_of[TWO]]), log.events, AIM, 'an event')}",
        ],
    )
