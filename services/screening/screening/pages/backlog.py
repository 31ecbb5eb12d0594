"""The page of the backlog: how much waits, how old it is, and whose turn it is."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from programme.calendar import tehran_day
from screening.api.cases import Reader
from screening.domain.applicant import TO_DO
from screening.pages.queue import templates
from screening.queries_of_backlog import AGES, backlogs, sum_of
from web.dependencies import Clock, Store

router = APIRouter(include_in_schema=False)


@router.get("/backlog")
async def backlog_page(request: Request, officer: Reader, store: Store, clock: Clock) -> Response:
    """Show the backlog of the officer's area; nationwide by province."""
    found = await backlogs(store, officer.scope, tehran_day(clock().at))
    return templates.render(
        request,
        "backlog.html",
        officer=officer,
        backlog=sum_of(found),
        provinces=sorted(found, key=lambda each: -each.total(ages=AGES[:3])) if not officer.scope else [],
        ages=AGES,
        late=AGES[:3],
        stages=TO_DO,
        now=clock().at,
    )
