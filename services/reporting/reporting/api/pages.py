"""The pages that everybody may read: home, the ranking, why a province stands where it does, and the method."""

from functools import cache
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.requests import Request

from contracts.commands import Refused
from programme.calendar import MONTHS_EN, MONTHS_FA, tehran_day, to_jalali
from programme.policies import CURRENT, policy
from programme.reference import provinces
from reporting.api import views
from reporting.api.answers import TableName
from reporting.api.data import board_of
from reporting.domain.figures import Figures
from web.app import limited, public
from web.pages import Pages, lang_of, pages

router = APIRouter(
    dependencies=[public(), limited("pages", per_minute=1_200)],
    include_in_schema=False,
    default_response_class=HTMLResponse,
)

Table = Annotated[TableName, Query()]


@router.get("/")
async def home(request: Request) -> HTMLResponse:
    """What this is, how far it has come, where to start."""
    figures = await board_of(request).figures()
    if figures is None:
        return _pages().render(request, "home.html", figures=None)
    return _pages().render(
        request,
        "home.html",
        figures=figures,
        funnel=views.funnel(figures.country, lang_of(request)),
        tiles=views.tiles(figures, "composite", lang_of(request), "/provinces/{code}"),
        policy=figures.policy,
    )


@router.get("/ranking")
async def ranking(request: Request, table: Table = "composite") -> HTMLResponse:
    """The 31 provinces, live."""
    figures, lang = await board_of(request).figures(), lang_of(request)
    if figures is None:
        return _pages().render(request, "empty.html", table=table)
    return _pages().render(
        request, "ranking.html", period=_period(figures, lang), **views.ranking(figures, table, lang)
    )


@router.get("/ranking/rows")
async def rows(request: Request, table: Table = "composite") -> HTMLResponse:
    """The body of the table alone, for the page that stands open; with the as-of line, which changes as well."""
    figures, lang = await board_of(request).figures(), lang_of(request)
    if figures is None:
        raise Refused("round_unknown")
    if ("rows", table, lang) not in figures.kept:  # every open page asks for the same when something moves
        page = _pages().render(request, "rows.html", apart=True, **views.ranking(figures, table, lang))
        figures.kept["rows", table, lang] = bytes(page.body)
    return HTMLResponse(figures.kept["rows", table, lang], headers={"Content-Language": lang, "Vary": "Cookie"})


@router.get("/provinces/{province}")
async def province(request: Request, province: str) -> HTMLResponse:
    """Why this province stands where it stands."""
    if province not in provinces():
        raise Refused("not_found")
    figures, lang = await board_of(request).figures(), lang_of(request)
    if figures is None:
        return _pages().render(request, "empty.html", table="composite")
    return _pages().render(request, "province.html", **views.province(figures, province, lang))


@router.get("/method")
async def method(request: Request) -> HTMLResponse:
    """How the ranking works, with the weights of the round's own formula."""
    figures = await board_of(request).figures()
    used = figures.policy if figures else policy(CURRENT)
    return _pages().render(request, "method.html", policy=used, **views.method(used.formula, lang_of(request)))


@router.get("/favicon.ico")
async def icon() -> RedirectResponse:
    """Where a browser looks for the mark when a page names none."""
    return RedirectResponse("/assets/peyvand/mark.svg", 308)


def _period(figures: Figures, lang: str) -> tuple[str, str]:
    """The round, and the name of the month in which it opened."""
    month = to_jalali(tehran_day(figures.round.opens or figures.as_of))[1] - 1
    return figures.round.round, (MONTHS_FA if lang == "fa" else MONTHS_EN)[month]


@cache
def _pages() -> Pages:
    return pages("reporting")
