"""CSV files as spreadsheets write them: byte order mark, CRLF, blank rows, digits marked as text."""

import csv
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.spreadsheet import MAX_BLANK, MAX_ROW, SEPARATORS, csv_of, rows_of

PLAIN = b"id,name\n0012345678,b\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        PLAIN.rstrip(),
        PLAIN + b"\n\n\n",
        PLAIN + b",\n , \n\t,\n",
        PLAIN + '"",\n\u00a0,\n'.encode(),
        PLAIN.replace(b",", b";"),
        b"\xef\xbb\xbf" + PLAIN.replace(b",", b"\t"),
        PLAIN.replace(b"001", b"'001"),
        PLAIN.replace(b"0012345678", b'" \'0012345678 "'),
        csv_of([["id", "name"], ["0012345678", "b"]]),
    ],
)
def test_the_same_rows_are_read_from_every_spelling(content: bytes) -> None:
    assert list(rows_of(content)) == [(1, ["id", "name"]), (2, ["0012345678", "b"])]


def test_rows_are_numbered_as_in_the_spreadsheet() -> None:
    assert [number for number, _ in rows_of(b"a,b\n\n1,2\n,\n3,4\n")] == [1, 3, 5]
    assert list(rows_of(b"a,b\n'','x\n")) == [(1, ["a", "b"]), (2, ["'", "x"])], "one apostrophe is the mark"


def test_a_file_is_not_searched_for_rows_without_end() -> None:
    assert len(list(rows_of(PLAIN + b",\n" * MAX_BLANK))) == 2
    with pytest.raises(csv.Error, match="blank rows"):
        list(rows_of(PLAIN + b",\n" * (MAX_BLANK + 1)))
    with pytest.raises(UnicodeDecodeError):
        list(rows_of(b"\xff\xfe"))


@pytest.mark.parametrize("row", [b"," * (MAX_ROW + 1), b'"\n",' * MAX_ROW], ids=["one line", "many lines"])
def test_a_row_is_not_split_into_cells_without_end(row: bytes) -> None:
    with pytest.raises(csv.Error, match="a row of more than"):
        list(rows_of(b"a,b\n1,2\n" + row))


_HOSTILE = st.text(st.sampled_from("=+-@'\";,\t\r\n xب"), max_size=12).map(str.strip)


@given(cells=st.lists(_HOSTILE, min_size=1, max_size=4), written=st.sampled_from(SEPARATORS))
def test_what_is_written_is_read_again_and_computed_by_no_spreadsheet(cells: list[str], written: str) -> None:
    """Nor by one that splits at another separator than the file was written with."""
    content = csv_of([["header"] * 4, [*cells, "end"]], written)
    assert list(rows_of(content))[1] == (2, [*cells, "end"])
    for separator in SEPARATORS:
        rows = csv.reader(StringIO(content.decode("utf-8-sig"), newline=""), delimiter=separator)
        assert not [cell for row in rows for cell in row if cell.strip(" ").startswith(("=", "+", "-", "@"))]


def test_a_cell_of_separators_is_written_at_once() -> None:
    assert len(csv_of([["\n" * MAX_ROW + ";" * MAX_ROW + " " * MAX_ROW]])) > 3 * MAX_ROW
