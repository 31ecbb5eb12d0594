"""XLSX files of applications, as a spreadsheet writes them."""

from collections.abc import Iterable
from io import BytesIO
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from openpyxl import Workbook, load_workbook


def workbook(rows: Iterable[Iterable[Any]], *other_sheets: Iterable[Iterable[Any]]) -> bytes:
    """Return a workbook of these sheets; values are typed as they are given."""
    book = Workbook(write_only=True)
    for n, sheet in enumerate((rows, *other_sheets), 1):
        page = book.create_sheet(f"sheet {n}")
        for row in sheet:
            page.append(list(row))
    written = BytesIO()
    book.save(written)
    return written.getvalue()


def as_workbook(csv: str) -> bytes:
    """Return a CSV file without quotes as a workbook in which digits are numbers, without zeros at the start."""
    return workbook(
        [int(cell) if cell.isascii() and cell.isdigit() else cell for cell in line.split(",")]
        for line in csv.splitlines()
    )


def with_part(content: bytes, name: str, part: bytes) -> bytes:
    """Return a workbook with a part replaced or added."""
    written = BytesIO()
    with ZipFile(BytesIO(content)) as archive, ZipFile(written, "w", ZIP_DEFLATED) as changed:
        for each in archive.namelist():
            if each != name:
                changed.writestr(each, archive.read(each))
        changed.writestr(name, part)
    return written.getvalue()


def sheet_of(content: bytes) -> list[list[Any]]:
    """Return the values of the first sheet."""
    return [list(row) for row in load_workbook(BytesIO(content)).worksheets[0].iter_rows(values_only=True)]
