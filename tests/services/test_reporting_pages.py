"""The open pages: whole without JavaScript, in two languages, with nothing that the content policy refuses."""

import asyncio
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from programme.reference import provinces
from reporting.api.words import TERMS, TILES
from reporting.store import Board, MemoryTallies
from tests.services.test_reporting_api import app_of, client_of
from tests.support.reporting_round import NOW, UNNOTIFIED, Speakers, a_round, at, board, hear

PAGES = ("/", "/ranking", "/ranking?table=1", "/ranking?table=2", "/ranking?table=3", "/provinces/IR-20", "/method")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async for each in client_of(await board()):
        each.headers["Accept"] = "text/html"
        yield each


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
async def test_31_rows_and_31_tiles(client: httpx.AsyncClient, table: str) -> None:
    page = (await client.get(f"/ranking?table={table}")).text
    assert set(re.findall(r'data-province="(IR-\d\d)"', page)) == set(provinces()) == set(TILES)
    assert len(re.findall(r'<li class="tile ', page)) == 31
    assert f'href="/v1/ranking.csv?table={table}"' in page


async def test_the_rows_alone_bring_what_changes_around_them(client: httpx.AsyncClient) -> None:
    rows = (await client.get("/ranking/rows?table=2")).text
    assert rows.lstrip().startswith('<tbody id="rows"') and rows.count("<tr id=") == 31
    for place in ("asof-place", "lead", "map", "foot"):
        assert f'id="{place}" hx-swap-oob="innerHTML"' in rows


async def test_a_province_says_why_with_numerator_and_denominator(client: httpx.AsyncClient) -> None:
    page = (await client.get("/provinces/IR-20?lang=en")).text
    answer = (await client.get("/v1/provinces/IR-20")).json()
    terms = [*answer["data"], *(term for stage in answer["stages"] for term in stage["terms"])]
    assert {term["id"] for term in terms} == set(TERMS)
    for term in terms:
        assert TERMS[term["id"]].en in page
        assert f'{term["numerator"]} <span class="of">of {term["denominator"]}</span>' in page


async def test_without_a_quota_the_reason_stands_there(client: httpx.AsyncClient) -> None:
    assert "بی‌رتبه: سهمیهٔ این دوره هنوز ابلاغ نشده است" in (await client.get("/ranking")).text
    assert "No quota has been notified" in (await client.get(f"/provinces/{UNNOTIFIED}?lang=en")).text


async def test_an_unknown_province_is_a_page_not_found(client: httpx.AsyncClient) -> None:
    page = await client.get("/provinces/IR-31")
    assert page.status_code == 404 and "این صفحه پیدا نشد" in page.text


async def test_our_own_files_are_served_and_nothing_else(client: httpx.AsyncClient) -> None:
    css = await client.get("/assets/peyvand/peyvand.css")
    assert css.status_code == 200 and css.headers["cache-control"] == "public, no-cache"
    again = await client.get("/assets/peyvand/peyvand.css", headers={"If-None-Match": css.headers["etag"]})
    assert again.status_code == 304
    for path in ("/assets/peyvand/../pages.py", "/assets/peyvand/%2e%2e/pages.py", "/assets/peyvand/"):
        assert (await client.get(path)).status_code == 404


async def test_the_stream_says_that_something_moved() -> None:
    tallies = MemoryTallies()
    store = await hear(tallies, a_round().said)
    of = Board(tallies, at(NOW), pause=0.02)
    app = app_of(of)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
    ):
        listening = asyncio.create_task(client.get("/v1/stream"))
        await asyncio.sleep(0.3)
        more = Speakers()
        more.applicant("0200", "IR-20", 1)
        await hear(tallies, more.said, store)
        await asyncio.sleep(0.3)
        app.state.stopping.set()
        heard = await asyncio.wait_for(listening, 5)
    versions = [int(found) for found in re.findall(r'event: moved\ndata: \{"version":\s*(\d+)\}', heard.text)]
    assert heard.headers["content-type"].startswith("text/event-stream")
    assert len(versions) == 2 and versions[0] < versions[1] == of.version
    assert of.viewers == 0
