"""The whole country as it is measured: started as people start it, registrations at a steady rate, costs counted."""

import asyncio
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
from pymongo import AsyncMongoClient

from peyvand.api_client import sign_in
from peyvand.local_cluster.topology import SERVICES, as_user
from peyvand.local_cluster.workspace import development_secrets
from peyvand.simulation.plan import ROUND
from programme.policies import CURRENT
from programme.reference import job_fields, provinces
from tests.bench.http_load import Answer, People, open_loop
from tests.bench.meter import Costs, Meter, quantile
from tests.support.system import RunningSystem

COUNTED_WITHIN = 20.0  # seconds after the last answer; what is not counted then is told as missing
POST_P99, COUNTED_P99 = 0.100, 0.500  # seconds: what holding a rate means
FACTS = "reporting.records"


class Load(msgspec.Struct):
    """What one load found."""

    per_second: float
    answers: list[Answer]
    counted: list[float]  # seconds from the answer to the commit of reporting's fact
    missing: int
    seconds: float  # from the first registration until all were counted
    costs: Costs

    @property
    def wrong(self) -> int:
        """How many were not answered with 201."""
        return sum(each.status != 201 for each in self.answers)

    def post(self, share: float) -> float:
        """A quantile of the seconds until the answer."""
        return quantile([each.seconds for each in self.answers], share)

    def lag(self, share: float) -> float:
        """A quantile of the seconds from the answer to being counted."""
        return quantile(self.counted, share)

    @property
    def holds(self) -> bool:
        """Whether everything that was asked for at this rate came in time."""
        in_time = self.post(0.99) <= POST_P99 and self.lag(0.99) <= COUNTED_P99
        return in_time and not self.wrong and not self.missing


class Nation:
    """A country that is up, with an open round, and people to register."""

    def __init__(self, system: RunningSystem) -> None:
        self.system, url, self.registered = system, system.url, 0
        self.ports = system.state.ports
        tokens = {code: sign_in(url, "registrar", province=code, sub=f"registrar-{code}") for code in provinces()}
        self.people = People(tokens)
        secrets = development_secrets(system.home, SERVICES)
        self.mongo = as_user(system.state.mongo, "admin", secrets.mongo_admin)

    async def open_round(self) -> None:
        """A round that is open now, for every field, everywhere."""
        now = datetime.now(UTC)
        window = {"opens": (now - timedelta(days=1)).isoformat(), "closes": (now + timedelta(days=100)).isoformat()}
        body = {"fields": sorted(job_fields()), **window, "windows": [], "policy": CURRENT}
        token = await asyncio.to_thread(sign_in, self.system.url, "ministry_admin")
        async with httpx.AsyncClient(base_url=self.system.url, timeout=30) as http:
            path = f"/registration/v1/rounds/{ROUND}"
            (await http.put(path, json=body, headers={"Authorization": f"Bearer {token}"})).raise_for_status()

    async def load(self, per_second: float, seconds: float, *, door: bool = False) -> Load:
        """Registers so many people a second for so long, and waits until each is counted."""
        requests = self.people.requests(round(per_second * seconds))
        meter = Meter(self._pids())
        async with AsyncMongoClient[dict[str, Any]](self.mongo) as client:
            since = (await client.admin.command("hello"))["lastWrite"]["opTime"]["ts"]
            began = time.monotonic()
            answers = await open_loop(self.ports["door" if door else "registration-api"], requests, per_second)
            came = {json.loads(each.body)["id"]: each.came for each in answers if each.status == 201}
            rests = await self._until_counted(client, len(came), time.monotonic() + COUNTED_WITHIN)
            took, costs = rests - began, meter.read()
            at = await _committed(client, since)
        counted = [max(0.0, at[subject] - moment) for subject, moment in came.items() if subject in at]
        return Load(per_second, answers, counted, len(came) - len(counted), took, costs)

    async def _until_counted(self, client: AsyncMongoClient[dict[str, Any]], n: int, over: float) -> float:
        """Until reporting has a fact about everybody; looks seldom, for looking costs what is measured."""
        self.registered += n
        while time.monotonic() < over:
            await asyncio.sleep(0.5)
            if await client.reporting.records.count_documents({"kind": "applicant"}) >= self.registered:
                break
        return time.monotonic()

    def _pids(self) -> Mapping[str, int]:
        return {name: each.who.pid for name, each in self.system.state.processes.items()} | {"load client": os.getpid()}


async def _committed(client: AsyncMongoClient[dict[str, Any]], since: Any) -> dict[str, float]:
    """When reporting's fact about each applicant was committed: the first entry in the database's own log."""
    shown = {"wall": 1, "o.applyOps.op": 1, "o.applyOps.ns": 1, "o.applyOps.o._id": 1}
    query = {"ts": {"$gte": since}, "o.applyOps.ns": FACTS}
    at: dict[str, float] = {}
    options = client.codec_options.with_options(tz_aware=True)
    async for entry in client.local.get_collection("oplog.rs", codec_options=options).find(query, shown):
        for each in entry["o"]["applyOps"]:
            if each["op"] == "i" and each["ns"] == FACTS:
                at.setdefault(each["o"]["_id"], entry["wall"].timestamp())
    return at


@contextmanager
def nation(folder: Path, **environment: str) -> Iterator[Nation]:
    """A country that is up, and gone afterwards."""
    system = RunningSystem(folder / "run", **environment)
    try:
        system.start()
        yield Nation(system)
    finally:
        system.end()


def in_groups(costs: Costs) -> Costs:
    """The four services' processes and the parts, the largest first."""
    order: Sequence[str] = sorted(costs.cpu, key=lambda name: -costs.cpu[name])
    return Costs({name: costs.cpu[name] for name in order}, costs.memory)
