"""XLSX files: the same columns and checks as CSV; zeros that a spreadsheet lost come back; hostile ones end early."""

import tracemalloc
from collections.abc import AsyncIterator, Callable
from datetime import date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest

from contracts.commands import Refused
from registration.api import xlsx
from registration.api.xlsx import XLSX, rows_of
from registration.domain.application import COLUMNS
from tests.support.registration_api import RegistrationApi, a_national_id, csv_file, registration_api
from tests.support.workbooks import as_workbook, with_part, workbook

PATH = "/v1/rounds/1404/applications/import"
SHEET = "xl/worksheets/sheet1.xml"
START = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        await running.open_round()
        yield running


async def send(api: RegistrationApi, content: bytes, key: str = "key-file", **options: Any) -> httpx.Response:
    headers = {"Content-Type": XLSX}
    return await api.request("POST", PATH, key=key, content=content, headers=headers, **options)


async def test_a_workbook_registers_the_same_people_as_its_csv(api: RegistrationApi) -> None:
    """Digits are numbers there, so that mobiles, counties and one national ID have lost their zeros."""
    file = csv_file(range(1, 30), province="IR-03", county="0302")
    content = as_workbook(file)
    assert b"0302" not in ZipFile(BytesIO(content)).read(SHEET)
    refused = await send(api, content, scope="IR-20")
    assert {each["code"] for each in refused.json()["errors"]} == {"scope_other"}, "and nothing else is wrong"
    done = await send(api, content, scope="IR-03")
    assert done.status_code == 200 and done.json()["registered"] == 29, done.text
    assert [each["row"] for each in done.json()["applications"]] == list(range(2, 31))
    again = await api.request("POST", PATH, csv=file, key="key-of-csv", scope="IR-03")
    assert again.json()["already_registered"] == 29, "the same people, by national ID"
    opened = await api.persons.open(await api.applicants())
    assert {each["mobile"] for each in opened.values()} == {f"+98900{serial:07d}" for serial in range(1, 30)}


async def test_errors_name_the_row_as_the_spreadsheet_numbers_it(api: RegistrationApi) -> None:
    header, first, second = csv_file(range(1, 3)).splitlines()
    rows: list[list[Any]] = [
        header.split(","),
        [None],
        first.split(","),
        [None, ""],
        second.replace("female", "x").split(","),
    ]
    refused = await send(api, workbook(rows))
    assert {(e["row"], e["field"]) for e in refused.json()["errors"]} == {(5, "sex")}
    unknown = await send(api, workbook([["name"], ["x"]]))
    assert unknown.json()["code"] == "columns_unknown"
    wide = await send(api, workbook([header.split(","), [*first.split(","), "more"]]))
    assert [(e["row"], e["code"]) for e in wide.json()["errors"]] == [(2, "row_invalid")]
    long = await send(api, workbook([header.split(","), [first.split(",")[0], "x" * 5_000]]))
    assert [(e["row"], e["code"]) for e in long.json()["errors"]] == [(2, "too_long")]
    assert not await api.applicants()


def test_cells_are_the_text_that_a_person_would_type() -> None:
    typed: list[Any] = [
        9990000018,
        9120000018.0,
        "'0012",
        " a ",
        date(1989, 7, 5),
        datetime(1989, 7, 5),
        True,
        1.5,
        None,
        "b",
    ]
    (number, cells), *more = rows_of(workbook([typed, [None, "", " "]], [["of another sheet"]]))
    assert (number, more) == (1, [])
    assert cells == ["9990000018", "9120000018", "0012", "a", "1989-07-05", "1989-07-05", "TRUE", "1.5", "", "b"]


def test_of_a_formula_the_stored_result_counts() -> None:
    row = '<row r="1"><c r="A1"><f>1+1</f><v>2</v></c><c r="B1"><f>HYPERLINK("http://x")</f></c><c r="C1"><v>3</v></c>'
    changed = with_part(workbook([["a"]]), SHEET, f"{START}{row}</row></sheetData></worksheet>".encode())
    assert list(rows_of(changed)) == [(1, ["2", "", "3"])]


def test_rows_may_have_a_prefix() -> None:
    rows = "".join(f'<x:row r="{n}"><x:c r="A{n}"><x:v>{n}</x:v></x:c></x:row>' for n in range(1, 3_001))
    start = '<x:worksheet xmlns:x="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><x:sheetData>'
    changed = with_part(workbook([["a"]]), SHEET, f"{start}{rows}</x:sheetData></x:worksheet>".encode())
    assert len(list(rows_of(changed))) == 3_000


PLAIN = workbook([["a"], ["b"]])
ENTITIES = '<!DOCTYPE x [<!ENTITY a "0123456789"><!ENTITY b "&a;&a;&a;&a;">]>'
STRING = '<row r="1"><c r="A1" t="{}"><v>{}</v></c></row>'


def sheet(body: str, before: str = "") -> bytes:
    """Return a workbook whose first sheet has this body."""
    return with_part(PLAIN, SHEET, f"{before}{START}{body}</sheetData></worksheet>".encode())


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {  # each with the code of its refusal
    "unpacks to 65 MB": (lambda: with_part(PLAIN, "xl/other.xml", bytes(65 << 20)), "workbook_too_large"),
    "many tags": (lambda: sheet("<x/>" * (xlsx.MAX_TAGS + 1)), "workbook_too_large"),
    "a row of many cells": (lambda: sheet(f"<row>{'<c/>' * 5_000}</row>"), "workbook_too_large"),
    "a row of many cells, hidden": (lambda: sheet(f"<row>{'<c/><!--<row-->' * 5_000}</row>"), "workbook_unreadable"),
    "many styles": (lambda: with_part(PLAIN, "xl/styles.xml", b"<xf/>" * 60_000), "workbook_too_large"),
    "many strings": (
        lambda: with_part(PLAIN, "xl/sharedStrings.xml", b"<si/>" * (xlsx.MAX_SHARED_TAGS + 1)),
        "workbook_too_large",
    ),
    "a large theme": (lambda: with_part(PLAIN, "xl/theme/theme1.xml", b" " * (5 << 20)), "workbook_too_large"),
    "many parts": (lambda: many_parts(PLAIN), "workbook_too_large"),
    "entities": (lambda: sheet(STRING.format("str", "&b;"), ENTITIES), "workbook_unreadable"),
    "entities in UTF-16": (
        lambda: with_part(PLAIN, SHEET, f"{ENTITIES}{START}</sheetData></worksheet>".encode("utf-16")),
        "workbook_unreadable",
    ),
    "an encoding that hides": (lambda: sheet("", "<?xml version='1.0' encoding='cp037'?>"), "workbook_unreadable"),
    "a cell in the last row": (
        lambda: sheet('<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'),
        "workbook_unreadable",
    ),
    "a row number without end": (
        lambda: sheet(f'<row r="{"9" * 5_000}"><c><v>1</v></c></row>'),
        "workbook_unreadable",
    ),
    "a string that is not there": (lambda: sheet(STRING.format("s", 7)), "workbook_unreadable"),
    "an unclosed sheet": (lambda: with_part(PLAIN, SHEET, f"{START}<row/>".encode()), "workbook_unreadable"),
    "no sheet": (lambda: with_part(PLAIN, "xl/workbook.xml", b"<workbook/>"), "workbook_unreadable"),
    "cut off": (lambda: PLAIN[: len(PLAIN) // 2], "workbook_unreadable"),
    "an old XLS, or with a password": (lambda: xlsx.COMPOUND + bytes(2_000), "workbook_unreadable"),
}


def many_parts(content: bytes) -> bytes:
    """Return a workbook with more parts than are read."""
    written = BytesIO(content)
    with ZipFile(written, "a") as archive:
        for n in range(xlsx.MAX_PARTS):
            archive.writestr(f"x{n}", b"")
    return written.getvalue()


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_or_damaged_workbook_is_refused_early(case: str) -> None:
    make, code = HOSTILE[case]
    content = make()
    tracemalloc.start()
    with pytest.raises(Refused) as refused:
        list(rows_of(content))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused.value.code == code
    assert most < 24 << 20, "bytes"


async def test_a_refused_workbook_is_a_problem_with_what_to_do(api: RegistrationApi) -> None:
    refused = await send(api, b"PK\x03\x04 and nothing else")
    assert refused.status_code == 422 and refused.json()["code"] == "workbook_unreadable", refused.text
    assert "XLSX" in refused.json()["detail_fa"]
    large = await send(api, with_part(workbook([list(COLUMNS)]), "x", bytes(65 << 20)), key="key-large")
    assert large.status_code == 413 and a_national_id(1) not in large.text
