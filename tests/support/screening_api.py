"""Screening's API over memory."""

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

from contracts.codes import CONDITIONS
from contracts.events import ApplicantRegistered
from screening.service import service
from tests.support.service_api import ServiceApi

START = datetime(2025, 9, 27, 6, tzinfo=UTC)


class ScreeningApi(ServiceApi):
    """Screening over memory: consume events of registration, send requests of screeners."""

    def __init__(self, folder: Path, store: Any = None) -> None:
        """Run over memory, or over another store."""
        super().__init__(service, folder, START, "registration", "screener", store)

    async def register(self, n: int, province: str = "IR-20", **options: str) -> str:
        """Consume the registration of applicant `n`; return the subject."""
        person: dict[str, Any] = {
            "sex": "female",
            "age_band": "25-34",
            "work_mode": "independent",
            "intake_channel": "desk",
        }
        return await self.consume(n, ApplicantRegistered(**person), province, **options)

    async def rejected(self, n: int) -> str:
        """Register applicant `n` and reject their application as of-7; return the case."""
        case = await self.register(n)
        body = {"outcome": "rejected", "reasons": ["insured"]}
        answer = await self.request("POST", f"/v1/cases/{case}/decision", id="of-7", json=body)
        answer.raise_for_status()
        return case

    async def approved_and_drawn(self, n: int) -> str:
        """Register and approve applicant `n` as of-7 at a moment at which the decision is drawn for a second look."""
        case, body = await self.register(n), {"outcome": "approved", "checklist": dict.fromkeys(CONDITIONS, True)}
        while not drawn(case, self.now):
            self.now += timedelta(seconds=1)
        (await self.request("POST", f"/v1/cases/{case}/decision", id="of-7", json=body)).raise_for_status()
        return case


def drawn(case: str, at: datetime) -> bool:
    """Return whether an approval at a moment is drawn for a second look: five of a hundred, by its event alone."""
    digest = blake2b(f"{case}/1/{at.isoformat()}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % 100 < 5
