"""The public pages: complete without JavaScript, in two languages, within the content security policy."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from programme.reference import provinces
from reporting.domain.terms import TERMS
from reporting.pages.texts import TILES
from tests.support.reporting_round import (
    WITHOUT_QUOTA,
    app_of,
    ranking_cache,
    running_client,
)

PAGES = ("/", "/ranking", "/ranking?table=1", "/ranking?table=2", "/ranking?table=3", "/provinces/IR-20", "/method")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with running_client(app_of(await ranking_cache())) as client:
        client.headers["Accept"] = "text/html"
        yield client


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("lang", ["fa", "en"])
async def test_every_page_in_both_languages(client: httpx.AsyncClient, path: str, lang: str) -> None:
    page = await client.get(path, params={**dict(httpx.URL(path).params), "lang": lang})
    text = page.text
    assert page.status_code == 200
    assert f'<html lang="{lang}" dir="{"rtl" if lang == "fa" else "ltr"}">' in text
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:|https?://(?!www\.w3\.org)", text)
    for script in re.findall(r"<script[^>]*>", text):
        assert 'src="/assets/' in script
    if lang == "en":
        main = text[text.index("<main") : text.index("</main>")]
        assert not re.search("[\u06f0-\u06f9]", main)


@pytest.mark.parametrize("table", ["composite", "1", "2", "3"])
async def test_a_table_has_31_rows_and_31_tiles(client: httpx.AsyncClient, table: str) -> None:
    page = (await client.get(f"/ranking?table={table}")).text
    assert set(re.findall(r'data-province="(IR-\d\d)"', page)) == set(provinces()) == set(TILES)
    assert len(re.findall(r'<li class="tile ', page)) == 31
    assert f'href="/v1/ranking.csv?table={table}"' in page


async def test_a_province_shows_numerator_and_denominator_of_each_term(client: httpx.AsyncClient) -> None:
    page = (await client.get("/provinces/IR-20?lang=en")).text
    response = (await client.get("/v1/provinces/IR-20")).json()
    terms = [*response["data"], *(term for stage in response["stages"] for term in stage["terms"])]
    assert {term["id"] for term in terms} == set(TERMS)
    for term in terms:
        assert TERMS[term["id"]].en in page
        assert f'{term["numerator"]} <span class="of">of {term["denominator"]}</span>' in page


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/ranking", r"\S.* با شاخص [۰-۹٫]+ اول است\.( \S.* [۰-۹]+ پله بالا آمده است\.)?"),
        ("/ranking?table=1&lang=en", r"[A-Z].* leads? with [\d.]+ of 100\.( [A-Z].* is up \d+\.)?"),
        ("/provinces/IR-20", r"بیشترین کاستی در «\S[^»]*» است: \S.*[۰-۹]+.*\."),
        ("/provinces/IR-20?lang=en", r"It loses most in [a-z ]+: .*\d+ .*\."),
    ],
)
async def test_the_news_is_one_sentence(client: httpx.AsyncClient, path: str, sentence: str) -> None:
    page = (await client.get(path)).text
    shown = re.findall(r'<p class="lead[^>]*>(.*?)</p>', page, re.DOTALL)
    assert shown and re.fullmatch(sentence, " ".join(shown[0].split()))


async def test_a_province_without_a_quota_shows_the_reason(client: httpx.AsyncClient) -> None:
    assert "بی‌رتبه: سهمیهٔ این دوره هنوز ابلاغ نشده است" in (await client.get("/ranking")).text
    assert "No quota has been notified" in (await client.get(f"/provinces/{WITHOUT_QUOTA}?lang=en")).text


async def test_an_unknown_province_gets_the_not_found_page(client: httpx.AsyncClient) -> None:
    page = await client.get("/provinces/IR-31")
    assert page.status_code == 404 and "این صفحه پیدا نشد" in page.text


async def test_only_static_files_are_served(client: httpx.AsyncClient) -> None:
    css = await client.get("/assets/peyvand/peyvand.css")
    assert css.status_code == 200 and css.headers["cache-control"] == "public, no-cache"
    again = await client.get("/assets/peyvand/peyvand.css", headers={"If-None-Match": css.headers["etag"]})
    assert again.status_code == 304
    script = await client.get("/assets/reporting/ranking.js")
    assert script.status_code == 200 and script.headers["cache-control"] == "public, no-cache"
    for path in (
        "/assets/peyvand/../pages.py",
        "/assets/peyvand/%2e%2e/pages.py",
        "/assets/peyvand/",
        "/assets/reporting/",
    ):
        assert (await client.get(path)).status_code == 404
