"""The page where a person lands after sign-in: their role, what is open to it, and the figures of their province."""

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from starlette.requests import Request

from programme.calendar import tehran_day
from reporting.api.dependencies import Cache
from reporting.pages import view_models
from reporting.pages.ranking import templates
from security.auth import Principal
from web.authorization import allow
from web.oidc_login import HOME
from web.pages import lang_of

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get(HOME)
async def work_page(
    request: Request, officer: Annotated[Principal, allow("own_work", "R")], cache: Cache
) -> HTMLResponse:
    """Show what a person may open. The figures are public, so the page shows nothing that is beyond their scope."""
    figures, lang = await cache.figures(), lang_of(request)
    values = view_models.work(figures, officer.province, lang) if figures else {}
    return templates.render(
        request, "work.html", officer=officer, figures=figures, today=tehran_day(cache.clock().at), **values
    )
