"""CSV and XLSX files: read completely before anything is stored; errors name the row and the field."""

import csv
from collections.abc import Iterator, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from base import spreadsheet
from contracts.commands import Refused
from registration.api import xlsx
from web.problems import error, problem, request_id, respond

MAX_ERRORS = 1_000  # in one response, which counts all of them
MAX_CELL = 200  # characters

Row = Mapping[str, str]


class RowsInvalid(Exception):
    """Rows of a file are invalid, so nothing was stored; `errors` are pairs of row and refusal."""

    def __init__(self, errors: Sequence[tuple[int, Refused]]) -> None:
        super().__init__(f"{len(errors)} invalid values")
        self.errors = errors

    def response(self, request: Request) -> Response:
        """Return the problem that names rows and fields."""
        count = len({row for row, _ in self.errors})
        body = problem("rows_invalid", instance=request_id(request), count=count)
        shown = self.errors[:MAX_ERRORS]
        body["errors"] = [{"row": row, **error(each.field, each.code, **each.details)} for row, each in shown]
        return respond(request, body)


Lines = Iterator[tuple[int, Sequence[str]]]  # number and cells


def lines_of(content: bytes) -> Lines:
    """Return the rows of a CSV file in UTF-8, or of the first sheet of a workbook, with their numbers.

    Opening a large workbook takes a second: call this in a thread. Raise Refused: workbook_unreadable,
    workbook_too_large.
    """
    return xlsx.rows_of(content) if xlsx.is_workbook(content) else spreadsheet.rows_of(content)


def read_rows(lines: Lines, columns: Mapping[str, str], limit: int) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a file, each with its number; the header is row 1, and blank rows are left out.

    `columns` maps the columns to the names of their fields. The header has each column once, in any order, under either
    name. Raise Refused: malformed, columns_unknown, batch_too_long, and those of a workbook; RowsInvalid if cells are
    too many or too long.
    """
    try:
        header = [columns.get(name, name) for name in next(lines, (1, list[str]()))[1]]
        if sorted(header) != sorted(columns.values()):
            raise Refused("columns_unknown", field="header", columns=", ".join(columns))
        for n, (row, cells) in enumerate(lines, 1):
            if n > limit:
                raise Refused("batch_too_long", limit=limit)
            if len(cells) > len(header):
                raise RowsInvalid([(row, Refused("row_invalid", field="row", row=row))])
            long = [name for name, cell in zip(header, cells, strict=False) if len(cell) > MAX_CELL]
            if long:
                raise RowsInvalid([(row, Refused("too_long", field=name, limit=MAX_CELL)) for name in long])
            yield row, dict(zip(header, cells, strict=False))
    except (UnicodeDecodeError, csv.Error) as e:
        raise Refused("malformed") from e
