"""XLSX files as people's spreadsheets write them: the first sheet as rows of text, like those of `base.spreadsheet`.

A small file can be unpacked into a very large one, and a cell can claim to be in the last row of the last column, so
that a reader which builds whole sheets ends the process. Hence the parts are measured before any is read, and the
sheet is read row by row.
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from io import BytesIO
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

from base.spreadsheet import MAX_BLANK
from contracts.commands import Refused

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ZIPPED, COMPOUND = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"  # first bytes; a compound file is an XLS or has a password
MAX_UNPACKED = 64 << 20  # bytes of all parts; 50,000 rows have about 30 MB
MAX_OTHER_PARTS = 4 << 20  # bytes of the parts that are read as a whole: styles, themes, properties
MAX_PARTS = 1_000
MAX_TAGS = 4_000_000  # of all parts; 50,000 rows have 2.6 million
MAX_ROW_TAGS = 4_000  # of one row: the reader builds it whole
MAX_SHARED_TAGS = 1_500_000  # of the shared strings, which the reader builds whole as well
MAX_OTHER_TAGS = 50_000  # of the parts that are read as a whole
MAX_COLUMNS = 200

_ENCODING = re.compile(rb"""^[^>]*encoding\s*=\s*["'](?!utf-?8["'])""", re.IGNORECASE)
_STREAMED = re.compile(r"/(?:worksheets/[^/]*|sharedStrings)\.xml$", re.IGNORECASE)
_SHEET = re.compile(r"/worksheets/[^/]*\.xml$", re.IGNORECASE)
_ROW = re.compile(rb"<(?:[\w.-]+:)?row\b")  # some programs write a prefix
_UTF_16 = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")
_PIECE = 1 << 16
_DOCTYPE = b"<!DOCTYPE"


def is_workbook(content: bytes) -> bool:
    """Return whether this is a workbook, of whatever kind, and no text."""
    return content.startswith((ZIPPED, COMPOUND))


def rows_of(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Return number and cells of each row of the first sheet that has content, as the spreadsheet numbers them.

    The workbook is opened at once, which may take a second; the rows are read as they are needed. Of a formula the
    stored result counts. Numbers have no exponent, dates are Gregorian ones in ISO 8601.
    Raise Refused: workbook_unreadable, workbook_too_large; the rows raise the same.
    """
    from openpyxl import load_workbook

    warnings.filterwarnings("ignore", module=r"openpyxl\.")  # about styles and extensions that no one needs here
    try:
        _check_parts(content)
        book = load_workbook(BytesIO(content), read_only=True, data_only=True, keep_links=False)
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # a file may state any
    except Refused:
        raise
    except Exception as e:  # the library raises whatever its parts meet in a damaged file
        raise Refused("workbook_unreadable") from e
    return _rows(sheet)


def workbook_of(rows: Iterable[Sequence[str]]) -> bytes:
    """Return a workbook with these rows as text, from right to left: nothing is computed, and no zero is lost."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.sheet_view.rightToLeft = True
    for row in rows:
        written = []
        for text in row:
            cell = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("", text))
            cell.data_type, cell.number_format = "s", "@"
            written.append(cell)
        sheet.append(written)
    content = BytesIO()
    book.save(content)
    return content.getvalue()


def _rows(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    blank = 0
    try:
        for number, values in enumerate(sheet.iter_rows(values_only=True), 1):
            cells = [_text(each) for each in values[: MAX_COLUMNS + 1]]
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                yield number, cells
            elif (blank := blank + 1) > MAX_BLANK:
                raise Refused("workbook_unreadable")
    except Refused:
        raise
    except Exception as e:  # as above: sheets are parsed as they are read
        raise Refused("workbook_unreadable") from e


def _text(value: Any) -> str:
    """Return the text of a cell as a person would type it."""
    match value:
        case None:
            return ""
        case str():
            return value.strip().removeprefix("'")
        case bool():
            return str(value).upper()
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case date() | time():
            return value.isoformat()
    return str(value)


def _check_parts(content: bytes) -> None:
    """Measure and look through the parts. Raise Refused, BadZipFile and others.

    The XML parser expands entities, which only a document type can declare; one in another encoding would hide it.
    """
    if not content.startswith(ZIPPED):
        raise BadZipFile
    too_large = Refused("workbook_too_large", limit=MAX_UNPACKED >> 20)
    tags, size, others, other_tags = 0, 0, 0, 0
    with ZipFile(BytesIO(content)) as archive:
        parts = archive.infolist()
        too_many = len(parts) > MAX_PARTS or sum(each.file_size for each in parts) > MAX_UNPACKED
        if too_many or len({each.filename for each in parts}) < len(parts):
            raise too_large
        for part in parts:
            with archive.open(part) as unpacked:
                size = _tags(unpacked, MAX_TAGS - tags, part.filename, too_large)
            tags += size
            if not _STREAMED.search(part.filename):
                others, other_tags = others + part.file_size, other_tags + size
            if others > MAX_OTHER_PARTS or other_tags > MAX_OTHER_TAGS:
                raise too_large


def _tags(part: IO[bytes], most: int, name: str, too_large: Refused) -> int:
    """Return how many tags a part has. Raise Refused: more, or more between two rows of a sheet, or a document type."""
    tags, of_row, before = 0, 0, b""
    most = min(most, MAX_SHARED_TAGS) if name.endswith("haredStrings.xml") else most
    is_sheet = bool(_SHEET.search(name))
    while piece := part.read(_PIECE):
        other_encoding = not before and (piece.startswith(_UTF_16) or _ENCODING.match(piece))
        hiding = _DOCTYPE[:2] if _STREAMED.search(name) else _DOCTYPE  # a comment could hide where rows begin
        if other_encoding or hiding in before[-len(_DOCTYPE) :] + piece:
            raise Refused("workbook_unreadable")
        first, *rows = _ROW.split(piece) if is_sheet else (piece,)
        longest = max([of_row + first.count(b"<"), *(each.count(b"<") for each in rows)])
        of_row = rows[-1].count(b"<") if rows else of_row + first.count(b"<")
        before, tags = piece, tags + piece.count(b"<")
        if tags > most or (is_sheet and longest > MAX_ROW_TAGS):
            raise too_large
    return tags
