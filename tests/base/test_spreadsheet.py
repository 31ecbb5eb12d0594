"""CSV files as spreadsheets write them: byte order mark, CRLF, blank rows, digits marked as text."""

import csv

import pytest

from base.spreadsheet import MAX_BLANK, MAX_ROW, rows_of

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
        PLAIN.replace(b"001", b"'001"),
        PLAIN.replace(b"0012345678", b'" \'0012345678 "'),
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
