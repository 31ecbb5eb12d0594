"""The backlog of screening, by age and by stage."""

from collections.abc import Mapping

from fastapi import APIRouter
from pydantic import BaseModel, Field

from programme.calendar import tehran_day
from screening.api.cases import Reader
from screening.queries_of_backlog import backlogs
from web.dependencies import Clock, Store

router = APIRouter(prefix="/v1/cases", tags=["cases"])


class AreaBacklog(BaseModel):
    """The cases of one area."""

    area: str = Field(description="A province, or the county of a county's officer.")
    stages: Mapping[str, Mapping[str, int]] = Field(
        description="Cases in which screening acts next, by stage (open, appealed, awaiting_capacity) and by deadline: "
        "over_two_weeks and over_one_week late, late, today, one_week, later."
    )
    others: Mapping[str, int] = Field(description="The other cases, by state.")


@router.get("/backlog")
async def get_backlog(principal: Reader, store: Store, clock: Clock) -> list[AreaBacklog]:
    """Return the backlog of the caller's area, nationwide of each province, from counters."""
    found = await backlogs(store, principal.scope, tehran_day(clock().at))
    return [AreaBacklog(area=each.area, stages=each.stages, others=each.others) for each in found]
