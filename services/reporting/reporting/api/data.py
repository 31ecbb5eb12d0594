"""The figures for programmes: JSON, CSV, and a stream that says that something moved."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.requests import Request

from contracts.commands import Refused
from programme.reference import provinces
from reporting.api import answers
from reporting.api.words import TERMS
from reporting.domain.figures import Figures
from reporting.domain.indicators import PLAIN, STAGES
from reporting.store import Board
from web.app import Etag, etagged, limited, public
from web.openapi import MISSING

CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {}}}}
NO_ROUND = {MISSING: "round_unknown"}
VIEWERS = 2_000  # of one process; a browser that is refused shows the page as it is

router = APIRouter(prefix="/v1", dependencies=[public(), limited("figures", per_minute=1_200)], tags=["ranking"])

Table = Annotated[answers.TableName, Query(description="The composite, or one of the three stages.")]
Round = Annotated[str, Query(max_length=32, description="The round's id; without it the current one.")]


async def figures_of(request: Request, round: Round = "") -> Figures:
    """The figures of a round. Raises Refused("round_unknown").

    They are at most a second old; `Cache-Control: no-cache` asks for what is stored now.
    """
    fresh = "no-cache" in request.headers.get("cache-control", "")
    found = await board_of(request).figures(round, fresh=fresh)
    if found is None:
        raise Refused("round_unknown", "round", round=round)
    return found


Shown = Annotated[Figures, Depends(figures_of)]
Tag = Annotated[Etag, etagged()]


@router.get("/ranking", openapi_extra=NO_ROUND)
async def ranking(figures: Shown, etag: Tag, table: Table = "composite") -> answers.RankingAnswer:
    """One of the four tables: 31 rows, each with the counts that it is made of."""
    etag.match(*figures.edition, table)
    return answers.ranking(figures, table)


@router.get("/ranking.csv", response_class=Response, responses=CSV, openapi_extra=NO_ROUND)
async def ranking_csv(figures: Shown, table: Table = "composite") -> Response:
    """The same as CSV (UTF-8 with a mark, so that spreadsheets read the names)."""
    return _csv(f"ranking-{figures.round.round}-{table}", ranking_lines(figures, table))


@router.get("/provinces/{province}.csv", response_class=Response, responses=CSV)
async def province_csv(province: str, figures: Shown) -> Response:
    """The terms of one province as CSV."""
    if province not in provinces():
        raise Refused("not_found")
    return _csv(f"{province}-{figures.round.round}", province_lines(figures, province))


@router.get("/provinces/{province}")
async def province(province: str, figures: Shown, etag: Tag) -> answers.ProvinceAnswer:
    """Why this rank: every term with its numerator, denominator, weight and contribution."""
    if province not in provinces():
        raise Refused("not_found")
    etag.match(*figures.edition, province)
    return answers.province(figures, province)


@router.get("/country", openapi_extra=NO_ROUND)
async def country(figures: Shown, etag: Tag) -> answers.CountryAnswer:
    """The funnel of the country, the events counted, and how fresh that is."""
    etag.match(*figures.edition, "country")
    return answers.country(figures)


@router.get("/stream", response_class=EventSourceResponse)
async def stream(request: Request) -> AsyncIterator[ServerSentEvent]:
    """Says that the figures moved (`event: moved`, data: the version), at most once a second; ask again for what."""
    board = board_of(request)
    stopping: asyncio.Event = request.app.state.stopping
    if board.viewers >= VIEWERS:
        return
    board.viewers += 1
    try:
        version = await board.look()
        yield ServerSentEvent(event="moved", data={"version": version}, id=str(version), retry=5_000)
        while not stopping.is_set():
            try:
                await asyncio.wait_for(stopping.wait(), board.pause)
            except TimeoutError:
                if (now := await board.look()) != version:
                    version = now
                    yield ServerSentEvent(event="moved", data={"version": version}, id=str(version))
    finally:
        board.viewers -= 1


def ranking_lines(figures: Figures, table: answers.TableName) -> list[list[Any]]:
    """A table as lines, with the as-of and the events in every one of them, so that none loses its context."""
    head = ["rank", "province", "name_fa", "name_en", "value", "index", "d", "s1", "s2", "s3"]
    lines: list[list[Any]] = [[*head, *PLAIN, "small_base", "unranked", "table", "round", "policy", "as_of", "events"]]
    answer = answers.ranking(figures, table)
    for row in answer.rows:
        counted = row.counts.model_dump()
        lines.append(
            [
                row.rank if row.rank is not None else "",
                *(row.province, row.name_fa, row.name_en, row.shown, row.index, row.d, *row.stages),
                *(counted[name] for name in PLAIN),
                *(int(row.small_base), row.unranked, table, answer.round, answer.policy),
                *(answer.as_of.isoformat(timespec="seconds"), answer.events),
            ]
        )
    return lines


def province_lines(figures: Figures, province: str) -> list[list[Any]]:
    """A province's terms as lines."""
    head = ["province", "part", "term", "name_fa", "name_en", "numerator", "denominator", "value", "weight"]
    lines: list[list[Any]] = [[*head, "contribution", "dropped", "round", "policy", "as_of", "events"]]
    answer, score = answers.as_of(figures), figures.scores[province]
    parts = {"data": score.data, **{stage: score.terms[stage] for stage in STAGES}}
    for part, terms in parts.items():
        for term in terms:
            lines.append(
                [
                    *(province, part, term.id, TERMS[term.id].fa, TERMS[term.id].en),
                    *(term.numerator, term.denominator, answers.exact(term.value), answers.exact(term.weight)),
                    *(answers.exact(term.contribution), int(term.dropped), answer["round"], answer["policy"]),
                    *(answer["as_of"].isoformat(timespec="seconds"), answer["events"]),
                ]
            )
    return lines


def _csv(name: str, lines: list[list[Any]]) -> Response:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(lines)
    headers = {"Content-Disposition": f'attachment; filename="peyvand-{name}.csv"'}
    return Response(out.getvalue().encode("utf-8-sig"), media_type="text/csv; charset=utf-8", headers=headers)


def board_of(request: Request) -> Board:
    """The board of this process."""
    board: Board = request.app.state.board
    return board
