"""Request models of capacities."""

from pydantic import Field

from screening.domain.capacity import IdentifyCapacity
from screening.schemas import LIST
from web.app import Body


class Capacity(Body):
    """What an applicant can make, how much a month, how well, and what they need."""

    product_group: str = Field(max_length=40, examples=["handicrafts"])
    unit: str = Field(max_length=40, examples=["piece"])
    monthly_band: str = Field(max_length=40, examples=["10-49"])
    skill_level: str = Field(max_length=40, examples=["skilled"])
    needs: list[str] = Field(default=[], max_length=12, examples=[["training", "material"]])

    def command(self) -> IdentifyCapacity:
        """Return the command."""
        return IdentifyCapacity(self.product_group, self.unit, self.monthly_band, self.skill_level, tuple(self.needs))


class ListedCapacity(Capacity):
    """One capacity in a list."""

    id: str = Field(max_length=64)


class Capacities(Body):
    """Capacities of many applicants, each independent of the others."""

    capacities: list[ListedCapacity] = Field(max_length=LIST)
