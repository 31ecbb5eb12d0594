"""A small round, created through the public APIs: in three provinces there are applicants at every stage."""

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
from peyvand.simulation.client import PlatformClient
from peyvand.simulation.people import application, person
from peyvand.simulation.quiescence import QuiescenceProbe
from peyvand.simulation.scenario import CONSENT, capacity
from programme.policies import CURRENT
from programme.reference import counties, job_fields, provinces
from tests.support.system import RunningSystem

ROUND = "1404"
SEMNAN, FARS, YAZD = "IR-20", "IR-07", "IR-21"
WITHOUT_QUOTA = "IR-30"  # Alborz has no quota, so it has no rank
LAST = "IR-16"  # the smallest quota and no applicants: the last of the ranked provinces
QUOTAS = {SEMNAN: 12, FARS: 9, YAZD: 4}
FIRST_SERIAL = 700_001  # of the synthetic people of these tests
STALLED_AFTER = 60.0  # seconds without progress
SUSTAINED_AFTER, OVERDUE_AFTER = timedelta(days=95), timedelta(days=13)
APPROVE = {
    "outcome": "approved",
    "checklist": {"not_insured": True, "resident": True, "complete": True},
}
REJECT = {"outcome": "rejected", "reasons": ["insured"]}


class SmallRound:
    """The round: `codes` are tracking codes by status, `open` the open cases by province."""

    def __init__(self, system: RunningSystem, client: PlatformClient, probe: QuiescenceProbe) -> None:
        self.system, self.client, self.probe = system, client, probe
        self.now = datetime.now(UTC)
        self.serial = FIRST_SERIAL
        self.codes: dict[str, str] = {}
        self.tracking_codes: dict[str, str] = {}  # application -> tracking code
        self.open: dict[str, list[str]] = {}
        self.awaiting: list[str] = []  # cases of Semnan whose capacity is to be identified

    async def complete(self) -> None:
        """Go from the opening to a day on which some cases are overdue and some connections have lasted 90 days."""
        await self._open()
        await asyncio.gather(*(self._register_people(p, n, 3) for p, n in ((SEMNAN, 22), (FARS, 14), (YAZD, 10))))
        await self.wait_until_quiescent()
        decided = await asyncio.gather(*(self._decide(p, n) for p, n in ((SEMNAN, 18), (FARS, 12), (YAZD, 9))))
        await self.wait_until_quiescent()
        await self._remember_codes([code for each in decided for code in each])
        await asyncio.gather(*(self._identify(p, n) for p, n in ((SEMNAN, 9), (FARS, 6), (YAZD, 3))))
        await self.wait_until_quiescent()
        await asyncio.gather(*(self._connect(p, n) for p, n in ((SEMNAN, 5), (FARS, 3), (YAZD, 1))))
        await self.wait_until_quiescent()
        for later, people in ((SUSTAINED_AFTER, 4), (OVERDUE_AFTER, 5)):
            self.now += later
            set_clock(self.system.workspace.clock, self.now)
            await self.wait_until_quiescent()
            await asyncio.gather(*(self._register_people(p, people, people) for p in (SEMNAN, FARS)))
            await self.wait_until_quiescent()
        self.open = {p: await self._cases(p, "open") for p in (SEMNAN, FARS)}
        self.awaiting = await self._cases(SEMNAN, "awaiting_capacity")

    async def wait_until_quiescent(self) -> None:
        """Wait until all events are handled."""
        await self.probe.wait(self.now, STALLED_AFTER)

    async def register(self, province: str) -> dict[str, Any]:
        """Register one more applicant, as a registrar of the province."""
        self.serial += 1
        row = self._person(province, self.serial)
        path = f"/registration/v1/rounds/{ROUND}/applications"
        made: dict[str, Any] = await self.client.request("POST", path, "registrar", province, json=application(row))
        self.tracking_codes[made["id"]] = made["tracking_code"]
        return made

    async def _open(self) -> None:
        window = {
            "opens": (self.now - timedelta(hours=1)).isoformat(),
            "closes": (self.now + timedelta(days=365)).isoformat(),
        }
        terms = {"fields": sorted(job_fields()), **window, "policy": CURRENT}
        await self.client.request("PUT", f"/registration/v1/rounds/{ROUND}", "ministry_admin", json=terms)
        small = {code: 8 + n for n, code in enumerate(sorted(provinces()))} | QUOTAS | {LAST: 3}
        quotas = {province: quota for province, quota in small.items() if province != WITHOUT_QUOTA}
        await self.client.set_quotas(ROUND, quotas, "web-quotas")
        for province in QUOTAS:
            lead = {"name": f"پیشران نمونهٔ {provinces()[province].name_fa}", "services": ["sale"], "fields": ["JF001"]}
            await self.client.request(
                "POST", "/market/v1/leads", "manager", province, json=lead | {"province": province}
            )

    async def _register_people(self, province: str, people: int, singly: int) -> None:
        for _ in range(singly):
            made = await self.register(province)
            self.codes["screening"] = made["tracking_code"]  # of an applicant whose case stays open
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
        done = await self.client.request("POST", path, "registrar", province, csv=table.getvalue(), key=key)
        assert not done["refused"], done["refused"]
        self.tracking_codes |= {each["id"]: each["tracking_code"] for each in done["applications"]}

    def _person(self, province: str, serial: int) -> dict[str, str]:
        own_counties = [each for each in counties().values() if each.province == province]
        return person(serial, Random(serial), own_counties, list(job_fields().values()), CONSENT)

    async def _decide(self, province: str, people: int) -> Sequence[str]:
        """Withdraw one application, reject two, approve the rest; return the applications."""
        cases = await self._cases(province, "open")
        withdrawn, *decided = cases[: people + 1]
        path = f"/registration/v1/applications/{withdrawn}/withdrawal"
        await self.client.request(
            "POST", path, "registrar", province, json={"reason": "own_request", "form_number": f"{province[3:]}-1404-1"}
        )
        decisions = [{"id": case, **(REJECT if n < 2 else APPROVE)} for n, case in enumerate(decided)]
        await self._list("/screening/v1/cases/decisions", "decisions", decisions, "screener", province)
        return [f"{province}/{each}" for each in cases[: people + 1]]

    async def _remember_codes(self, applications: Sequence[str]) -> None:
        """Remember one tracking code for each status."""
        for each in applications:
            province, _, application = each.partition("/")
            found = await self.client.request(
                "GET", f"/registration/v1/applications/{application}", "registrar", province
            )
            self.codes.setdefault(found["status"], self.tracking_codes[application])

    async def _identify(self, province: str, people: int) -> None:
        cases = (await self._cases(province, "awaiting_capacity"))[:people]
        found = [capacity(case, Random(case)) for case in cases]
        await self._list("/screening/v1/applicants/capacities", "capacities", found, "screener", province)
        if province == SEMNAN:
            self.codes["capacity_identified"] = self.tracking_codes[cases[-1]]

    async def _connect(self, province: str, people: int) -> None:
        """Connect producers: of several, one without confirmation by the counterparty; of more than three, end one."""
        path = f"/market/v1/producers?province={province}&state=ready"
        ready = sorted([each["id"] async for each in self.client.items(path, "manager", province)])[:people]
        wanted = [
            {"producer": each, "channel": "provincial_webshop", "counterparty_kind": "company", "evidence": "E2"}
            for each in ready
        ]
        wanted[-1]["evidence"] = "E2" if people == 1 else "E1"
        made = await self._list("/market/v1/connections/batch", "connections", wanted, "manager", province)
        if people > 3:
            path = f"/market/v1/connections/{made[0]['connection']}/end"
            await self.client.request("POST", path, "manager", province, json={"reason": "price"})

    async def _cases(self, province: str, state: str) -> list[str]:
        """Return the cases of this round; the platform may have those of other tests."""
        path = f"/screening/v1/cases?province={province}&state={state}"
        found = [each["id"] async for each in self.client.items(path, "screener", province)]
        return [each for each in found if each in self.tracking_codes]

    async def _list(self, path: str, name: str, items: Sequence[Any], role: str, province: str) -> list[dict[str, Any]]:
        response = await self.client.request("POST", path, role, province, json={name: items})
        refused = [each for each in response["items"] if each.get("code")]
        assert not refused, refused[:3]
        found: list[dict[str, Any]] = response["items"]
        return found


@asynccontextmanager
async def completed_round(system: RunningSystem) -> AsyncIterator[SmallRound]:
    """Create the round on this platform and yield it once all events are handled."""
    mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(system.state.mongo, tz_aware=True)
    probe = QuiescenceProbe(mongo, system.state.kafka)
    try:
        async with PlatformClient(system.url) as client:
            small_round = SmallRound(system, client, probe)
            await small_round.complete()
            yield small_round
    finally:
        await probe.stop()
        await mongo.close()
