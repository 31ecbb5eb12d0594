"""Load during the faults: registrations, decisions and connections, with a history of every response."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from peyvand.simulation.client import PlatformClient, RequestRefused
from peyvand.simulation.people import application, person
from peyvand.simulation.plan import ROUND
from peyvand.simulation.scenario import CONSENT, YES, capacity
from programme.reference import counties, job_fields

FIRST_SERIAL = 100_000
CLIENTS = 4
TIMEOUT = 8.0  # seconds for a response; the outcome of a slower one is unknown
PACE = 0.15  # seconds between two registrations of one client


class ChaosLoad:
    """All clients. `ok` are acknowledged applications by key, `unknown` the keys without a response.

    `acts` are the acknowledged acts of officers: the subject, and the type of the event that follows.
    """

    def __init__(self, platform: PlatformClient, provinces: list[str], seed: int, history: Path) -> None:
        self.platform, self.provinces, self.seed = platform, provinces, seed
        self.ok: dict[str, str] = {}
        self.unknown: dict[str, tuple[str, dict[str, Any]]] = {}
        self.refused: list[str] = []
        self.acts = set[tuple[str, str]]()
        self.serial = 0
        self.history = history.open("w")

    def _record(self, outcome: str, key: str, detail: str = "") -> None:
        self.history.write(json.dumps([outcome, key, detail]) + "\n")

    async def run(self, over: asyncio.Event) -> None:
        """Send requests until `over` is set; finish those under way."""
        await asyncio.gather(*(self._clients(n, over) for n in range(CLIENTS)), self._officers(over))

    async def _clients(self, number: int, over: asyncio.Event) -> None:
        chance, fields = Random(f"{self.seed}/{number}"), list(job_fields().values())
        while not over.is_set():
            self.serial += 1
            province = chance.choice(self.provinces)
            in_province = [c for c in counties().values() if c.province == province]
            row = person(FIRST_SERIAL + self.serial, chance, in_province, fields, CONSENT)
            await self._apply(
                f"chaos-{self.seed}-{self.serial:07d}",
                province,
                application(row),
            )
            await asyncio.sleep(PACE)

    async def _apply(self, key: str, province: str, body: dict[str, Any]) -> None:
        path = f"/registration/v1/rounds/{ROUND}/applications"
        self._record("invoke", key)
        self.unknown[key] = (province, body)  # until there is a response
        try:
            created = await self.platform.request("POST", path, "registrar", province, json=body, key=key)
        except RequestRefused as e:
            if e.status < 500 and e.status != 429:
                del self.unknown[key]
                self.refused.append(f"{key}: {e}")
                self._record("fail", key, str(e))
                return
            self._record("unknown", key, str(e))
        except (aiohttp.ClientError, TimeoutError, ValueError) as e:
            self._record("unknown", key, repr(e))
        else:
            del self.unknown[key]
            self.ok[key] = created["id"]
            self._record("ok", key, created["id"])

    async def retry_unknown(self) -> None:
        """Send the requests without a response again, under the same keys."""
        for key, (province, body) in list(self.unknown.items()):
            await self._apply(key, province, body)
        self.history.close()

    async def _officers(self, over: asyncio.Event) -> None:
        chance = Random(f"{self.seed}/officers")
        while not over.is_set():
            province = chance.choice(self.provinces)
            with suppress(RequestRefused, aiohttp.ClientError, TimeoutError, ValueError):  # they try again in a moment
                await chance.choice((self._decide, self._identify, self._connect))(province, chance)
            await asyncio.sleep(PACE)

    async def _act(self, event: str, field: str, path: str, role: str, province: str, body: dict[str, Any]) -> None:
        """Send one list of an officer; remember what was acknowledged."""
        response = await self.platform.request("POST", path, role, province, json=body)
        for each in response["items"]:
            if not each.get("code"):
                self.acts.add((each[field], event))
                self._record("act", each[field], event)

    async def _decide(self, province: str, chance: Random) -> None:
        path = f"/screening/v1/cases?province={province}&state=open&limit=20"
        cases = (await self.platform.request("GET", path, "screener", province))["items"]
        decisions = [{"id": c["id"], "outcome": "approved", "checklist": YES} for c in cases]
        if decisions:
            path, body = "/screening/v1/cases/decisions", {"decisions": decisions}
            await self._act("case.decided", "id", path, "screener", province, body)

    async def _identify(self, province: str, chance: Random) -> None:
        path = f"/screening/v1/cases?province={province}&state=awaiting_capacity&limit=20"
        cases = (await self.platform.request("GET", path, "screener", province))["items"]
        if cases:
            path, body = (
                "/screening/v1/applicants/capacities",
                {"capacities": [capacity(c["id"], chance) for c in cases]},
            )
            await self._act("capacity.identified", "id", path, "screener", province, body)

    async def _connect(self, province: str, chance: Random) -> None:
        path = f"/market/v1/producers?province={province}&state=ready&limit=20"
        ready = (await self.platform.request("GET", path, "manager", province))["items"]
        connections = [
            {"producer": p["id"], "channel": "direct", "counterparty_kind": "consumer", "evidence": "E2"} for p in ready
        ]
        if connections:
            path = "/market/v1/connections/batch"
            await self._act("producer.connected", "producer", path, "manager", province, {"connections": connections})
