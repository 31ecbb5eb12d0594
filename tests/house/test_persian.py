"""Persian texts have one place for each kind. Which words they use: test_glossary.py."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest

from tests.house.sources import Source, assert_none, code

LETTERS = re.compile("[\u0621-\u065f\u066e-\u06d3\u06fa-\u06ff]")  # no digits, no punctuation
# Modules that may hold Persian text, and why.
PERMITTED = {
    "shared/programme/*": "messages, reference data, the calendar and the letters themselves",
    "shared/contracts/codes.py": "the labels of the codes",
    "services/*/pages/texts.py": "texts that several pages, or code, use",
    "services/registration/registration/domain/application.py": "a field stands once, with its label and example",
    "services/registration/registration/domain/consent.py": "the consent texts, by version: what was accepted",
    "services/reporting/reporting/domain/terms.py": "the names of the terms, on pages and in CSV files",
    "services/reporting/reporting/domain/columns.py": "the names of the columns of CSV files, in the data dictionary",
    "services/market/market/schemas.py": "an example of the API description",
    "deploy/peyvand/peyvand/simulation/*": "names of synthetic people and enterprises",
}


def persian_literals(source: Source) -> Iterator[str]:
    """Yield the strings with Persian letters of a file, docstrings apart."""
    docstrings = {
        id(node.body[0].value)
        for node in source.nodes
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in source.nodes:
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings and LETTERS.search(text):
                yield f"{source.path}:{node.lineno} {text!r}"


def is_permitted(path: str) -> bool:
    """Return whether this module may hold Persian text."""
    return any(fnmatch(path, pattern) for pattern in PERMITTED)


def test_persian_texts_are_where_they_belong() -> None:
    assert_none(
        [found for source in code() if not is_permitted(source.path) for found in persian_literals(source)],
        "a message goes to programme, a sentence of one page to its template, one of several to texts.py of the pages",
    )


@pytest.mark.parametrize(
    "text",
    ['TITLE = "پیدا نشد"', 'def f(n):\n    return f"{n} رویداد"', 'raise Invalid("role", "نقش را انتخاب کنید.")'],
)
def test_a_persian_text_elsewhere_is_found(text: str) -> None:
    assert list(persian_literals(Source("shared/web/new.py", text)))


@pytest.mark.parametrize("text", ['"""Return `سمنان`."""', 'PERCENT = "٪"', 'DIGITS = "۰۱۲"', 'x = "Semnan"  # سمنان'])
def test_what_is_no_text_is_not_found(text: str) -> None:
    assert list(persian_literals(Source("shared/web/new.py", text))) == []


def test_every_permitted_module_has_persian_text() -> None:
    having = [source.path for source in code() if any(persian_literals(source))]
    unused = [pattern for pattern in PERMITTED if not any(fnmatch(path, pattern) for path in having)]
    assert_none(unused, "remove it from PERMITTED: no such module has Persian text")
