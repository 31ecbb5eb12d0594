"""After the round: a trickle of live events, so that the table keeps moving until somebody stops it."""

import asyncio
from pathlib import Path
from random import Random
from time import monotonic

import aiohttp
from rich.console import Console

from base.clock import file_clock, set_clock
from contracts.codes import CHANNELS, COUNTERPARTY_KINDS
from peyvand.simulation.client import PlatformClient, Refusal
from peyvand.simulation.people import application, person
from peyvand.simulation.plan import ROUND
from peyvand.simulation.scenario import CONSENT, capacity
from programme.reference import counties, job_fields, provinces

PACE = 0.5  # seconds between two acts
AWAY = 5.0  # seconds to wait where the front door does not answer
SPOKEN = 60.0  # seconds between two lines of what is going on
FIRST_SERIAL, SERIALS = 500_000, 499_000  # people of the trickle: apart from the round's own


async def trickle(clock: Path, country: PlatformClient, console: Console) -> None:
    """Registers, screens, identifies and connects, one act at a time, in provinces drawn by chance."""
    set_clock(clock, file_clock(clock)().at, running=True)
    console.print("A trickle of live events goes on. Ctrl-C stops everything.")
    chance, spoken, done = Random(), monotonic(), 0
    while True:
        province = chance.choices(list(provinces()), [8 if code == "IR-20" else 3 for code in provinces()])[0]
        act = chance.choices((_register, _decide, _identify, _connect), (5, 4, 3, 3))[0]
        try:
            done += await act(country, province, chance)
        except Refusal as refusal:  # somebody else was faster, or a service is away for a moment
            if refusal.status not in (404, 409, 422) and refusal.status < 500:
                raise
        except (aiohttp.ClientConnectionError, TimeoutError):
            await asyncio.sleep(AWAY)
        if monotonic() - spoken > SPOKEN:
            spoken = monotonic()
            console.print(f"{done} acts of the trickle so far", highlight=False)
        await asyncio.sleep(chance.uniform(0.5, 1.5) * PACE)


async def _register(country: PlatformClient, province: str, chance: Random) -> int:
    places = [c for c in counties().values() if c.province == province]
    row = person(FIRST_SERIAL + chance.randrange(SERIALS), chance, places, list(job_fields().values()), CONSENT)
    await country.ask(
        "POST",
        f"/registration/v1/rounds/{ROUND}/applications",
        "registrar",
        province,
        json=application(row),
    )
    return 1


async def _decide(country: PlatformClient, province: str, chance: Random) -> int:
    cases = await country.ask(
        "GET", f"/screening/v1/cases?province={province}&state=open&limit=3", "screener", province
    )
    for case in cases["items"][:1]:
        approved = chance.random() < 0.8
        body = {
            "outcome": "approved" if approved else "rejected",
            "reasons": ["meets_conditions" if approved else "insured"],
        }
        await country.ask("POST", f"/screening/v1/cases/{case['id']}/decision", "screener", province, json=body)
    return len(cases["items"][:1])


async def _identify(country: PlatformClient, province: str, chance: Random) -> int:
    path = f"/screening/v1/cases?province={province}&state=awaiting_capacity&limit=3"
    cases = await country.ask("GET", path, "screener", province)
    for case in cases["items"][:1]:
        body = capacity(case["id"], chance)
        path = f"/screening/v1/applicants/{body.pop('id')}/capacity"
        await country.ask("POST", path, "screener", province, json=body)
    return len(cases["items"][:1])


async def _connect(country: PlatformClient, province: str, chance: Random) -> int:
    path = f"/market/v1/producers?province={province}&state=ready&limit=3"
    producers = await country.ask("GET", path, "manager", province)
    for producer in producers["items"][:1]:
        body = {
            "channel": chance.choice(list(CHANNELS)),
            "counterparty_kind": chance.choice(list(COUNTERPARTY_KINDS)),
            "evidence": chance.choice(["E0", "E1", "E2", "E2"]),
        }
        path = f"/market/v1/producers/{producer['id']}/connections"
        await country.ask("POST", path, "manager", province, json=body)
    return len(producers["items"][:1])
