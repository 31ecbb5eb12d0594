"""Simulates a national round, proves at the end that nothing was lost, and keeps the country moving."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from pymongo import AsyncMongoClient, MongoClient
from rich.console import Console

from base.clock import hold_clock, set_clock
from peyvand.local_cluster.workspace import write
from peyvand.simulation import plan
from peyvand.simulation.client import PlatformClient
from peyvand.simulation.progress_view import Screen
from peyvand.simulation.quiescence import SERVICES, Watch
from peyvand.simulation.scenario import Round, instant
from peyvand.simulation.trickle import trickle
from peyvand.verify import recount
from programme.calendar import jalali_text
from programme.reference import holidays, provinces

RESTS_WITHIN = 120.0  # seconds for a step to be counted everywhere
SEED, SCALE = 1404, 1 / 25


class Mark(msgspec.Struct, frozen=True):
    """What this run folder's stores hold of a simulation."""

    seed: int
    scale: float
    steps: int  # carried out, of len(plan.DAYS)
    acknowledged: int = 0

    @property
    def finished(self) -> bool:
        """Whether the round was carried out to its end."""
        return self.steps == len(plan.DAYS)


class Where(msgspec.Struct, frozen=True):
    """Where the country is."""

    url: str
    kafka: str
    mongo: str  # may read every service's database
    clock: Path
    mark: Path


class Refusal(Exception):
    """The simulation must not run here; says what to do."""


async def simulate(
    where: Where, *, seed: int, scale: float, only: frozenset[str], keep_moving: bool, console: Console
) -> int:
    """Runs the round, or shows that it has run; returns the exit code of the promise at its end."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(where.mongo, tz_aware=True)
    watch = Watch(client, where.kafka)
    try:
        async with PlatformClient(where.url) as country:
            mark = await _mark(where, client)
            if mark is None:
                acknowledged = await _carry_out(
                    where, country, watch, plan.draw(seed, scale, only), seed, scale, console
                )
                wrong = await prove(where, country, client, acknowledged, console)
            elif mark.finished:
                console.print(f"The round of seed {mark.seed} at scale {mark.scale:g} is in the stores already.")
                stands = hold_clock(where.clock)  # while it is looked at
                await watch.rest(stands, RESTS_WITHIN)
                wrong = await prove(where, country, client, None, console)
            else:
                console.print(
                    f"A round was interrupted at step {mark.steps} of {len(plan.DAYS)}; "
                    "`make clean` and `make run` start anew. The country stays up."
                )
                wrong = 1
            if keep_moving:
                await trickle(where.clock, country, console)
            return wrong
    finally:
        await watch.stop()
        await client.close()


async def _mark(where: Where, client: AsyncMongoClient[dict[str, Any]]) -> Mark | None:
    """What was simulated here. Raises Refusal where the stores hold something else."""
    if where.mark.exists():
        return msgspec.json.decode(where.mark.read_bytes(), type=Mark)
    for service in SERVICES:
        if await client[service].records.find_one({}, {"_id": 1}):
            raise Refusal(
                f"{service}'s store is not empty and not marked as simulated: nothing is simulated into it. "
                "Use another MONGO_URL, or `make clean` for an embedded one."
            )
    return None


async def _carry_out(
    where: Where,
    country: PlatformClient,
    watch: Watch,
    courses: Mapping[str, plan.Course],
    seed: int,
    scale: float,
    console: Console,
) -> set[str]:
    console.print(
        f"A national round, seed {seed}: Semnan whole, the other provinces at {scale:.3g} of their size, "
        f"{sum(sum(c.registrations) for c in courses.values()):,} registrations, "
        f"{sum(c.quota for c in courses.values()):,} seats, {len(plan.DAYS)} steps over {plan.DAYS[-1]} days",
        soft_wrap=True,
    )
    round_, began = Round(country, courses, seed), monotonic()
    with Screen(console) as screen:
        for step in range(len(plan.DAYS)):
            set_clock(where.clock, instant(step))
            write(where.mark, msgspec.json.encode(Mark(seed, scale, step)))
            if step == 0:
                await round_.open()
                await watch.rest(instant(step), RESTS_WITHIN)
            await watch.rest(instant(step), RESTS_WITHIN)  # what the jump of the clock made due
            await round_.step(step)
            await watch.rest(instant(step), RESTS_WITHIN)
            table = await country.ask("GET", "/v1/ranking?table=composite", "")
            events = table["events"]
            screen.show(
                jalali_text(plan.day_of(step)),
                [_row(each) for each in table["rows"]],
                _totals(table["rows"]),
                f"{events:,} events, {events / (monotonic() - began):,.0f}/s, {monotonic() - began:.0f} s",
            )
    write(where.mark, msgspec.json.encode(Mark(seed, scale, len(plan.DAYS), len(round_.acknowledged))))
    return round_.acknowledged


async def prove(
    where: Where,
    country: PlatformClient,
    client: AsyncMongoClient[dict[str, Any]],
    acknowledged: set[str] | None,
    console: Console,
) -> int:
    """Compares what was acknowledged, what the owners emitted and what reporting says; prints the closing line."""
    lost = [] if acknowledged is None else await _uncounted(client, acknowledged)
    differences = await asyncio.to_thread(_differences, where, [await _table(country, t) for t in recount.TABLES])
    table = await _table(country, "composite")
    csv = where.mark.with_name("ranking.csv")
    csv.write_text(await country.text("/v1/ranking.csv?table=composite"), "utf-8")
    ranked = sum(row["rank"] is not None for row in table["rows"])
    for each in differences[:20]:
        console.print(f"[red]differs[/red] {each}")
    console.print(f"written: {csv}")
    same = "recount = ranking" if not differences else f"recount differs from the ranking in {len(differences)} places"
    console.print(f"{ranked}/{len(provinces())} provinces, {table['events']:,} events, {len(lost)} lost, {same}")
    return int(bool(lost or differences))


async def _table(country: PlatformClient, table: str) -> dict[str, Any]:
    found: dict[str, Any] = await country.ask("GET", f"/v1/ranking?table={table}", "")
    return found


async def _uncounted(client: AsyncMongoClient[dict[str, Any]], acknowledged: set[str]) -> list[str]:
    """Applications that were acknowledged and are no fact in reporting."""
    facts = {d["_id"] async for d in client.reporting.records.find({"kind": "applicant"}, {"_id": 1})}
    return sorted(acknowledged - facts)


def _differences(where: Where, said: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where the ranking differs from the independent recount: ranks of the four tables, and every figure."""
    client: MongoClient[dict[str, Any]] = MongoClient(where.mongo, tz_aware=True)
    try:
        told = recount.read_events(client)
    finally:
        client.close()
    calendar = recount.Calendar(each.day for each in holidays())
    today = calendar.day(said[0]["as_of"])
    counts = recount.count(told, calendar, today, plan.ROUND)
    wanted = recount.tables(counts, list(provinces()))
    found = []
    for table, answer in zip(recount.TABLES, said, strict=True):
        ranks = {row["province"]: row["rank"] for row in answer["rows"]}
        for rank, province in wanted[table]:
            if ranks.get(province) != rank:
                found.append(f"table {table}, {province}: ranked {ranks.get(province)}, recounted {rank}")
    for row in said[0]["rows"]:
        own = counts.get(row["province"], recount.Count())
        for name in FIGURES:
            if row["counts"][name] != getattr(own, FIGURES[name]):
                found.append(
                    f"{row['province']} {name}: {row['counts'][name]}, recounted {getattr(own, FIGURES[name])}"
                )
    return found


FIGURES = {
    "quota": "Q",
    "registered": "R",
    "verified": "verified",
    "screened": "S",
    "screened_in_time": "in_time",
    "screening_due": "due",
    "admitted": "Ad",
    "identified": "C",
    "identified_in_time": "identified_in_time",
    "capacity_due": "identified_due",
    "connected": "M",
    "sustained": "U",
    "sustainable": "sustainable",
    "claims": "claims",
    "claims_confirmed": "confirmed",
}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"rank": row["rank"], "province": row["province"], "counts": row["counts"], "index": row.get("index")}


def _totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    names = ("registered", "screened", "admitted", "identified", "connected")
    return {name: sum(row["counts"].get(name, 0) for row in rows) for name in names}
