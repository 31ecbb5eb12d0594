"""CSV files as people's spreadsheets read and write them."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

MAX_ROW = 64 << 10  # characters
MAX_BLANK = 1_000  # blank rows of a file; some spreadsheets write them to their last row
SEPARATORS = ",;\t"  # of cells; which one a spreadsheet uses depends on the language of the system

_COMPUTED = re.compile(r"(^'|^(?=[=+\-@\t\r])|[,;\t\r\n][ \x22]*(?='*[=+\-@]))")  # where a cell begins that is computed
_MARKED = re.compile(r"([,;\t\r\n][ \x22]*)'(?='*[=+\-@])")


class _Lines:
    """The lines of a file, as long as those of one row are not too long: cells are counted only afterwards."""

    def __init__(self, content: bytes) -> None:
        self.lines, self.of_row = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline=""), 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.of_row += len(line)
        if self.of_row > MAX_ROW:
            raise csv.Error(f"a row of more than {MAX_ROW} characters")
        return line


def separator_of(content: bytes) -> str:
    """Return what separates the cells of a CSV file: of SEPARATORS the one that its first line has most often."""
    header = content.lstrip(b"\xef\xbb\xbf\r\n").splitlines()[:1]
    return max(SEPARATORS, key=lambda each: header[0].count(each.encode())) if header else SEPARATORS[0]


def rows_of(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of each row that has content; the first row of the file is 1, and is the header.

    UTF-8 with or without a byte order mark, lines of any system, cells between commas, semicolons or tabs. Blank rows
    and rows of separators only are left out, and so is the apostrophe before a cell, by which a spreadsheet marks
    digits as text (`'0012345678`).

    Raise UnicodeDecodeError, csv.Error.
    """
    blank, lines = 0, _Lines(content)
    for number, cells in enumerate(csv.reader(lines, delimiter=separator_of(content), strict=True), 1):
        lines.of_row = 0
        if any(cell and not cell.isspace() for cell in cells):
            yield number, [_unmarked(cell.strip()) for cell in cells]
        elif (blank := blank + 1) > MAX_BLANK:
            raise csv.Error(f"more than {MAX_BLANK} blank rows")


def csv_of(rows: Iterable[Sequence[str]], separator: str = ",") -> bytes:
    """Return a CSV file that a spreadsheet opens as UTF-8 and computes nothing of; `rows_of` reads the same cells.

    A spreadsheet of another language splits cells at another separator, quoted or not: what would be computed then is
    marked as text as well.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerows([_COMPUTED.sub(r"\1'", cell) for cell in row] for row in rows)
    return text.getvalue().encode("utf-8-sig")


def _unmarked(cell: str) -> str:
    """Return a cell without the marks of text."""
    return _MARKED.sub(r"\1", cell.removeprefix("'")) if "'" in cell else cell
