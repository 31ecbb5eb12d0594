"""The whole platform, started as by `make up`: registrations at a steady rate, latencies and costs."""

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
from peyvand.databases import databases_of
from peyvand.local_cluster.topology import SERVICES, as_user
from peyvand.local_cluster.workspace import development_secrets
from peyvand.simulation.plan import ROUND
from programme.policies import CURRENT
from programme.reference import job_fields, provinces
from tests.bench.support.http_load import People, Response, open_loop
from tests.bench.support.meter import Costs, Meter, quantile
from tests.support.system import RunningSystem

COUNTED_WITHIN = 20.0  # seconds after the last answer; what is not counted by then is reported as missing
RESTED_WITHIN = 120.0
POST_P99, COUNTED_P99 = 0.100, 0.500  # seconds; a rate holds while both are kept


class Load(msgspec.Struct):
    """The results of one load."""

    per_second: float
    responses: list[Response]
    counted: list[float]  # seconds from the response to the commit of reporting's fact
    missing: int
    seconds: float  # from the first registration until all were counted
    costs: Costs

    @property
    def failed(self) -> int:
        """Return how many requests were not answered with 201."""
        return sum(each.status != 201 for each in self.responses)

    def post(self, share: float) -> float:
        """Return a quantile of the seconds until the response."""
        return quantile([each.seconds for each in self.responses], share)

    def lag(self, share: float) -> float:
        """Return a quantile of the seconds from the response to the commit of reporting's fact."""
        return quantile(self.counted, share)

    @property
    def holds(self) -> bool:
        """Return whether every registration at this rate was answered and counted in time."""
        in_time = self.post(0.99) <= POST_P99 and self.lag(0.99) <= COUNTED_P99
        return in_time and not self.failed and not self.missing


class Platform:
    """A running platform with people to register."""

    def __init__(self, system: RunningSystem) -> None:
        self.system, self.registered = system, 0
        self.ports = system.state.ports
        self.people = People({})
        secrets = development_secrets(system.workspace, SERVICES)
        self.mongo = as_user(system.state.mongo, "admin", secrets.mongo_admin)

    async def open_round(self) -> None:
        """Open a round now, for every field and province."""
        now = datetime.now(UTC)
        window = {"opens": (now - timedelta(days=1)).isoformat(), "closes": (now + timedelta(days=100)).isoformat()}
        body = {"fields": sorted(job_fields()), **window, "windows": [], "policy": CURRENT}
        token = await asyncio.to_thread(sign_in, self.system.url, "ministry_admin")
        async with httpx.AsyncClient(base_url=self.system.url, timeout=30) as http:
            path = f"/registration/v1/rounds/{ROUND}"
            (await http.put(path, json=body, headers={"Authorization": f"Bearer {token}"})).raise_for_status()

    async def load(self, per_second: float, seconds: float, *, gateway: bool = False) -> Load:
        """Register so many people per second for so long, and wait until each is counted."""
        self.people.tokens = await asyncio.to_thread(self._tokens)  # those of the last load may have expired
        requests = self.people.requests(round(per_second * seconds))
        meter = Meter(self._pids())
        async with AsyncMongoClient[dict[str, Any]](self.mongo) as client:
            since = (await client.admin.command("hello"))["lastWrite"]["opTime"]["ts"]
            began = time.monotonic()
            responses = await open_loop(self.ports["gateway" if gateway else "registration-api"], requests, per_second)
            answered_at = {json.loads(each.body)["id"]: each.received_at for each in responses if each.status == 201}
            counted_at = await self._until_counted(client, len(answered_at), time.monotonic() + COUNTED_WITHIN)
            seconds_taken, costs = counted_at - began, meter.read()
            at = await _committed(client, since)
        counted = [max(0.0, at[subject] - moment) for subject, moment in answered_at.items() if subject in at]
        return Load(per_second, responses, counted, len(answered_at) - len(counted), seconds_taken, costs)

    async def rest(self) -> None:
        """Wait until every service has published what it emitted, and knows everyone who registered."""
        async with AsyncMongoClient[dict[str, Any]](self.mongo) as client:
            databases = await databases_of(client)
            deadline = time.monotonic() + RESTED_WITHIN
            while time.monotonic() < deadline:
                await asyncio.sleep(1)
                records = [databases[name].records for name in SERVICES]
                pending = [await each.count_documents({"pending_since": {"$exists": True}}) for each in records]
                known = [await each.count_documents({"kind": "applicant"}) for each in records]
                if not any(pending) and min(known) >= self.registered:
                    return
        raise RuntimeError(f"the platform does not come to rest: {pending} events pending, {known} applicants known")

    async def _until_counted(self, client: AsyncMongoClient[dict[str, Any]], n: int, deadline: float) -> float:
        """Wait until reporting has a fact about every applicant. Polls rarely: polling costs CPU that is measured."""
        self.registered, figures = self.registered + n, (await databases_of(client))["reporting"]
        while time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            if await figures.records.count_documents({"kind": "applicant"}) >= self.registered:
                break
        return time.monotonic()

    def _tokens(self) -> dict[str, str]:
        url = self.system.url
        return {code: sign_in(url, "registrar", province=code, sub=f"registrar-{code}") for code in provinces()}

    def _pids(self) -> Mapping[str, int]:
        return {name: each.identity.pid for name, each in self.system.state.processes.items()} | {
            "load client": os.getpid()
        }


async def _committed(client: AsyncMongoClient[dict[str, Any]], since: Any) -> dict[str, float]:
    """Return when reporting's fact about each applicant was committed: its first entry in the oplog."""
    projection = {"wall": 1, "o.applyOps.op": 1, "o.applyOps.ns": 1, "o.applyOps.o._id": 1}
    facts = f"{(await databases_of(client))['reporting'].name}.records"
    query = {"ts": {"$gte": since}, "o.applyOps.ns": facts}
    at: dict[str, float] = {}
    options = client.codec_options.with_options(tz_aware=True)
    async for entry in client.local.get_collection("oplog.rs", codec_options=options).find(query, projection):
        for each in entry["o"]["applyOps"]:
            if each["op"] == "i" and each["ns"] == facts:
                at.setdefault(each["o"]["_id"], entry["wall"].timestamp())
    return at


@contextmanager
def running_platform(folder: Path, **environment: str) -> Iterator[Platform]:
    """Start a platform, and end it afterwards."""
    system = RunningSystem(folder / "run", **environment)
    try:
        system.start()
        yield Platform(system)
    finally:
        system.end()


def in_groups(costs: Costs) -> Costs:
    """Order the processes by their CPU seconds, the largest first."""
    order: Sequence[str] = sorted(costs.cpu, key=lambda name: -costs.cpu[name])
    return Costs({name: costs.cpu[name] for name in order}, costs.memory)
