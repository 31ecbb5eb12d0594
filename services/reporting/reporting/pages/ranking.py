"""The public pages: home, the ranking, a province and the method."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.requests import Request

from contracts.commands import Refused
from programme.calendar import tehran_day
from programme.policies import CURRENT, policy
from programme.reference import provinces
from reporting.api.dependencies import Cache
from reporting.domain.figures import Figures
from reporting.pages import view_models
from reporting.schemas import TableName
from web.authorization import public
from web.pages import Pages, lang_of
from web.rate_limit import limited

templates = Pages("reporting.pages")
router = APIRouter(
    dependencies=[public(), limited("pages", per_minute=1_200)],
    include_in_schema=False,
    default_response_class=HTMLResponse,
)

Table = Annotated[TableName, Query()]


@router.get("/")
async def home_page(request: Request, cache: Cache) -> HTMLResponse:
    """Show what the programme is, its results so far, and where to start."""
    figures = await cache.figures()
    if figures is None:
        return templates.render(request, "home.html", figures=None)
    return templates.render(
        request,
        "home.html",
        figures=figures,
        funnel=view_models.funnel(figures.nationwide, lang_of(request)),
        tiles=view_models.tiles(figures, "composite", lang_of(request), "/provinces/{code}"),
        policy=figures.policy,
    )


@router.get("/ranking")
async def ranking_page(request: Request, cache: Cache, table: Table = "composite") -> HTMLResponse:
    """Show one of the four tables, which a script keeps up to date."""
    figures, lang = await cache.figures(), lang_of(request)
    if figures is None:
        return templates.render(request, "empty.html", table=table)
    return templates.render(
        request, "ranking.html", period=_period(figures, lang), **view_models.ranking(figures, table, lang)
    )


@router.get("/ranking/rows")
async def ranking_rows(request: Request, cache: Cache, table: Table = "composite") -> HTMLResponse:
    """Return the body of the table, and what changes around it, for a page that is open. Raise Refused."""
    figures, lang = await cache.figures(), lang_of(request)
    if figures is None:
        raise Refused("round_unknown")
    key = ("rows", table, lang)
    if key not in figures.rendered:  # all open pages request the same fragment when the figures move
        page = templates.render(request, "rows.html", fragment=True, **view_models.ranking(figures, table, lang))
        figures.rendered[key] = bytes(page.body)
    return HTMLResponse(figures.rendered[key], headers={"Content-Language": lang, "Vary": "Cookie"})


@router.get("/provinces/{province}")
async def province_page(request: Request, province: str, cache: Cache) -> HTMLResponse:
    """Show how the rank of a province comes about. Raise Refused: not_found."""
    if province not in provinces():
        raise Refused("not_found")
    figures, lang = await cache.figures(), lang_of(request)
    if figures is None:
        return templates.render(request, "empty.html", table="composite")
    return templates.render(request, "province.html", **view_models.province(figures, province, lang))


@router.get("/method")
async def method_page(request: Request, cache: Cache) -> HTMLResponse:
    """Show how the ranking works, with the weights of the current round."""
    figures = await cache.figures()
    used = figures.policy if figures else policy(CURRENT)
    return templates.render(request, "method.html", policy=used, **view_models.method(used.formula, lang_of(request)))


@router.get("/favicon.ico")
async def favicon() -> RedirectResponse:
    """Redirect to the logo: browsers request this path from pages that name no icon."""
    return RedirectResponse("/assets/peyvand/mark.svg", 308)


def _period(figures: Figures, lang: str) -> tuple[str, str]:
    """Return the round, and the name of the month in which it opened."""
    return figures.round.round, view_models.month(tehran_day(figures.round.opens or figures.as_of), lang)
