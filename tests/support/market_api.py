"""Market's API over memory."""

from datetime import UTC, datetime
from pathlib import Path

from contracts.events import CapacityIdentified
from market.service import service
from tests.support.service_api import ServiceApi

START = datetime(2025, 11, 1, 6, tzinfo=UTC)


class MarketApi(ServiceApi):
    """Market over memory: consume events of screening, send requests of managers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(service, folder, START, "screening", "manager")

    async def ready(self, n: int, province: str = "IR-20", county: str = "") -> str:
        """Consume the capacity of applicant `n`; return the producer."""
        event = CapacityIdentified(
            product_group="handicrafts", unit="piece", monthly_band="10-49", skill_level="skilled"
        )
        return await self.consume(n, event, province, county=county)

    async def enlist(self, name: str = "بافته‌های کویر", province: str = "IR-20") -> str:
        body = {"name": name, "services": ["sale"], "fields": ["JF001"], "province": province}
        lead: str = (await self.request("POST", "/v1/leads", json=body, province=province)).json()["id"]
        return lead
