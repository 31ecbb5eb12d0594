"""The pages about the site itself: in both languages, linked from every page; the status page shows the real state."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from contracts.events import PRODUCERS
from kernel.errors import Transient
from registration.pages.drafts import MAX_AGE, RECEIPT_MAX_AGE
from reporting.pages import help as help_pages
from reporting.pages.help import KEPT, PATHS, ServiceStates
from reporting.ranking_cache import RankingCache
from tests.support.reporting_round import app_of, ranking_cache, running_client
from web.pages import LANGUAGE_COOKIE

PAGES = ("/help", "/privacy", "/accessibility", "/status", "/data-licence", "/data-dictionary")
ELSEWHERE = tuple(f"/{service}" for service in PATHS)  # pages of other services
HTML = {"Accept": "text/html"}


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The services that do not answer; the tests add to it."""
    names: set[str] = set()
    states = ServiceStates(lambda path: path.split("/")[1] not in names)
    monkeypatch.setattr(help_pages, "service_states", lambda public_url: states)
    return names


@pytest.fixture
async def client(away: set[str]) -> AsyncIterator[httpx.AsyncClient]:
    async with running_client(app_of(await ranking_cache())) as client:
        yield client


@pytest.mark.parametrize("path", PAGES)
async def test_each_page_is_complete_in_both_languages_and_linked_from_every_page(
    client: httpx.AsyncClient, path: str
) -> None:
    for lang in ("fa", "en"):
        page = await client.get(path, params={"lang": lang}, headers=HTML)
        assert page.status_code == 200 and page.text.count("<h1>") == 1 and "<script" not in page.text
        main = page.text[page.text.index("<main") : page.text.index("</main>")]
        assert lang == "fa" or not re.search("[\u0600-\u06ff]", main)
        own = [link for link in re.findall(r'href="(/[a-z-]*)[#"]', main) if not link.startswith(ELSEWHERE)]
        for link in own:
            assert (await client.get(link, headers=HTML)).status_code == 200, link
        for other in ("/", "/ranking", "/no-such-page") if path != "/data-dictionary" else ("/data-licence",):
            assert f'href="{path}"' in (await client.get(other, headers=HTML)).text


async def test_the_status_names_each_service_that_does_not_answer(client: httpx.AsyncClient, away: set[str]) -> None:
    away.add("market")
    page = (await client.get("/status?lang=en", headers=HTML)).text
    states = dict(re.findall(r'<tr id="(\w+)">.*?class="st st-(\w+)"', page))
    assert states == {"registration": "done", "screening": "done", "market": "late", "reporting": "done"}
    assert set(states) == {*PRODUCERS, "reporting"} == {*PATHS, "reporting"}
    assert "One part does not answer" in page and "Events counted" in page


async def test_without_readable_figures_the_status_is_a_page_all_the_same(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: RankingCache, round_id: str = "", *, fresh: bool = False) -> None:
        raise Transient("no database")

    monkeypatch.setattr(RankingCache, "figures", fail)
    page = await client.get("/status?lang=en", headers=HTML)
    assert page.status_code == 200 and "figures cannot be read" in page.text


async def test_all_visitors_together_ask_a_service_once_in_ten_seconds() -> None:
    asked, now = list[str](), [0.0]

    def answers(path: str) -> bool:
        asked.append(path)
        return True

    states = ServiceStates(answers, lambda: now[0])
    for at in (0.0, KEPT / 2, KEPT):
        now[0] = at
        assert await states.read() == dict.fromkeys(PATHS, True)
    assert sorted(asked) == sorted([*PATHS.values(), *PATHS.values()])


async def test_what_privacy_promises_about_cookies_is_what_is_set(client: httpx.AsyncClient) -> None:
    page = (await client.get("/privacy?lang=en", headers=HTML)).text
    assert "draft of the form for a day" in page and MAX_AGE == 86_400
    assert "receipt for half an hour" in page and RECEIPT_MAX_AGE == 1_800
    cookie = (await client.get("/?lang=fa", headers=HTML)).headers["set-cookie"]
    assert "language stays in your browser for a year" in page and f"Max-Age={365 * 86_400}" in cookie
    assert cookie.startswith(LANGUAGE_COOKIE)
