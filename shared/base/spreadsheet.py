"""CSV files as people's spreadsheets read and write them."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

MAX_ROW = 64 << 10  # characters
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters for which a spreadsheet computes a cell
MAX_BLANK = 1_000  # blank rows of a file; some spreadsheets write them to their last row


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


def rows_of(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of each row that has content; the first row of the file is 1, and is the header.

    UTF-8 with or without a byte order mark, lines of any system. Blank rows and rows of separators only are left out,
    and so is the apostrophe before a cell, by which a spreadsheet marks digits as text (`'0012345678`).

    Raise UnicodeDecodeError, csv.Error.
    """
    blank, lines = 0, _Lines(content)
    for number, cells in enumerate(csv.reader(lines, strict=True), 1):
        lines.of_row = 0
        if any(cell and not cell.isspace() for cell in cells):
            yield number, [cell.strip().removeprefix("'") for cell in cells]
        elif (blank := blank + 1) > MAX_BLANK:
            raise csv.Error(f"more than {MAX_BLANK} blank rows")


def csv_of(rows: Iterable[Sequence[str]]) -> bytes:
    """Return a CSV file that a spreadsheet opens as UTF-8 and computes nothing of; `rows_of` reads the same cells."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(
        [f"'{cell}" if cell.startswith((*FORMULA, "'")) else cell for cell in row] for row in rows
    )
    return text.getvalue().encode("utf-8-sig")
