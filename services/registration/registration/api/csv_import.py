"""CSV and XLSX files: read completely before anything is stored; errors name the row and the field."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from starlette.requests import Request
from starlette.responses import Response

from base import spreadsheet
from contracts.commands import Refused
from registration.api import xlsx
from registration.domain.application import REASON
from web.problems import error, problem, request_id, respond

MAX_ERRORS = 1_000  # in one response, which counts all of them
MAX_CELL = 200  # characters
REASONS = (REASON.fa, REASON.en)  # headers of the column that a file of refused rows has

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


class Table:
    """The rows of a file that has a header with each column once, in any order; iterating yields number and cells.

    `columns` maps the columns to the names of their fields, and either may stand in the header. A column of reasons,
    which a file of refused rows has, is left out. Row 1 is the header; blank rows are left out.
    """

    def __init__(self, lines: Lines, columns: Mapping[str, str], limit: int) -> None:
        """Read the header; `limit` is the most rows. Raise Refused: malformed, columns_unknown, and of a workbook."""
        self.lines, self.limit = lines, limit
        with _text_errors():
            header = next(lines, (1, list[str]()))[1]
        self.kept = [n for n, name in enumerate(header) if name not in REASONS]
        self.header = [header[n] for n in self.kept]
        self.names = [columns.get(name, name) for name in self.header]
        self.width = len(header)
        if sorted(self.names) != sorted(columns.values()):
            raise Refused("columns_unknown", field="header", columns=", ".join(columns))

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Yield number and cells of each row. Raise Refused: malformed, batch_too_long, and of a workbook."""
        with _text_errors():
            for n, (row, cells) in enumerate(self.lines, 1):
                if n > self.limit:
                    raise Refused("batch_too_long", limit=self.limit)
                kept = [cells[n] for n in self.kept if n < len(cells)]
                yield row, [*kept, *cells[self.width :]]

    def answers(self, row: int, cells: Sequence[str]) -> Row:
        """Return the cells of a row by field. Raise Refused if they are too many or too long."""
        if len(cells) > len(self.names):
            raise Refused("row_invalid", field="row", row=row)
        for name, cell in zip(self.names, cells, strict=False):
            if len(cell) > MAX_CELL:
                raise Refused("too_long", field=name, limit=MAX_CELL)
        return dict(zip(self.names, cells, strict=False))


def read_rows(lines: Lines, columns: Mapping[str, str], limit: int) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a file by field, each with its number. Raise what Table raises, and RowsInvalid."""
    table = Table(lines, columns, limit)
    for row, cells in table:
        try:
            answers = table.answers(row, cells)
        except Refused as refused:
            raise RowsInvalid([(row, refused)]) from refused
        yield row, answers


@contextmanager
def _text_errors() -> Iterator[None]:
    try:
        yield
    except (UnicodeDecodeError, csv.Error) as e:
        raise Refused("malformed") from e
