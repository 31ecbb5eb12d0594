"""Simulate a national round, prove at the end that nothing was lost, and keep sending live events."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from pymongo import AsyncMongoClient, MongoClient
from rich.console import Console

from base.clock import hold_clock, set_clock
from base.kafka_access import KafkaAccess
from peyvand.databases import databases_of
from peyvand.local_cluster.topology import PROJECTION
from peyvand.local_cluster.workspace import replace_file
from peyvand.simulation import plan
from peyvand.simulation.client import PlatformClient
from peyvand.simulation.progress_view import ProgressView
from peyvand.simulation.quiescence import QuiescenceProbe
from peyvand.simulation.scenario import Memory, Round, instant
from peyvand.simulation.trickle import trickle
from peyvand.verify import recount
from peyvand.verify.days_off import recount_calendar
from programme.calendar import jalali_text
from programme.reference import provinces

STALLED_AFTER = 120.0  # seconds without progress after which a step has failed


class Progress(msgspec.Struct, frozen=True):
    """The simulation in the stores of this run folder."""

    seed: int
    scale: float
    only: frozenset[str]  # the provinces that take part; all if empty
    steps: int = 0  # carried out, of len(plan.DAYS)
    seconds: float = 0.0  # that they took
    memory: Memory = msgspec.field(default_factory=Memory)

    @property
    def finished(self) -> bool:
        """Return whether the round was carried out to its end."""
        return self.steps == len(plan.DAYS)


class Target(msgspec.Struct, frozen=True):
    """The platform to simulate on, and the files of the simulation."""

    url: str
    kafka: KafkaAccess
    mongo: str  # may read every service's database
    clock: Path
    progress: Path


class StoreNotEmpty(Exception):
    """The stores hold data that is not simulated; the message has what to do."""


async def simulate(
    target: Target, *, seed: int, scale: float, only: frozenset[str], keep_moving: bool, console: Console
) -> int:
    """Run the round, or verify the finished one; return the exit code. Raise StoreNotEmpty."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(target.mongo, tz_aware=True)
    probe = QuiescenceProbe(client, target.kafka)
    try:
        async with PlatformClient(target.url) as platform:
            progress = await _progress(target, client) or Progress(seed, scale, only)
            if progress.finished:
                console.print(
                    f"The round of seed {progress.seed} at scale {progress.scale:g} is in the stores already."
                )
                now = hold_clock(target.clock)  # during the verification
                await probe.wait(now, STALLED_AFTER)
            else:
                await _carry_out(target, platform, probe, progress, console)
            exit_code = await prove(target, platform, client, progress.memory.acknowledged, console)
            if keep_moving:
                await trickle(target.clock, platform, console)
            return exit_code
    finally:
        await probe.stop()
        await client.close()


async def _progress(target: Target, client: AsyncMongoClient[dict[str, Any]]) -> Progress | None:
    """Return the progress of an earlier simulation. Raise StoreNotEmpty if the stores hold other data."""
    if target.progress.exists():
        return msgspec.json.decode(target.progress.read_bytes(), type=Progress)
    for service, database in (await databases_of(client)).items():
        if await database.records.find_one({}, {"_id": 1}):
            raise StoreNotEmpty(
                f"{service}'s store is not empty and holds no simulation: nothing is simulated into it. "
                "Use another MONGO_URL, or `make clean` for an embedded one."
            )
    return None


async def _carry_out(
    target: Target, platform: PlatformClient, probe: QuiescenceProbe, progress: Progress, console: Console
) -> None:
    """Carry out the steps that are left, the one that was interrupted included."""
    courses = plan.draw(progress.seed, progress.scale, progress.only)
    console.print(
        f"A national round, seed {progress.seed}: Semnan whole, the other provinces at {progress.scale:.3g} of their "
        f"size, {sum(sum(c.registrations) for c in courses.values()):,} registrations, "
        f"{sum(c.quota for c in courses.values()):,} seats, {len(plan.DAYS)} steps over {plan.DAYS[-1]} days"
        + (f"; goes on after {progress.steps} steps" if progress.steps else ""),
        soft_wrap=True,
    )
    memory, began = progress.memory, monotonic() - progress.seconds
    round_ = Round(platform, courses, progress.seed, memory)

    def save(steps: int) -> None:
        now = msgspec.structs.replace(progress, steps=steps, seconds=monotonic() - began)
        replace_file(target.progress, msgspec.json.encode(now))

    with ProgressView(console) as view:
        for step in range(progress.steps, len(plan.DAYS)):
            set_clock(target.clock, instant(step))
            if not memory.listed:
                save(step)
                if step == 0:
                    await round_.open(progress.scale)
                await probe.wait(instant(step), STALLED_AFTER)  # subjects that the jump of the clock made due
                await round_.survey(step)
                save(step)
            await round_.step(step)
            await probe.wait(instant(step), STALLED_AFTER)
            table = await platform.request("GET", "/v1/ranking?table=composite", "")
            events, seconds = table["events"], monotonic() - began
            view.show(
                jalali_text(plan.day_of(step)),
                [_row(each) for each in table["rows"]],
                _totals(table["rows"]),
                f"{events:,} events, {events / seconds:,.0f}/s, {seconds:.0f} s",
            )
            memory.listed = {}
            save(step + 1)


async def prove(
    target: Target,
    platform: PlatformClient,
    client: AsyncMongoClient[dict[str, Any]],
    acknowledged: Collection[str],
    console: Console,
) -> int:
    """Compare acknowledged applications, emitted events and the ranking; print a summary and return the exit code."""
    lost = await _uncounted(client, acknowledged)
    tables = [await _table(platform, name) for name in recount.TABLES]
    differences = await asyncio.to_thread(_differences, target, tables)
    table = await _table(platform, "composite")
    csv = target.progress.with_name("ranking.csv")
    csv.write_text(await platform.text("/v1/ranking.csv?table=composite"), "utf-8")
    ranked = sum(row["rank"] is not None for row in table["rows"])
    for each in differences[:20]:
        console.print(f"[red]differs[/red] {each}")
    console.print(f"written: {csv}")
    same = "recount = ranking" if not differences else f"recount differs from the ranking in {len(differences)} places"
    console.print(f"{ranked}/{len(provinces())} provinces, {table['events']:,} events, {len(lost)} lost, {same}")
    return int(bool(lost or differences))


async def _table(platform: PlatformClient, name: str) -> dict[str, Any]:
    table: dict[str, Any] = await platform.request("GET", f"/v1/ranking?table={name}", "")
    return table


async def _uncounted(client: AsyncMongoClient[dict[str, Any]], acknowledged: Collection[str]) -> list[str]:
    """Return the acknowledged applications that reporting does not have."""
    figures = (await databases_of(client))[PROJECTION]
    counted = {d["_id"] async for d in figures.records.find({"kind": "applicant"}, {"_id": 1})}
    return sorted(set(acknowledged) - counted)


def _differences(target: Target, tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return where the ranking differs from the independent recount: ranks of the four tables, and every figure."""
    client: MongoClient[dict[str, Any]] = MongoClient(target.mongo, tz_aware=True)
    try:
        events = recount.read_events(client)
    finally:
        client.close()
    calendar = recount_calendar()
    today = calendar.day(tables[0]["as_of"])
    counts = recount.count(events, calendar, today, plan.ROUND)
    expected = recount.tables(counts, list(provinces()))
    differences = []
    for name, table in zip(recount.TABLES, tables, strict=True):
        ranks = {row["province"]: row["rank"] for row in table["rows"]}
        for rank, province in expected[name]:
            if ranks.get(province) != rank:
                differences.append(f"table {name}, {province}: ranked {ranks.get(province)}, recounted {rank}")
    for row in tables[0]["rows"]:
        own = counts.get(row["province"], recount.Count())
        for name in FIGURES:
            if row["counts"][name] != getattr(own, FIGURES[name]):
                differences.append(
                    f"{row['province']} {name}: {row['counts'][name]}, recounted {getattr(own, FIGURES[name])}"
                )
    return differences


FIGURES = {
    "quota": "Q",
    "registered": "R",
    "verified": "verified",
    "screened": "S",
    "approved": "A",
    "appealed": "appealed",
    "overturned": "overturned",
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
    "gave_up": "gave_up",
    "gave_up_sustainable": "gave_up_sustainable",
    "withdrawn": "withdrawn",
    "withdrawn_by_officer": "withdrawn_by_officer",
    "officer_acts": "officer_acts",
}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"rank": row["rank"], "province": row["province"], "counts": row["counts"], "index": row.get("index")}


def _totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    names = ("registered", "screened", "admitted", "identified", "connected")
    return {name: sum(row["counts"].get(name, 0) for row in rows) for name in names}
