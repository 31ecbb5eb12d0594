"""A service's API over ASGI, on records in memory, with an issuer of its own."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from base.clock import Moment
from base.settings import Settings
from contracts.envelope import Context, Envelope, encode
from contracts.events import Event
from kernel.batch import process
from kernel.leases import MemoryLeases
from kernel.record import Message
from kernel.service import Runtime, Service
from kernel.stores.memory import MemoryStore
from run.api import service_app
from tests.support.tokens import Issuer


class ServiceApi:
    """A service over memory: consume events about applicants, send requests of officers."""

    def __init__(
        self, service: Service[Settings], folder: Path, start: datetime, source: str, role: str, store: Any = None
    ) -> None:
        """`source` is the service whose events `consume` takes; `role` the one that `request` has by default."""
        self.now, self.source, self.role, self.prefix = start, source, role, service.prefix
        self.issuer = Issuer(folder)
        self.store = store or MemoryStore(service.name, service.rules, service.unique)
        self.sequences: dict[str, int] = {}
        settings = Settings(
            service=service.name, environment="development", kafka="-", mongo=SecretStr("-"), database="-",
            issuer=self.issuer.name, jwks=self.issuer.jwks,
        )  # fmt: skip
        runtime = Runtime(settings=settings, store=self.store, leases=MemoryLeases(), clock=self.clock)
        self.app = service_app(service, settings, runtime)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://127.0.0.1")

    def clock(self) -> Moment:
        """Return the present moment of the test."""
        return Moment(self.now, datetime.now(UTC))

    async def consume(
        self, n: int, event: Event, province: str = "IR-20", actor: str = "registrar:of-9", county: str = ""
    ) -> str:
        """Consume an event about applicant `n`; return the subject."""
        subject = subject_of(n)
        self.sequences[subject] = self.sequences.get(subject, 0) + 1
        county = county or f"{province[3:]}01"
        context = Context(round="1404", province=province, county=county, field="JF001", policy="1404-1")
        envelope = Envelope(
            source=self.source, subject=subject, sequence=self.sequences[subject], time=self.now,
            event=event, actor=actor, context=context,
        )  # fmt: skip
        await process(self.store, [Message(envelope, encode(envelope))], {}, self.clock)
        return subject

    async def request(self, method: str, path: str, *roles: str, key: str = "", **options: Any) -> httpx.Response:
        """Send a request as an officer of IR-20 unless roles, id, province or lead are given."""
        claims = {"id": options.pop("id", "of-1"), "province": options.pop("province", "IR-20")}
        claims |= {"lead": options.pop("lead")} if "lead" in options else {}
        headers = self.issuer.bearer(*(roles or (self.role,)), **claims)
        headers |= {"Idempotency-Key": key} if key else {}
        return await self.http.request(method, f"{self.prefix}{path}", headers=headers, **options)


def subject_of(n: int) -> str:
    """Return the id of applicant `n`."""
    return f"0199a000-0000-7000-8000-{n:012d}"


def of_another_type(raw: bytes, name: str) -> bytes:
    """Return an event with its type replaced."""
    return json.dumps({**json.loads(raw), "type": name}).encode()
