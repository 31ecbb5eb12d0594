"""CSV files as people's spreadsheets write them."""

import csv
import io
from collections.abc import Iterator

MAX_BLANK = 1_000  # blank rows of a file; some spreadsheets write them to their last row


def rows_of(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of each row that has content; the first row of the file is 1, and is the header.

    UTF-8 with or without a byte order mark, lines of any system. Blank rows and rows of separators only are left out,
    and so is the apostrophe before a cell, by which a spreadsheet marks digits as text (`'0012345678`).

    Raise UnicodeDecodeError, csv.Error.
    """
    blank = 0
    for number, cells in enumerate(
        csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline=""), strict=True), 1
    ):
        if any(cell and not cell.isspace() for cell in cells):
            yield number, [cell.strip().removeprefix("'") for cell in cells]
        elif (blank := blank + 1) > MAX_BLANK:
            raise csv.Error(f"more than {MAX_BLANK} blank rows")
