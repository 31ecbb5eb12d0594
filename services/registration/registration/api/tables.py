"""Files of rows: read whole, faults named by the line of the file and the field."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from contracts.commands import Refused
from web.problems import error, problem, request_id, respond

FAULTS_TOLD = 1_000  # of one file; its answer counts all of them

Row = Mapping[str, str]


class RowsInvalid(Exception):
    """Rows of a file have faults, so nothing of it was taken."""

    def __init__(self, faults: Sequence[tuple[int, Refused]]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults

    def response(self, request: Request) -> Response:
        """The problem that names rows and fields."""
        count = len({n for n, _ in self.faults})
        body = problem("rows_invalid", instance=request_id(request), count=count)
        told = self.faults[:FAULTS_TOLD]
        body["errors"] = [{"row": n, **error(each.field, each.code, **each.details)} for n, each in told]
        return respond(request, body)


def rows(body: bytes, columns: Sequence[str], also: Mapping[str, str], most: int) -> Iterator[tuple[int, Row]]:
    """The rows of a CSV file in UTF-8, each with its line (the header is 1); `also` names a column's other name.

    Raises Refused: malformed, columns_unknown, batch_too_long; RowsInvalid where a row has more cells than columns.
    """
    try:
        reader = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        header = [also.get(name.strip(), name.strip()) for name in next(reader, [])]
        if sorted(header) != sorted(columns):
            raise Refused("columns_unknown", field="header", columns=", ".join(columns))
        for n, cells in enumerate((line for line in reader if line), 2):
            if n - 1 > most:
                raise Refused("batch_too_long", limit=most)
            if len(cells) > len(header):
                raise RowsInvalid([(n, Refused("row_invalid", field="row", row=n))])
            yield n, dict(zip(header, cells, strict=False))
    except (UnicodeDecodeError, csv.Error) as e:
        raise Refused("malformed") from e
