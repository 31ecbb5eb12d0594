"""The tables of docs/security.md and docs/asvs.md: rows, and whether the evidence that they name exists."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from tests.house.sources import ROOT, Source

TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
LINE = re.compile(r"`([\w./-]+)` has `([^`]+)`")
REASON_WORDS = 4
WITHOUT_TEST = ("not defended: ", "by configuration: ", "not applicable: ", "not met: ")


class Row(NamedTuple):
    """A row of a table."""

    line: int
    cells: tuple[str, ...]

    @property
    def evidence(self) -> str:
        """Return the last cell: tests, lines of files, or why there is none."""
        return self.cells[-1]


def rows(page: str, columns: int) -> Iterator[Row]:
    """Yield the rows of all tables of a page that have so many columns, without their headers."""
    header = True
    for number, line in enumerate(page.splitlines(), 1):
        cells = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
        if not line.startswith("|"):
            header = True
        elif set(line) <= set("|-: "):
            header = False
        elif not header and len(cells) == columns:
            yield Row(number, cells)


def evidence_errors(row: Row, *, reason_suffices: bool) -> list[str]:
    """Return what is wrong with the evidence of a row; a reason instead of a test may not suffice."""
    tests, lines = TEST.findall(row.evidence), LINE.findall(row.evidence)
    found = [f"{path}::{name} does not exist" for path, name in tests if name not in _tests(path)]
    found += [f"{path} has no {text!r}" for path, text in lines if text not in _text(path)]
    if not tests and not lines:
        reason = next((row.evidence.removeprefix(each) for each in WITHOUT_TEST if row.evidence.startswith(each)), "")
        if not reason_suffices or len(reason.split()) < REASON_WORDS:
            found.append(f"names no test{' and no reason' if reason_suffices else ''}: {row.evidence!r}")
    return [f"line {row.line}: {each}" for each in found]


@cache
def _tests(path: str) -> frozenset[str]:
    """Return the test functions that a file defines."""
    if not (ROOT / path).is_file():
        return frozenset()
    tree = Source(path, _text(path)).tree
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@cache
def _text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).is_file() else ""
