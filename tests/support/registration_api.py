"""Registration's API over ASGI, on records in memory, with an issuer of its own."""

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
from registration.api import create
from registration.consumer.identity import DevelopmentRegistry, IdentityChecks
from registration.consumer.seats import Allocator
from registration.settings import KeySettings
from registration.store.audit import MemoryAudit, MongoAudit
from registration.store.memory import MemoryQuestions, memory_store
from registration.store.mongo import MongoQuestions, mongo_store
from registration.store.office import Office
from registration.store.persons import Persons
from registration.store.questions import Questions
from security.encryption import KeyBlocks, Keyring, MemoryKeyBlocks
from tests.support.tokens import Issuer

START = datetime(2025, 9, 27, 6, tzinfo=UTC)
ALL = frozenset(range(32))
ROUND = {
    "fields": ["JF001", "JF002", "JF003"],
    "opens": "2025-09-27T00:00:00Z",
    "closes": "2026-03-01T00:00:00Z",
    "windows": [{"province": "IR-27", "opens": "2025-10-27T00:00:00Z", "closes": "2026-03-01T00:00:00Z"}],
}
PERSON: dict[str, Any] = {
    "national_id": "۹۹۹-۰۰۰۰۰۱-۸",
    "birth_date": "1368/04/14",
    "first_name": "مريم",
    "last_name": "آزمون",
    "sex": "female",
    "mobile": "۰۹۱۲۰۰۰۰۰۱۸",
    "province": "IR-20",
    "county": "2003",
    "field": "JF001",
    "work_mode": "independent",
    "consent": {"version": "1404-1", "given": True},
}
COLUMNS = (*(name for name in PERSON if name != "consent"), "consent_version")


class RegistrationOffice:
    """The service in one process, and somebody at its door."""

    def __init__(self, folder: Path, client: AsyncMongoClient[dict[str, Any]] | None = None, name: str = "") -> None:
        self.issuer = Issuer(folder)
        self.settings = KeySettings(
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
        self.questions: Questions
        self.audit: Any
        if client is None:
            self.store = memory_store()
            self.questions, self.audit = MemoryQuestions(self.store), MemoryAudit()
            self.keys: KeyBlocks = MemoryKeyBlocks(keyring)
        else:
            self.store = mongo_store(client[name])
            self.questions, self.audit = MongoQuestions(self.store), MongoAudit(client[name])
            self.keys = KeyBlocks(client[f"{name}_keys"], keyring)
        self.office = Office(self.store, Persons(self.keys, keyring), self.clock)
        self.allocator = Allocator(self.store, self.questions, self.clock)
        registry = DevelopmentRegistry()
        self.checks = IdentityChecks(self.store, self.questions, self.office.persons, registry, self.clock)
        self.app = create(self.settings, self.office, self.questions, self.audit, ready=self.ready)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url=self.settings.public_url, follow_redirects=False
        )

    def clock(self) -> Moment:
        return Moment(self.now, datetime.now(UTC))

    async def ready(self) -> list[str]:
        return []

    async def work(self) -> None:
        """What the worker does, until nothing is left."""
        self.allocator.looked = -1e9
        while await self.checks(ALL) + await self.allocator(ALL) or self.checks.asking:  # noqa: ASYNC110
            await asyncio.sleep(0.001)  # the registry answers on the side

    async def ask(
        self, method: str, path: str, role: str = "registrar", *, key: str = "", scope: str = "IR-20", **more: Any
    ) -> httpx.Response:
        """One request, by an officer of Semnan where nothing else is said; role "" is nobody."""
        headers: dict[str, str] = dict(more.pop("headers", {}))
        if role:
            claims = (
                {"province": scope[:5], "county": scope[6:]}
                if scope and role not in ("ministry_admin", "service")
                else {}
            )
            headers |= self.issuer.bearer(role, **claims)
        if key:
            headers["Idempotency-Key"] = key
        if "csv" in more:
            more["content"] = more.pop("csv").encode()
            headers["Content-Type"] = "text/csv"
        return await self.client.request(method, f"/registration{path}", headers=headers, **more)

    async def open(self, quota: int = 0) -> None:
        """The round of the tests is open."""
        opened = await self.ask("PUT", "/v1/rounds/1404", "ministry_admin", json=ROUND)
        assert opened.status_code == 200, opened.text
        if quota:
            path = "/v1/rounds/1404/quotas/IR-20"
            assert (await self.ask("PUT", path, "ministry_admin", json={"quota": quota})).status_code == 200

    async def register(self, *, key: str = "", role: str = "registrar", **changes: Any) -> httpx.Response:
        """Somebody is registered, as PERSON with changes."""
        path = "/v1/rounds/1404/applications"
        return await self.ask("POST", path, role, key=key, json=PERSON | changes)

    def later(self, **time: float) -> None:
        self.now += timedelta(**time)


@asynccontextmanager
async def registration_office(folder: Path) -> AsyncIterator[RegistrationOffice]:
    office = RegistrationOffice(folder)
    async with office.client:
        yield office


def a_national_id(serial: int) -> str:
    """The synthetic national ID with this serial number."""
    from programme.numbers import check_digit

    nine = f"999{serial:06d}"
    return nine + check_digit(nine)


def a_file(serials: range, **changes: str) -> str:
    """A file of people with these serial numbers."""
    row = PERSON | {"consent_version": "1404-1"} | changes
    lines = [",".join(COLUMNS)]
    for n in serials:
        told = row | {"national_id": a_national_id(n), "mobile": f"0900{n:07d}"}
        lines.append(",".join(str(told[name]) for name in COLUMNS))
    return "\n".join(lines) + "\n"
