"""Screening's catch-up: each event heard makes one that must leave; beside the bare script, in turns."""

from pathlib import Path
from statistics import median

import msgspec

from contracts.subjects import PARTITIONS
from contracts.topics import topic_of
from peyvand.performance_report import Measured, Verdict
from tests.bench.bare_scripts import ANSWERS
from tests.bench.log_backlog import Backlog, backlog
from tests.bench.meter import Costs, budget, micros, rates, together
from tests.bench.readers import BARE, ONE, TWO, reading
from tests.support.tokens import Issuer

AIM = 20_000.0


class _Round(msgspec.Struct):
    heard: float  # events a second
    relayed: float
    costs: Costs


async def run(folder: Path, quick: bool) -> Measured:
    """Rounds in turns."""
    events, rounds = (10_000, 2) if quick else (100_000, 3)
    issuer = Issuer(folder)
    found: dict[str, list[_Round]] = {BARE: [], ONE: [], TWO: []}
    async with backlog(folder, events, only="registration") as log:
        for n in range(rounds):
            for what in found:
                found[what].append(await _answer(what, log, folder, issuer, f"{what.replace(' ', '_')}_{n}"))
        return _told(found, log)


async def _answer(what: str, log: Backlog, folder: Path, issuer: Issuer, database: str) -> _Round:
    topic = ANSWERS if what == BARE else topic_of("screening")
    before = await log.ends(topic)
    async with reading(what, "screening", "answers", log, folder, issuer, database) as (began, meter):
        heard = await log.until(lambda: log.read(database), log.events)
        wanted = log.events if what == BARE else log.unique  # the script answers repeats again
        relayed = await log.until(lambda: log.ends(topic), before + wanted)
        costs = meter.read()
        if what != BARE:
            await log.until(lambda: _marked(log, database), 1)
    return _Round(log.events / (heard - began), log.events / (relayed - began), costs)


async def _marked(log: Backlog, database: str) -> int:
    """1 when the records know that everything has left."""
    waiting = {"partition": {"$in": list(range(PARTITIONS))}, "unrelayed_since": {"$exists": True}}
    return int(await log.client[database].records.find_one(waiting, {"_id": 1}) is None)


def _told(found: dict[str, list[_Round]], log: Backlog) -> Measured:
    rows, processes = [], []
    for what, each in found.items():
        costs = together([r.costs for r in each])
        rows.append(
            [
                what,
                f"{median(r.heard for r in each):,.0f}",
                f"{median(r.relayed for r in each):,.0f}",
                rates([r.relayed for r in each]),
                micros(costs.of("reader") / log.events),
                micros(costs.of("mongod") / log.events),
            ]
        )
        processes += costs.rows(what, log.events)
    ratios = [ours.relayed / bare.relayed for bare, ours in zip(found[BARE], found[ONE], strict=True)]
    return Measured(
        rows=rows,
        processes=processes,
        verdicts=[
            Verdict("events/s heard and relayed, two workers", median(r.relayed for r in found[TWO]), AIM, digits=0),
            Verdict("heard and relayed, one worker : bare script, median of the rounds", median(ratios), 1.0),
        ],
        notes=[
            f"{log.events:,} events about {log.people:,} applicants, 1 % of them twice.",
            f"Two workers: {budget(together([r.costs for r in found[TWO]]), log.events, AIM, 'an event')}",
        ],
    )
