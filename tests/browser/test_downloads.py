"""The CSV beside a table equals the table."""

import asyncio
import csv
import io
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from programme.reference import provinces
from programme.text import number
from tests.browser.small_round import SEMNAN
from tests.browser.visitor import Visitor

pytestmark = [pytest.mark.server, pytest.mark.web, pytest.mark.asyncio(loop_scope="session")]

TERMS = {
    "1": (("registered", "quota"), ("screened", "registered"), ("screened_in_time", "screening_due")),
    "2": (("admitted", "quota"), ("identified", "admitted"), ("identified_in_time", "capacity_due")),
    "3": (("connected", "quota"), ("connected", "identified"), ("sustained", "sustainable")),
}


async def download(visitor: Visitor) -> list[dict[str, str]]:
    """Download the CSV and read it as a spreadsheet does."""
    async with visitor.page.expect_download() as download_info:
        await visitor.page.get_by_role("link", name="CSV").click()
    file = await download_info.value
    assert file.suggested_filename.endswith(".csv")
    raw = await asyncio.to_thread(Path(await file.path()).read_bytes)
    assert raw.startswith(b"\xef\xbb\xbf")  # so that spreadsheets read the names
    return list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"))))


def decimals(shown: str) -> int:
    """Return the number of decimals of a number as written."""
    return -int(Decimal(shown).as_tuple().exponent)


def fa(shown: str) -> str:
    """Return a number as a Persian page shows it."""
    return number(Decimal(shown), "fa", decimals(shown))


@pytest.mark.parametrize("table", ["composite", "1", "2", "3"])
async def test_the_csv_of_a_table_equals_the_table(visitor: Visitor, table: str) -> None:
    page = visitor.page
    await visitor.go(f"/ranking?table={table}")
    rows = page.locator("#rows tr")
    lines = await download(visitor)
    assert len(lines) == await rows.count() == 31
    for n, line in enumerate(lines):
        row = rows.nth(n)
        assert await row.get_attribute("data-province") == line["province"]
        cells = await row.locator("td, th").all_inner_texts()
        cells[2] = cells[2].partition("\n")[0]  # a note at rows that a tie rule placed
        assert await row.get_attribute("data-rank") == line["rank"]
        assert line["name_fa"] in cells[1]
        if not line["rank"]:
            assert line["unranked"] == "no_quota" and cells[0].strip() == "–"
            continue
        assert cells[0].split()[0] == number(int(line["rank"]), "fa")
        assert cells[2].strip() == fa(line["value"])
        shown = " ".join(" ".join(cells[3:]).split())
        for numerator, denominator in TERMS.get(table, (("connected", "quota"),)):
            assert f"{number(int(line[numerator]), 'fa')} از {number(int(line[denominator]), 'fa')}" in shown, (
                line["province"],
                shown,
            )
    assert {line["as_of"] for line in lines} == {lines[0]["as_of"]} and int(lines[0]["events"]) > 300


async def test_the_csv_of_a_province_equals_its_page(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.go(f"/provinces/{SEMNAN}")
    table = page.get_by_role("table").filter(has_text="گرفته از وزن")
    shown = " ".join((await table.inner_text()).split())
    lines = await download(visitor)
    assert len(lines) == 11 and {line["province"] for line in lines} == {SEMNAN}
    for line in lines:
        assert line["name_fa"] in shown
        assert f"{number(int(line['numerator']), 'fa')} از {number(int(line['denominator']), 'fa')}" in shown
        if line["dropped"] == "0":
            assert number(Fraction(line["contribution"]), "fa", 3) in shown


async def test_the_nationwide_funnel_is_the_sum_over_the_provinces(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.go("/")
    shown = await page.locator(".funnel .val").all_inner_texts()
    lines = await download(visitor)
    assert len(lines) == len(provinces())
    names = ("registered", "screened", "admitted", "identified", "connected", "sustained")
    assert shown == [number(sum(int(line[name]) for line in lines), "fa") for name in names]
    assert all(sum(int(line[name]) for line in lines) for name in names)  # applicants at every stage
