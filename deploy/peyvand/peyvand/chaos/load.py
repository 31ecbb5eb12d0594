"""People who register, screeners who decide, managers who connect, and a history of what each was told."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from peyvand.simulation.client import PlatformClient, Refusal
from peyvand.simulation.people import application, person
from peyvand.simulation.plan import ROUND
from peyvand.simulation.scenario import CONSENT, capacity
from programme.reference import counties, job_fields

FIRST_SERIAL = 100_000
CLIENTS = 4
PATIENCE = 8.0  # seconds for an answer: whatever takes longer is unknown
PACE = 0.15  # seconds between two registrations of one client


class Impatient(PlatformClient):
    """A client that takes no answer for an unknown one soon."""

    async def __aenter__(self) -> "Impatient":
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE))
        return self


class Load:
    """All who ask; `ok` are acknowledged applications by key, `unknown` the keys nobody answered for.

    `acts` are what officers were told is done: the subject, and what their service then tells of it.
    """

    def __init__(self, country: PlatformClient, provinces: list[str], seed: int, history: Path) -> None:
        self.country, self.provinces, self.seed = country, provinces, seed
        self.ok: dict[str, str] = {}
        self.unknown: dict[str, tuple[str, dict[str, Any]]] = {}
        self.refused: list[str] = []
        self.acts = set[tuple[str, str]]()
        self.serial = 0
        self.history = history.open("w")

    def _note(self, what: str, key: str, more: str = "") -> None:
        self.history.write(json.dumps([what, key, more]) + "\n")

    async def blow(self, over: asyncio.Event) -> None:
        """Goes on until it is over; what was under way ends by itself."""
        await asyncio.gather(*(self._clients(n, over) for n in range(CLIENTS)), self._officers(over))

    async def _clients(self, number: int, over: asyncio.Event) -> None:
        chance, fields = Random(f"{self.seed}/{number}"), list(job_fields().values())
        while not over.is_set():
            self.serial += 1
            province = chance.choice(self.provinces)
            places = [c for c in counties().values() if c.province == province]
            row = person(FIRST_SERIAL + self.serial, chance, places, fields, CONSENT)
            await self._apply(
                f"storm-{self.seed}-{self.serial:07d}",
                province,
                application(row),
            )
            await asyncio.sleep(PACE)

    async def _apply(self, key: str, province: str, body: dict[str, Any]) -> None:
        path = f"/registration/v1/rounds/{ROUND}/applications"
        self._note("invoke", key)
        self.unknown[key] = (province, body)  # until somebody says otherwise
        try:
            made = await self.country.ask("POST", path, "registrar", province, json=body, key=key)
        except Refusal as no:
            if no.status < 500 and no.status != 429:
                del self.unknown[key]
                self.refused.append(f"{key}: {no}")
                self._note("fail", key, str(no))
                return
            self._note("unknown", key, str(no))
        except (aiohttp.ClientError, TimeoutError, ValueError) as e:
            self._note("unknown", key, repr(e))
        else:
            del self.unknown[key]
            self.ok[key] = made["id"]
            self._note("ok", key, made["id"])

    async def ask_again(self) -> None:
        """Once more, under the same keys, for those that nobody answered for."""
        for key, (province, body) in list(self.unknown.items()):
            await self._apply(key, province, body)
        self.history.close()

    async def _officers(self, over: asyncio.Event) -> None:
        chance = Random(f"{self.seed}/officers")
        while not over.is_set():
            province = chance.choice(self.provinces)
            with suppress(Refusal, aiohttp.ClientError, TimeoutError, ValueError):  # they look again in a moment
                await chance.choice((self._decide, self._identify, self._connect))(province, chance)
            await asyncio.sleep(PACE)

    async def _act(self, what: str, who: str, path: str, role: str, province: str, body: dict[str, Any]) -> None:
        """One list of an officer; what was acknowledged is kept."""
        done = await self.country.ask("POST", path, role, province, json=body)
        for each in done["items"]:
            if not each.get("code"):
                self.acts.add((each[who], what))
                self._note("act", each[who], what)

    async def _decide(self, province: str, chance: Random) -> None:
        path = f"/screening/v1/cases?province={province}&state=open&limit=20"
        cases = (await self.country.ask("GET", path, "screener", province))["items"]
        decisions = [{"id": c["id"], "outcome": "approved", "reasons": ["meets_conditions"]} for c in cases]
        if decisions:
            path, body = "/screening/v1/cases/decisions", {"decisions": decisions}
            await self._act("case.decided", "id", path, "screener", province, body)

    async def _identify(self, province: str, chance: Random) -> None:
        path = f"/screening/v1/cases?province={province}&state=awaiting_capacity&limit=20"
        cases = (await self.country.ask("GET", path, "screener", province))["items"]
        if cases:
            path, body = (
                "/screening/v1/applicants/capacities",
                {"capacities": [capacity(c["id"], chance) for c in cases]},
            )
            await self._act("capacity.identified", "id", path, "screener", province, body)

    async def _connect(self, province: str, chance: Random) -> None:
        path = f"/market/v1/producers?province={province}&state=ready&limit=20"
        ready = (await self.country.ask("GET", path, "manager", province))["items"]
        made = [
            {"producer": p["id"], "channel": "direct", "counterparty_kind": "consumer", "evidence": "E2"} for p in ready
        ]
        if made:
            path = "/market/v1/connections/batch"
            await self._act("producer.connected", "producer", path, "manager", province, {"connections": made})
