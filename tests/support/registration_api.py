"""Registration over ASGI: its API, pages and jobs in one process, over memory or MongoDB."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from pymongo import AsyncMongoClient

from base.clock import Moment
from contracts.envelope import Context
from kernel.leases import MemoryLeases
from kernel.query import EXISTS, Query
from kernel.record import Record
from kernel.service import Runtime
from kernel.stores.memory import MemoryStore
from programme.calendar import tehran_day
from programme.numbers import check_digit
from programme.policies import CURRENT, policy
from registration.domain.application import COLUMNS, FIELDS, accept
from registration.erasures import Erasures
from registration.import_runs import Documents, ImportRuns, MemoryDocuments, MongoDocuments
from registration.jobs.identity_checks import DevelopmentRegistry, IdentityChecks
from registration.jobs.imports import Imports
from registration.jobs.seat_allocation import Allocator
from registration.persons import Persons
from registration.registrations import RegistrationService, Resources
from registration.service import service
from registration.settings import RegistrationSettings
from registration.tracking_codes import TrackingCodes
from run.api import service_app
from security.audit import MemoryAudit, MongoAudit
from security.encryption import KeyBlocks, Keyring, MemoryKeyBlocks
from tests.support.tokens import Issuer

START = datetime(2025, 9, 27, 6, tzinfo=UTC)
SECOND = "of-07aa"  # the person at the ministry who signs
ALL_PARTITIONS = frozenset(range(32))
ERASURE = {"reason": "request", "form_number": "20-1404-9"}
ROUND = {
    "fields": ["JF001", "JF002", "JF003"],
    "opens": "2025-09-27T00:00:00Z",
    "closes": "2026-03-01T00:00:00Z",
    "windows": [{"province": "IR-27", "opens": "2025-10-27T00:00:00Z", "closes": "2026-03-01T00:00:00Z"}],
}
EXAMPLE = {each.name: each.example for each in FIELDS}
PROFILE = accept(EXAMPLE, tehran_day(START), policy(CURRENT), Context()).profile
# An application as people type it: Persian digits, separators, a Jalali date, the Arabic letter yeh.
PERSON: dict[str, Any] = EXAMPLE | {
    "national_id": "۹۹۹-۰۰۰۰۰۱-۸",
    "birth_date": "1368/04/14",
    "first_name": "مريم",
    "mobile": "۰۹۱۲۰۰۰۰۰۱۸",
    "consent": {"version": "1404-1", "given": True},
}


class RegistrationApi:
    """Registration in this process, and the requests of officers and applicants."""

    def __init__(self, folder: Path, client: AsyncMongoClient[dict[str, Any]] | None = None, name: str = "") -> None:
        """Run over memory, or over the database `name` of a client."""
        self.issuer = Issuer(folder)
        self.settings = RegistrationSettings(
            service="registration",
            environment="development",
            kafka="none:0",
            mongo=SecretStr("mongodb://none"),
            database="registration",
            issuer=self.issuer.name,
            jwks=self.issuer.jwks,
        )
        keyring = Keyring.of(self.settings)
        self.now = START
        self.store: Any
        self.audit: Any
        if client is None:
            self.store = MemoryStore(service.name, service.rules, service.unique)
            self.audit = MemoryAudit()
            self.keys: KeyBlocks = MemoryKeyBlocks(keyring)
            documents: Documents = MemoryDocuments()
        else:
            self.store = service.mongo_store(client[name])
            self.audit = MongoAudit(client[name])
            self.keys = KeyBlocks(client[f"{name}_keys"], keyring)
            documents = MongoDocuments(client[name])
        self.persons = Persons(self.keys, keyring)
        self.registrations = RegistrationService(self.store, self.persons, TrackingCodes.of(self.settings), self.clock)
        self.allocator = Allocator(self.store, self.clock)
        self.erasures = Erasures(self.store, self.keys, self.clock)
        self.checks = IdentityChecks(self.store, self.persons, DevelopmentRegistry(), self.clock)
        self.import_runs = ImportRuns(documents, keyring)
        self.imports = Imports(self.import_runs, self.registrations, self.clock)
        runtime = Runtime(
            settings=self.settings,
            store=self.store,
            leases=MemoryLeases(),
            clock=self.clock,
            resources=Resources(
                registrations=self.registrations,
                persons=self.persons,
                erasures=self.erasures,
                audit=self.audit,
                imports=self.import_runs,
            ),
        )
        self.app = service_app(service, self.settings, runtime)
        self.app.state.buckets.now = lambda: 0.0  # or a slow machine would be granted more requests
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url=self.settings.public_url, follow_redirects=False
        )

    def clock(self) -> Moment:
        return Moment(self.now, datetime.now(UTC))

    def advance(self, **time: float) -> None:
        """Advance the programme clock."""
        self.now += timedelta(**time)

    async def applicants(self) -> list[Record]:
        """Return every applicant."""
        found: list[Record] = await self.store.find(Query("applicant", {"status": EXISTS}))
        return found

    async def run_jobs(self) -> None:
        """Run the jobs of the worker until nothing is left to do."""
        self.allocator.promotions_at = self.erasures.queried_at = -1e9
        await self.erasures(ALL_PARTITIONS)
        while await self.checks(ALL_PARTITIONS) + await self.allocator(ALL_PARTITIONS) or self.checks.request:  # noqa: ASYNC110
            await asyncio.sleep(0.001)  # the request to the registry runs as a task of its own

    async def request(
        self, method: str, path: str, role: str = "registrar", *, key: str = "", scope: str = "IR-20", **options: Any
    ) -> httpx.Response:
        """Send a request of an officer of Semnan or of another scope; without a token if the role is empty."""
        headers: dict[str, str] = dict(options.pop("headers", {}))
        if role:
            claims = (
                {"province": scope[:5], "county": scope[6:]}
                if scope and role not in ("ministry_admin", "service")
                else {}
            )
            claims |= {"id": options.pop("id")} if "id" in options else {}
            headers |= self.issuer.bearer(role, **claims)
        if key:
            headers["Idempotency-Key"] = key
        if "csv" in options:
            options["content"] = options.pop("csv").encode()
            headers["Content-Type"] = "text/csv"
        return await self.client.request(method, f"/registration{path}", headers=headers, **options)

    async def open_round(self, quota: int = 0) -> None:
        """Open ROUND, with a quota for Semnan."""
        opened = await self.request("PUT", "/v1/rounds/1404", "ministry_admin", json=ROUND)
        assert opened.status_code == 200, opened.text
        if quota:
            await self.set_quota(quota)

    async def set_quota(self, quota: int, province: str = "IR-20") -> None:
        """Set a quota by two persons of the ministry, unless it is this one already."""
        path, subject = "/v1/rounds/1404/proposals", f"ledger:1404/{province}"
        if (await self.store.read([subject]))[subject].state.quota == quota:
            return
        body = {"quotas": [{"province": province, "quota": quota}], "reason": "notification"}
        made = await self.request("POST", f"{path}/quotas", "ministry_admin", json=body)
        assert made.status_code == 201, made.text
        await self.sign(made.json())

    async def sign(self, made: dict[str, Any]) -> None:
        """Sign a proposal as the second person of the ministry."""
        path, body = f"/v1/rounds/1404/proposals/{made['id']}/signature", {"control": made["control"]}
        signed = await self.request("POST", path, "ministry_admin", id=SECOND, json=body)
        assert signed.status_code == 200, signed.text

    async def register(self, *, key: str = "", role: str = "registrar", **changes: Any) -> httpx.Response:
        """Register PERSON with changes."""
        path = "/v1/rounds/1404/applications"
        return await self.request("POST", path, role, key=key, json=PERSON | changes)


@asynccontextmanager
async def registration_api(folder: Path) -> AsyncIterator[RegistrationApi]:
    """Run registration over memory."""
    registration = RegistrationApi(folder)
    async with registration.client:
        yield registration


def a_national_id(serial: int) -> str:
    """Return the synthetic national ID with this serial number."""
    nine = f"999{serial:06d}"
    return nine + check_digit(nine)


def csv_file(serials: range, **changes: str) -> str:
    """Return a file of people with these serial numbers."""
    lines = [",".join(COLUMNS)]
    for serial in serials:
        own = {"national_id": a_national_id(serial), "mobile": f"0900{serial:07d}", "consent": "1404-1"}
        row = PERSON | own | changes
        lines.append(",".join(row[field] for field in COLUMNS.values()))
    return "\n".join(lines) + "\n"
