"""Every code that is raised has its sentences, and every sentence is said by somebody."""

import ast
from collections.abc import Iterable, Iterator

import pytest

from programme.messages import MESSAGES
from tests.house.sources import Source, in_use

TABLES = {"shared/programme/messages.py", "shared/programme/http_messages.py"}
RAISES = {"Refused", "problem"}


def raised(source: Source) -> Iterator[tuple[int, str]]:
    """Line and code of what is refused with its code written out, each branch of a choice included."""
    for node in source.nodes:
        if isinstance(node, ast.Call) and node.args and _name(node.func) in RAISES:
            for code in _constants(node.args[0]):
                yield node.lineno, code


def without_sentence(source: Source, known: Iterable[str]) -> list[str]:
    """Refusals whose code the table lacks."""
    return [f"{source.where}:{line} refuses with {code!r}" for line, code in raised(source) if code not in known]


def unsaid(codes: Iterable[str], spoken: Iterable[Source]) -> list[str]:
    """Codes of the table that stand nowhere in the code."""
    words = {
        node.value
        for source in spoken
        for node in source.nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return sorted(set(codes) - words)


def test_every_code_has_its_sentences() -> None:
    assert [found for source in in_use() for found in without_sentence(source, MESSAGES)] == []


def test_every_sentence_is_said_by_somebody() -> None:
    assert unsaid(MESSAGES, [source for source in in_use() if source.where not in TABLES]) == []


@pytest.mark.parametrize(
    "text",
    [
        "raise Refused('no_such_code')",
        "raise commands.Refused('no_such_code', field='x')",
        "raise Refused('underage' if young else 'no_such_code')",
        "return problem('no_such_code')",
    ],
)
def test_a_code_without_sentences_is_noticed(text: str) -> None:
    assert without_sentence(Source("services/market/market/domain/new.py", text), MESSAGES)


def test_a_sentence_that_nobody_says_is_noticed() -> None:
    assert unsaid(["underage", "overage"], [Source("a.py", "raise Refused('underage')")]) == ["overage"]


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _constants(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _constants(node.body)
        yield from _constants(node.orelse)
