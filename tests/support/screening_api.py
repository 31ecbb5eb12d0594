"""Screening's API over ASGI, on records in memory, with an issuer of its own."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from base.clock import Moment
from base.settings import Settings
from contracts.envelope import Context, Envelope, encode
from contracts.events import ApplicantRegistered, Event
from kernel.batch import process
from kernel.leases import MemoryLeases
from kernel.record import Message
from kernel.service import Runtime
from kernel.stores.memory import MemoryStore
from run.api import create_app
from screening.service import service
from tests.support.tokens import Issuer

START = datetime(2025, 9, 27, 6, tzinfo=UTC)


class ScreeningApi:
    """Screening over memory: consume events of registration, send requests of officers."""

    def __init__(self, folder: Path) -> None:
        self.now, self.issuer = START, Issuer(folder)
        self.store = MemoryStore(service.name, service.rules, service.unique)
        self.sequences: dict[str, int] = {}
        settings = Settings(
            service="screening", environment="development", kafka="-", mongo=SecretStr("-"), database="-",
            issuer=self.issuer.name, jwks=self.issuer.jwks,
        )  # fmt: skip
        runtime = Runtime(settings=settings, store=self.store, leases=MemoryLeases(), clock=self.clock)
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(service, settings, runtime)), base_url="http://127.0.0.1"
        )

    def clock(self) -> Moment:
        """Return the present moment of the test."""
        return Moment(self.now, datetime.now(UTC))

    async def consume(self, n: int, event: Event, province: str = "IR-20", actor: str = "registrar:of-9") -> str:
        """Consume an event of registration about applicant `n`; return the subject."""
        subject = subject_of(n)
        self.sequences[subject] = self.sequences.get(subject, 0) + 1
        context = Context(round="1404", province=province, county=f"{province[3:]}01", field="JF001", policy="1404-1")
        envelope = Envelope(
            source="registration", subject=subject, sequence=self.sequences[subject], time=self.now,
            event=event, actor=actor, context=context,
        )  # fmt: skip
        await process(self.store, [Message(envelope, encode(envelope))], {}, self.clock)
        return subject

    async def register(self, n: int, province: str = "IR-20", **options: str) -> str:
        """Consume the registration of applicant `n`; return the subject."""
        person: dict[str, Any] = {
            "sex": "female",
            "age_band": "25-34",
            "work_mode": "independent",
            "intake_channel": "desk",
        }
        return await self.consume(n, ApplicantRegistered(**person), province, **options)

    async def request(self, method: str, path: str, *roles: str, key: str = "", **options: Any) -> httpx.Response:
        """Send a request as a screener of IR-20 unless roles, id or province are given."""
        claims = {"id": options.pop("id", "of-1"), "province": options.pop("province", "IR-20")}
        headers = self.issuer.bearer(*(roles or ("screener",)), **claims)
        headers |= {"Idempotency-Key": key} if key else {}
        return await self.http.request(method, f"/screening{path}", headers=headers, **options)


def subject_of(n: int) -> str:
    """Return the id of applicant `n`."""
    return f"0199a000-0000-7000-8000-{n:012d}"
