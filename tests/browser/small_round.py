"""A small round, told to the country through its public APIs: in three provinces somebody stands at every stage."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from pymongo import AsyncMongoClient

from base.clock import set_clock
from peyvand.commands.applications import COLUMNS
from peyvand.simulation.client import PlatformClient as Client
from peyvand.simulation.people import application, person
from peyvand.simulation.quiescence import Watch
from peyvand.simulation.scenario import CONSENT, capacity
from programme.policies import CURRENT
from programme.reference import counties, job_fields, provinces
from tests.support.system import RunningSystem

ROUND = "1404"
SEMNAN, FARS, YAZD = "IR-20", "IR-07", "IR-21"
WITHOUT_QUOTA = "IR-30"  # nothing has been notified for Alborz: it has no rank
LAST = "IR-16"  # the smallest quota and nobody registered: the last of those with a rank
QUOTAS = {SEMNAN: 12, FARS: 9, YAZD: 4}
FIRST_SERIAL = 700_001  # people of these tests alone
RESTS_WITHIN = 60.0  # seconds
SUSTAINED, TO_DECIDE = timedelta(days=95), timedelta(days=13)
YES = {"outcome": "approved", "reasons": ["meets_conditions"]}
NO = {"outcome": "rejected", "reasons": ["insured"]}


class Round:
    """The round, and who stands where: `codes` are tracking codes by status, `open` the open cases by province."""

    def __init__(self, system: RunningSystem, client: Client, watch: Watch) -> None:
        self.system, self.client, self.watch = system, client, watch
        self.now = datetime.now(UTC)
        self.serial = FIRST_SERIAL
        self.codes: dict[str, str] = {}
        self.known: dict[str, str] = {}  # application -> tracking code
        self.open: dict[str, list[str]] = {}
        self.awaiting: list[str] = []  # of Semnan, whose capacity is to be identified

    async def tell(self) -> None:
        """From the opening to a day on which some cases are late, some due, and some connections lasted 90 days."""
        await self._opens()
        await asyncio.gather(*(self._registers(p, n, 3) for p, n in ((SEMNAN, 22), (FARS, 14), (YAZD, 10))))
        await self.rest()
        decided = await asyncio.gather(*(self._decides(p, n) for p, n in ((SEMNAN, 18), (FARS, 12), (YAZD, 9))))
        await self.rest()
        await self._follow([code for each in decided for code in each])
        await asyncio.gather(*(self._identifies(p, n) for p, n in ((SEMNAN, 9), (FARS, 6), (YAZD, 3))))
        await self.rest()
        await asyncio.gather(*(self._connects(p, n) for p, n in ((SEMNAN, 5), (FARS, 3), (YAZD, 1))))
        await self.rest()
        for later, people in ((SUSTAINED, 4), (TO_DECIDE, 5)):
            self.now += later
            set_clock(self.system.home.clock, self.now)
            await self.rest()
            await asyncio.gather(*(self._registers(p, people, people) for p in (SEMNAN, FARS)))
            await self.rest()
        self.open = {p: await self._cases(p, "open") for p in (SEMNAN, FARS)}
        self.awaiting = await self._cases(SEMNAN, "awaiting_capacity")

    async def rest(self) -> None:
        """Waits until everything that was told is counted."""
        await self.watch.rest(self.now, RESTS_WITHIN)

    async def register(self, province: str) -> dict[str, Any]:
        """One more application, by a registrar of the province."""
        self.serial += 1
        row = self._person(province, self.serial)
        path = f"/registration/v1/rounds/{ROUND}/applications"
        made: dict[str, Any] = await self.client.ask("POST", path, "registrar", province, json=application(row))
        self.known[made["id"]] = made["tracking_code"]
        return made

    async def _opens(self) -> None:
        window = {
            "opens": (self.now - timedelta(hours=1)).isoformat(),
            "closes": (self.now + timedelta(days=365)).isoformat(),
        }
        terms = {"fields": sorted(job_fields()), **window, "policy": CURRENT}
        await self.client.ask("PUT", f"/registration/v1/rounds/{ROUND}", "ministry_admin", json=terms)
        small = {code: 8 + n for n, code in enumerate(sorted(provinces()))} | QUOTAS | {LAST: 3}
        rows = [f"{p},{provinces()[p].name_fa},{quota}\n" for p, quota in small.items() if p != WITHOUT_QUOTA]
        await self.client.ask(
            "POST",
            f"/registration/v1/rounds/{ROUND}/quotas/import",
            "ministry_admin",
            csv="province,name_fa,quota\n" + "".join(rows),
            key="web-quotas",
        )
        for province in QUOTAS:
            lead = {"name": f"پیشران نمونهٔ {provinces()[province].name_fa}", "services": ["sale"], "fields": ["JF001"]}
            await self.client.ask("POST", "/market/v1/leads", "manager", province, json=lead | {"province": province})

    async def _registers(self, province: str, people: int, singly: int) -> None:
        for _ in range(singly):
            made = await self.register(province)
            self.codes["screening"] = made["tracking_code"]  # of somebody who is never decided
        if people == singly:
            return
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS)
        writer.writeheader()
        for _ in range(people - singly):
            self.serial += 1
            writer.writerow(self._person(province, self.serial))
        path = f"/registration/v1/rounds/{ROUND}/applications/import"
        key = f"web-{province}-{self.serial}"
        done = await self.client.ask("POST", path, "registrar", province, csv=table.getvalue(), key=key)
        assert not done["refused"], done["refused"]
        self.known |= {each["id"]: each["tracking_code"] for each in done["applications"]}

    def _person(self, province: str, serial: int) -> dict[str, str]:
        places = [each for each in counties().values() if each.province == province]
        return person(serial, Random(serial), places, list(job_fields().values()), CONSENT)

    async def _decides(self, province: str, people: int) -> Sequence[str]:
        """Two are refused, one withdraws before, some stay open; returns the applications."""
        cases = await self._cases(province, "open")
        gone, *decided = cases[: people + 1]
        path = f"/registration/v1/applications/{gone}/withdrawal"
        await self.client.ask("POST", path, "registrar", province, json={"reason": "own_request"})
        decisions = [{"id": case, **(NO if n < 2 else YES)} for n, case in enumerate(decided)]
        await self._list("/screening/v1/cases/decisions", "decisions", decisions, "screener", province)
        return [f"{province}/{each}" for each in cases[: people + 1]]

    async def _follow(self, applications: Sequence[str]) -> None:
        """Notes one tracking code for every status."""
        for each in applications:
            province, _, application = each.partition("/")
            found = await self.client.ask("GET", f"/registration/v1/applications/{application}", "registrar", province)
            self.codes.setdefault(found["status"], self.known[application])

    async def _identifies(self, province: str, people: int) -> None:
        cases = (await self._cases(province, "awaiting_capacity"))[:people]
        found = [capacity(case, Random(case)) for case in cases]
        await self._list("/screening/v1/applicants/capacities", "capacities", found, "screener", province)
        if province == SEMNAN:
            self.codes["capacity_identified"] = self.known[cases[-1]]

    async def _connects(self, province: str, people: int) -> None:
        """The last one is a claim without the counterparty's word; of two or more, the first ends."""
        path = f"/market/v1/producers?province={province}&state=ready"
        ready = sorted([each["id"] async for each in self.client.pages(path, "manager", province)])[:people]
        wanted = [
            {"producer": each, "channel": "provincial_webshop", "counterparty_kind": "company", "evidence": "E2"}
            for each in ready
        ]
        wanted[-1]["evidence"] = "E2" if people == 1 else "E1"
        made = await self._list("/market/v1/connections/batch", "connections", wanted, "manager", province)
        if people > 3:
            path = f"/market/v1/connections/{made[0]['connection']}/end"
            await self.client.ask("POST", path, "manager", province, json={"reason": "price"})

    async def _cases(self, province: str, state: str) -> list[str]:
        """The cases of this round: the country may have others, of another test."""
        path = f"/screening/v1/cases?province={province}&state={state}"
        found = [each["id"] async for each in self.client.pages(path, "screener", province)]
        return [each for each in found if each in self.known]

    async def _list(self, path: str, name: str, items: Sequence[Any], role: str, province: str) -> list[dict[str, Any]]:
        answer = await self.client.ask("POST", path, role, province, json={name: items})
        wrong = [each for each in answer["items"] if each.get("code")]
        assert not wrong, wrong[:3]
        found: list[dict[str, Any]] = answer["items"]
        return found


@asynccontextmanager
async def told(system: RunningSystem) -> AsyncIterator[Round]:
    """The round in this country, once it has been told and has come to rest."""
    mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(system.state.mongo, tz_aware=True)
    watch = Watch(mongo, system.state.kafka)
    try:
        async with Client(system.url) as client:
            round_ = Round(system, client, watch)
            await round_.tell()
            yield round_
    finally:
        await watch.stop()
        await mongo.close()
