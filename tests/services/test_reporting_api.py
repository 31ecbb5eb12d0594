"""The figures over HTTP: JSON, CSV and ETags."""

import csv
import io
import re
from collections.abc import AsyncIterator
from fractions import Fraction

import httpx
import pytest

from kernel.stores.memory import MemoryStore
from programme.reference import provinces
from reporting.domain import RULES
from reporting.domain.columns import COLUMNS
from reporting.ranking_cache import RankingCache
from reporting.tallies import MemoryTallies
from tests.support.reporting_round import (
    NOW,
    WITHOUT_QUOTA,
    app_of,
    fixed_clock,
    ranking_cache,
    round_events,
    running_client,
)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with running_client(app_of(await ranking_cache())) as client:
        yield client


@pytest.fixture
async def client_without_round() -> AsyncIterator[httpx.AsyncClient]:
    empty = RankingCache(MemoryStore("reporting", RULES), MemoryTallies(), fixed_clock(NOW))
    async with running_client(app_of(empty)) as client:
        yield client


@pytest.mark.parametrize("table", ["composite", "1", "2", "3"])
async def test_a_table_has_31_rows_with_the_counts_behind_them(client: httpx.AsyncClient, table: str) -> None:
    response = (await client.get(f"/v1/ranking?table={table}")).json()
    assert response["table"] == table and response["round"] == "1404" and response["policy"] == "1404-1"
    assert response["events"] == len(round_events().envelopes)
    assert response["as_of"].startswith("2025-11-22T") and response["as_of"].endswith("+03:30")
    assert {row["province"] for row in response["rows"]} == set(provinces())
    ranks = [row["rank"] for row in response["rows"]]
    assert ranks[:-1] == sorted(ranks[:-1]) and ranks[-1] is None
    last = response["rows"][-1]
    assert (last["province"], last["unranked"]) == (WITHOUT_QUOTA, "no_quota")
    for row in response["rows"][:-1]:
        c = row["counts"]
        assert c["sustained"] <= c["connected"] <= c["identified"] <= c["admitted"]
        assert Fraction(row["exact"]) >= 0
    values = [Fraction(row["exact"]) for row in response["rows"][:-1]]
    assert values == sorted(values, reverse=True)


async def test_the_rank_of_a_province_can_be_recomputed_from_its_terms(client: httpx.AsyncClient) -> None:
    response = (await client.get("/v1/provinces/IR-20")).json()
    for stage in response["stages"]:
        counted = [term for term in stage["terms"] if not term["dropped"]]
        whole = sum(Fraction(term["weight"]) for term in counted)
        assert Fraction(stage["score"]) == sum(Fraction(term["contribution"]) for term in counted) / whole
        for term in counted:
            share = Fraction(term["numerator"], term["denominator"]) if term["denominator"] else Fraction(0)
            assert Fraction(term["value"]) in (share, Fraction(1))
    floored = [max(Fraction(stage["score"]), Fraction(1, 100)) for stage in response["stages"]]
    assert Fraction(response["rank_value"]) == Fraction(response["d"]) ** 4 * floored[0] * floored[1] * floored[2] ** 2
    assert (await client.get("/v1/provinces/IR-31")).status_code == 404


async def test_the_nationwide_figures_are_sums_over_the_provinces(client: httpx.AsyncClient) -> None:
    nationwide = (await client.get("/v1/nationwide")).json()
    rows = (await client.get("/v1/ranking")).json()["rows"]
    for name in ("quota", "registered", "screened", "admitted", "identified", "connected"):
        assert nationwide["counts"][name] == sum(row["counts"][name] for row in rows)
    assert (nationwide["provinces"], nationwide["ranked"]) == (31, 30)
    assert nationwide["latency_p50"] is not None and nationwide["latency_p95"] >= nationwide["latency_p50"] >= 0


async def test_the_csv_of_a_table_equals_its_json(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/ranking.csv?table=3")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))
    assert len(rows) == 31 and all(row["events"] and row["as_of"] and row["table"] == "3" for row in rows)
    shown = (await client.get("/v1/ranking?table=3")).json()["rows"]
    assert [(row["rank"], row["province"], row["value"]) for row in rows] == [
        (str(row["rank"] or ""), row["province"], row["shown"]) for row in shown
    ]
    terms = (await client.get("/v1/provinces/IR-20.csv")).content.decode("utf-8-sig")
    assert len(list(csv.DictReader(io.StringIO(terms)))) == 11


@pytest.mark.parametrize("url", ["/v1/ranking.csv?table=2", "/v1/provinces/IR-20.csv"])
async def test_each_column_is_in_the_dictionary_and_decimals_stand_beside_fractions(
    client: httpx.AsyncClient, url: str
) -> None:
    known = {line["column"]: line for line in lines_of(await client.get("/v1/data-dictionary.csv"))}
    assert all(text for line in known.values() for text in line.values())
    lines = lines_of(await client.get(url))
    assert known.keys() >= lines[0].keys()
    for line in lines:
        for name in (name for name in line if name.endswith("_decimal")):
            assert abs(Fraction(line[name]) - Fraction(line[name.removesuffix("_decimal")])) <= Fraction(1, 2 * 10**6)
    for lang in ("fa", "en"):
        other = lines_of(await client.get(url, params={**dict(httpx.URL(url).params), "heads": lang}))
        assert list(other[0]) == [known[name][f"head_{lang}"] for name in lines[0]]
        assert [list(line.values()) for line in other] == [list(line.values()) for line in lines]
    assert (await client.get(url, params={"heads": "x"})).status_code == 422


async def test_the_dictionary_has_no_column_that_no_file_has(client: httpx.AsyncClient) -> None:
    used = {
        name for url in ("/v1/ranking.csv", "/v1/provinces/IR-20.csv") for name in lines_of(await client.get(url))[0]
    }
    assert used == set(COLUMNS)


def lines_of(response: httpx.Response) -> list[dict[str, str]]:
    """Return the lines of a CSV file."""
    return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))


async def test_an_unchanged_table_is_answered_with_304(client: httpx.AsyncClient) -> None:
    first = await client.get("/v1/ranking")
    again = await client.get("/v1/ranking", headers={"If-None-Match": first.headers["etag"]})
    other = await client.get("/v1/ranking?table=1", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, other.status_code) == (304, b"", 200)


async def test_without_a_round_the_api_refuses_and_the_pages_are_empty(client_without_round: httpx.AsyncClient) -> None:
    assert (await client_without_round.get("/v1/ranking")).json()["code"] == "round_unknown"
    for page in ("/", "/ranking", "/provinces/IR-20", "/method"):
        assert (await client_without_round.get(page, headers={"Accept": "text/html"})).status_code == 200


async def test_an_unknown_table_or_round_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/ranking?table=4")).status_code == 422
    assert (await client.get("/v1/ranking?round=1300")).json()["code"] == "round_unknown"


@pytest.mark.parametrize("url", ["/v1/ranking.csv?table=3", "/v1/provinces/IR-20.csv"])
async def test_a_download_has_a_plain_name(client: httpx.AsyncClient, url: str) -> None:
    disposition = (await client.get(url)).headers["content-disposition"]
    assert re.fullmatch(r'attachment; filename="peyvand-[a-z0-9-]+\.csv"', disposition, re.IGNORECASE)
