"""The figures as JSON and CSV: the tables, a province, and the sums over all provinces."""

import csv
import io
from fractions import Fraction
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from starlette.requests import Request

from contracts.commands import Refused
from programme.reference import provinces
from programme.text import number
from reporting import schemas
from reporting.api.dependencies import Cache
from reporting.domain.columns import COLUMNS
from reporting.domain.figures import Figures
from reporting.domain.indicators import PLAIN, STAGES
from reporting.domain.round import simulated_scale
from reporting.domain.terms import TERMS
from web.authorization import public
from web.openapi import MISSING
from web.pagination import Etag, etagged
from web.rate_limit import limited

CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {}}}}
LAST = ("round", "policy", "as_of", "events", "simulated_scale")  # columns of every file
NO_ROUND = {MISSING: "round_unknown"}

router = APIRouter(prefix="/v1", dependencies=[public(), limited("figures", per_minute=1_200)], tags=["ranking"])

Table = Annotated[schemas.TableName, Query(description="The composite, or one of the three stages.")]
Heads = Annotated[
    Literal["code", "fa", "en"], Query(description="The first line: codes for programs, or names in a language.")
]
Round = Annotated[str, Query(max_length=32, description="The id of the round; by default the current one.")]


async def _figures(request: Request, cache: Cache, round: Round = "") -> Figures:
    """Return the figures of a round. Raise Refused: round_unknown.

    They are at most a second old; `Cache-Control: no-cache` waits for those that are stored now.
    """
    fresh = "no-cache" in request.headers.get("cache-control", "")
    found = await cache.figures(round, fresh=fresh)
    if found is None:
        raise Refused("round_unknown", "round", round=round)
    return found


RoundFigures = Annotated[Figures, Depends(_figures)]
Tag = Annotated[Etag, etagged()]


@router.get("/ranking", openapi_extra=NO_ROUND)
async def ranking(figures: RoundFigures, etag: Tag, table: Table = "composite") -> schemas.RankingResponse:
    """Return one of the four tables: 31 rows, each with the counts behind it."""
    etag.match(*figures.edition, table)
    return schemas.ranking(figures, table)


@router.get("/ranking.csv", response_class=Response, responses=CSV, openapi_extra=NO_ROUND)
async def ranking_csv(figures: RoundFigures, table: Table = "composite", heads: Heads = "code") -> Response:
    """Return a table as CSV: UTF-8 with a byte order mark, so that spreadsheets read the names."""
    return _csv(f"ranking-{figures.round.round}-{table}", ranking_lines(figures, table), heads)


@router.get("/provinces/{province}.csv", response_class=Response, responses=CSV)
async def province_csv(province: str, figures: RoundFigures, heads: Heads = "code") -> Response:
    """Return the terms of one province as CSV."""
    if province not in provinces():
        raise Refused("not_found")
    return _csv(f"{province}-{figures.round.round}", province_lines(figures, province), heads)


@router.get("/data-dictionary.csv", response_class=Response, responses=CSV)
async def dictionary_csv() -> Response:
    """Return every column of the CSV files with its names, unit and meaning."""
    head = ["column", "head_fa", "head_en", "unit_fa", "unit_en", "meaning_fa", "meaning_en"]
    return _csv(
        "data-dictionary",
        [
            head,
            *(
                [name, *(text for label in (each.head, each.unit, each.meaning) for text in (label.fa, label.en))]
                for name, each in COLUMNS.items()
            ),
        ],
    )


@router.get("/provinces/{province}")
async def province(province: str, figures: RoundFigures, etag: Tag) -> schemas.ProvinceResponse:
    """Explain the rank of a province: each term with numerator, denominator, weight and contribution."""
    if province not in provinces():
        raise Refused("not_found")
    etag.match(*figures.edition, province)
    return schemas.province(figures, province)


@router.get("/nationwide", openapi_extra=NO_ROUND)
async def nationwide(figures: RoundFigures, etag: Tag) -> schemas.NationwideResponse:
    """Return the sums over all provinces, the number of events, and the latency."""
    etag.match(*figures.edition, "nationwide")
    return schemas.nationwide(figures)


def ranking_lines(figures: Figures, table: schemas.TableName) -> list[list[Any]]:
    """Return a table as lines of CSV; each repeats the as-of time and the number of events."""
    head = ["rank", "province", "name_fa", "name_en", "value", "index", "d", "s1", "s2", "s3"]
    lines: list[list[Any]] = [
        [*head, *PLAIN, "small_base", "unranked", "table", *LAST, "d_decimal", "s1_decimal", "s2_decimal", "s3_decimal"]
    ]
    response = schemas.ranking(figures, table)
    for row in response.rows:
        counts = row.counts.model_dump()
        lines.append(
            [
                row.rank if row.rank is not None else "",
                *(row.province, row.name_fa, row.name_en, row.shown, row.index, row.d, *row.stages),
                *(counts[name] for name in PLAIN),
                *(int(row.small_base), row.unranked, table, *_last(figures, row.province)),
                *(decimal(Fraction(each)) for each in (row.d, *row.stages)),
            ]
        )
    return lines


def province_lines(figures: Figures, province: str) -> list[list[Any]]:
    """Return the terms of a province as lines of CSV."""
    head = ["province", "part", "term", "name_fa", "name_en", "numerator", "denominator", "value", "weight"]
    lines: list[list[Any]] = [
        [*head, "contribution", "dropped", *LAST, "value_decimal", "weight_decimal", "contribution_decimal"]
    ]
    score = figures.scores[province]
    parts = {"data": score.data, **{stage: score.terms[stage] for stage in STAGES}}
    for part, terms in parts.items():
        for term in terms:
            lines.append(
                [
                    *(province, part, term.id, TERMS[term.id].fa, TERMS[term.id].en),
                    *(term.numerator, term.denominator, schemas.exact(term.value), schemas.exact(term.weight)),
                    *(schemas.exact(term.contribution), int(term.dropped), *_last(figures, province)),
                    *(decimal(each) for each in (term.value, term.weight, term.contribution)),
                ]
            )
    return lines


def _last(figures: Figures, province: str) -> list[Any]:
    """Return the last columns of every line: which figures these are, and the share of its size in a simulation."""
    as_of, scale = schemas.as_of(figures), simulated_scale(figures.round, province)
    instant = as_of["as_of"].isoformat(timespec="seconds")
    return [as_of["round"], as_of["policy"], instant, as_of["events"], "" if scale is None else schemas.exact(scale)]


def decimal(share: Fraction) -> str:
    """Return a share with six decimals, for spreadsheets, which read 3/7 as a date."""
    return number(share, "en", 6)


def _csv(name: str, lines: list[list[Any]], heads: Heads = "code") -> Response:
    out = io.StringIO()
    first = lines[0] if heads == "code" else [COLUMNS[column].head.text(heads) for column in lines[0]]
    csv.writer(out, lineterminator="\r\n").writerows([first, *lines[1:]])
    headers = {"Content-Disposition": f'attachment; filename="peyvand-{name}.csv"'}
    return Response(out.getvalue().encode("utf-8-sig"), media_type="text/csv; charset=utf-8", headers=headers)
