"""Screening's API over memory."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
