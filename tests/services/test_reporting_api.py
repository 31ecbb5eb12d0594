"""The figures over HTTP: JSON, CSV, the stream, and what a cache may keep."""

import csv
import io
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from base.settings import Settings
from programme.reference import provinces
from reporting.main import create
from reporting.store import Board, MemoryTallies
from tests.support.reporting_round import NOW, UNNOTIFIED, a_round, at, board


def app_of(of: Board) -> FastAPI:
    told: dict[str, Any] = {
        "service": "reporting",
        "environment": "development",
        "kafka": "127.0.0.1:1",
        "mongo": "mongodb://127.0.0.1:1",
        "database": "reporting",
        "jwks": Path("none.json"),
    }
    return create(Settings(**told), of)


async def client_of(of: Board) -> AsyncIterator[httpx.AsyncClient]:
    app = app_of(of)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
    ):
        yield client


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async for each in client_of(await board()):
        yield each


@pytest.fixture
async def empty() -> AsyncIterator[httpx.AsyncClient]:
    async for each in client_of(Board(MemoryTallies(), at(NOW))):
        yield each


@pytest.mark.parametrize("table", ["composite", "1", "2", "3"])
async def test_31_rows_each_with_what_it_is_made_of(client: httpx.AsyncClient, table: str) -> None:
    answer = (await client.get(f"/v1/ranking?table={table}")).json()
    assert answer["table"] == table and answer["round"] == "1404" and answer["policy"] == "1404-1"
    assert answer["events"] == len(a_round().said)
    assert answer["as_of"].startswith("2025-11-22T") and answer["as_of"].endswith("+03:30")
    assert {row["province"] for row in answer["rows"]} == set(provinces())
    ranks = [row["rank"] for row in answer["rows"]]
    assert ranks[:-1] == sorted(ranks[:-1]) and ranks[-1] is None
    last = answer["rows"][-1]
    assert (last["province"], last["unranked"]) == (UNNOTIFIED, "no_quota")
    for row in answer["rows"][:-1]:
        c = row["counts"]
        assert c["sustained"] <= c["connected"] <= c["identified"] <= c["admitted"]
        assert Fraction(row["exact"]) >= 0
    values = [Fraction(row["exact"]) for row in answer["rows"][:-1]]
    assert values == sorted(values, reverse=True)


async def test_why_a_province_stands_where_it_stands(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/v1/provinces/IR-20")).json()
    for stage in answer["stages"]:
        kept = [term for term in stage["terms"] if not term["dropped"]]
        whole = sum(Fraction(term["weight"]) for term in kept)
        assert Fraction(stage["score"]) == sum(Fraction(term["contribution"]) for term in kept) / whole
        for term in kept:
            share = Fraction(term["numerator"], term["denominator"]) if term["denominator"] else Fraction(0)
            assert Fraction(term["value"]) in (share, Fraction(1))
    floored = [max(Fraction(stage["score"]), Fraction(1, 100)) for stage in answer["stages"]]
    assert Fraction(answer["rank_value"]) == Fraction(answer["d"]) ** 4 * floored[0] * floored[1] * floored[2] ** 2
    assert (await client.get("/v1/provinces/IR-31")).status_code == 404


async def test_the_country_is_the_sum(client: httpx.AsyncClient) -> None:
    country = (await client.get("/v1/country")).json()
    rows = (await client.get("/v1/ranking")).json()["rows"]
    for name in ("quota", "registered", "screened", "admitted", "identified", "connected"):
        assert country["counts"][name] == sum(row["counts"][name] for row in rows)
    assert (country["provinces"], country["ranked"]) == (31, 30)
    assert country["latency_p50"] is not None and country["latency_p95"] >= country["latency_p50"] >= 0


async def test_csv_beside_every_table(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/ranking.csv?table=3")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(rows) == 31 and all(row["events"] and row["as_of"] and row["table"] == "3" for row in rows)
    said = (await client.get("/v1/ranking?table=3")).json()["rows"]
    assert [(row["rank"], row["province"], row["value"]) for row in rows] == [
        (str(row["rank"] or ""), row["province"], row["shown"]) for row in said
    ]
    terms = (await client.get("/v1/provinces/IR-20.csv")).content.decode("utf-8-sig")
    assert len(list(csv.DictReader(io.StringIO(terms)))) == 11


async def test_what_has_not_changed_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/v1/ranking")
    again = await client.get("/v1/ranking", headers={"If-None-Match": first.headers["etag"]})
    other = await client.get("/v1/ranking?table=1", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, other.status_code) == (304, b"", 200)


async def test_before_the_first_round(empty: httpx.AsyncClient) -> None:
    assert (await empty.get("/v1/ranking")).json()["code"] == "round_unknown"
    for page in ("/", "/ranking", "/provinces/IR-20", "/method"):
        assert (await empty.get(page, headers={"Accept": "text/html"})).status_code == 200


async def test_an_unknown_table_or_round_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/ranking?table=4")).status_code == 422
    assert (await client.get("/v1/ranking?round=1300")).json()["code"] == "round_unknown"


async def test_the_description_is_complete(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert {"/v1/ranking", "/v1/ranking.csv", "/v1/provinces/{province}", "/v1/country", "/v1/stream"} <= set(paths)
