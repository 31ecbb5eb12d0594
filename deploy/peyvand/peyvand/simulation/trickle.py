"""After the round: a trickle of live events, so that the ranking keeps changing until the simulation is stopped."""

import asyncio
from pathlib import Path
from random import Random
from time import monotonic

import aiohttp
from rich.console import Console

from base.clock import file_clock, set_clock
from contracts.codes import CHANNELS, COUNTERPARTY_KINDS
from peyvand.simulation.client import PlatformClient, RequestRefused
from peyvand.simulation.people import application, person
from peyvand.simulation.plan import ROUND
from peyvand.simulation.scenario import CONSENT, YES, capacity
from programme.reference import counties, job_fields, provinces

PACE = 0.5  # seconds between two acts
UNREACHABLE_PAUSE = 5.0  # seconds to wait if the gateway does not answer
REPORT_INTERVAL = 60.0  # seconds between two lines of progress
FIRST_SERIAL, SERIALS = 500_000, 499_000  # of the trickle's applicants: apart from those of the round


async def trickle(clock: Path, platform: PlatformClient, console: Console) -> None:
    """Register, screen, identify and connect, one request at a time, in random provinces."""
    set_clock(clock, file_clock(clock)().at, running=True)
    console.print("A trickle of live events goes on. Ctrl-C stops everything.")
    chance, reported, done = Random(), monotonic(), 0
    while True:
        province = chance.choices(list(provinces()), [8 if code == "IR-20" else 3 for code in provinces()])[0]
        act = chance.choices((_register, _decide, _identify, _connect), (5, 4, 3, 3))[0]
        try:
            done += await act(platform, province, chance)
        except RequestRefused as refusal:  # another request was faster, or a service is unavailable for a moment
            if refusal.status not in (404, 409, 422) and refusal.status < 500:
                raise
        except (aiohttp.ClientConnectionError, TimeoutError):
            await asyncio.sleep(UNREACHABLE_PAUSE)
        if monotonic() - reported > REPORT_INTERVAL:
            reported = monotonic()
            console.print(f"{done} live events so far", highlight=False)
        await asyncio.sleep(chance.uniform(0.5, 1.5) * PACE)


async def _register(platform: PlatformClient, province: str, chance: Random) -> int:
    in_province = [c for c in counties().values() if c.province == province]
    row = person(FIRST_SERIAL + chance.randrange(SERIALS), chance, in_province, list(job_fields().values()), CONSENT)
    await platform.request(
        "POST",
        f"/registration/v1/rounds/{ROUND}/applications",
        "registrar",
        province,
        json=application(row),
    )
    return 1


async def _decide(platform: PlatformClient, province: str, chance: Random) -> int:
    """Claim the next case; one in ten does not answer and returns to the queue, the others are called and decided."""
    case = await platform.request("POST", "/screening/v1/cases/next", "screener", province)
    path = f"/screening/v1/cases/{case['id']}"
    answered = chance.random() > 0.1
    body: dict[str, object] = {"outcome": "reached" if answered else "no_answer"}
    await platform.request("POST", f"{path}/calls", "screener", province, json=body)
    if not answered:
        await platform.request("POST", f"{path}/release", "screener", province)
        return 1
    approved = chance.random() < 0.8
    body = {"outcome": "approved", "checklist": YES} if approved else {"outcome": "rejected", "reasons": ["insured"]}
    await platform.request("POST", f"{path}/decision", "screener", province, json=body)
    waiting = await platform.request("GET", "/screening/v1/cases/reviews", "manager", province)
    for drawn in waiting["pending"][:1]:
        look = {"agrees": True} if chance.random() < 0.9 else {"agrees": False, "reasons": ["question_open"]}
        await platform.request("POST", f"/screening/v1/cases/{drawn['id']}/review", "manager", province, json=look)
    return 1


async def _identify(platform: PlatformClient, province: str, chance: Random) -> int:
    path = f"/screening/v1/cases?province={province}&state=awaiting_capacity&limit=3"
    cases = await platform.request("GET", path, "screener", province)
    for case in cases["items"][:1]:
        body = capacity(case["id"], chance)
        path = f"/screening/v1/applicants/{body.pop('id')}/capacity"
        await platform.request("POST", path, "screener", province, json=body)
    return len(cases["items"][:1])


async def _connect(platform: PlatformClient, province: str, chance: Random) -> int:
    path = f"/market/v1/producers?province={province}&state=ready&limit=3"
    producers = await platform.request("GET", path, "manager", province)
    for producer in producers["items"][:1]:
        body = {
            "channel": chance.choice(list(CHANNELS)),
            "counterparty_kind": chance.choice(list(COUNTERPARTY_KINDS)),
            "evidence": chance.choice(["E0", "E1", "E2", "E2"]),
        }
        path = f"/market/v1/producers/{producer['id']}/connections"
        await platform.request("POST", path, "manager", province, json=body)
    return len(producers["items"][:1])
