"""Simulated figures are marked as such wherever they are shown, and real ones are not."""

import csv
import io

import httpx
import msgspec
import pytest

from contracts.envelope import Envelope
from contracts.events import RoundOpened
from tests.support.reporting_round import app_of, ranking_cache, round_events, running_client

PAGES = ("/", "/ranking", "/ranking?table=2", "/provinces/IR-20")
FILES = ("/v1/ranking.csv", "/v1/provinces/IR-20.csv", "/v1/provinces/IR-07.csv")
RESPONSES = ("/v1/ranking", "/v1/provinces/IR-20", "/v1/nationwide")


def simulated(per_mille: int, *whole: str) -> list[Envelope]:
    """Return the events of the small round as those of a simulation."""
    return [
        msgspec.structs.replace(
            each,
            event=msgspec.structs.replace(each.event, simulated_per_mille=per_mille, simulated_whole=whole),
        )
        if isinstance(each.event, RoundOpened)
        else each
        for each in round_events().envelopes
    ]


async def page(client: httpx.AsyncClient, path: str, lang: str) -> str:
    """Return a page in one language."""
    params = {**dict(httpx.URL(path).params), "lang": lang}
    return (await client.get(path, params=params, headers={"Accept": "text/html"})).text


def lines(response: httpx.Response) -> list[dict[str, str]]:
    """Return the lines of a CSV file."""
    return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))


@pytest.mark.parametrize(
    ("per_mille", "whole", "fa", "en"),
    [
        (40, ("IR-20",), "سمنان در اندازهٔ کامل، استان‌های دیگر با ۴ درصد", "Semnan at its whole size, the other"),
        (25, (), "هر استان با ۲٫۵ درصد", "each province at 2.5 percent of its size"),
        (1_000, (), "در اندازهٔ کامل کشور", "at the size of the whole country"),
    ],
)
async def test_every_page_with_figures_begins_with_the_simulation_and_its_scale(
    per_mille: int, whole: tuple[str, ...], fa: str, en: str
) -> None:
    cache = await ranking_cache(simulated(per_mille, *whole))
    async with running_client(app_of(cache)) as client:
        for path in PAGES:
            for lang, words in (("fa", fa), ("en", en)):
                text = await page(client, path, lang)
                assert words in text[text.index('class="sim"') : text.index('<header class="mast')], (path, lang)


async def test_files_and_api_have_the_scale_of_each_province() -> None:
    cache = await ranking_cache(simulated(40, "IR-20"))
    async with running_client(app_of(cache)) as client:
        for path in RESPONSES:
            assert (await client.get(path)).json()["simulated"] == {"scale": "1/25", "whole": ["IR-20"]}
        for path in FILES:
            for line in lines(await client.get(path)):
                assert line["simulated_scale"] == ("1/1" if line["province"] == "IR-20" else "1/25")


async def test_the_figures_of_a_real_round_have_no_banner() -> None:
    async with running_client(app_of(await ranking_cache())) as client:
        for path in PAGES:
            assert 'class="sim"' not in await page(client, path, "fa")
        for path in RESPONSES:
            assert (await client.get(path)).json()["simulated"] is None
        for path in FILES:
            assert {line["simulated_scale"] for line in lines(await client.get(path))} == {""}
