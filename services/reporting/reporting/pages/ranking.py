"""The public pages: home, the ranking, a province and the method."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.requests import Request

from contracts.commands import Refused
from programme.calendar import tehran_day
from programme.policies import CURRENT, policy
from programme.reference import provinces
from reporting.api.dependencies import Cache
from reporting.api.ranking import RoundFigures
from reporting.api.stream import Parts, follow, viewers
from reporting.domain.figures import Figures
from reporting.pages import view_models
from reporting.schemas import TableName
from web.authorization import public
from web.pages import Pages, lang_of
from web.rate_limit import limited

PAUSE = 5.0  # seconds between two changes of an open page, so that people can read it

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


class PageParts:
    """The parts of the page with a table that change: rows, tiles, totals, and the lines above them."""

    def __init__(self, table: TableName, lang: str) -> None:
        self.table, self.lang = table, lang

    @property
    def name(self) -> tuple[str, ...]:
        """Return the table and the language."""
        return ("html", self.table, self.lang)

    def parts(self, figures: Figures) -> Parts:
        """Return the markup of each part; its element has an id."""
        values = view_models.ranking(figures, self.table, self.lang)
        made = templates.parts("ranking_parts.html", self.lang, **values)
        found: Parts = {"asof": made.asof(), "lead": made.lead(), "totals": made.totals()}
        found |= {f"tile {tile['code']}": made.tile(tile) for tile in values["tiles"]}
        return found | {row["code"]: made.row(row) for row in values["rows"]}

    def message(self, figures: Figures, parts: Sequence[Any], since: int | None) -> str:
        """Return what `ranking.js` reads."""
        return json.dumps({"version": figures.version, "since": since, "parts": parts}, ensure_ascii=False)


@router.get("/ranking/stream", response_class=EventSourceResponse, dependencies=[viewers()])
async def ranking_stream(
    request: Request, cache: Cache, figures: RoundFigures, table: Table = "composite"
) -> AsyncIterator[ServerSentEvent]:
    """Send the parts of the page with a table, and those that change, to a page that is open."""
    async for event in follow(request, cache, figures, PageParts(table, lang_of(request)), PAUSE):
        yield event


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
