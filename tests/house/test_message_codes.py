"""Every code of a refusal has its messages, and every message has a code that occurs."""

import ast
from collections.abc import Iterable, Iterator

import pytest

from programme.messages import MESSAGES
from tests.house.sources import Source, assert_none, code

TABLES = {f"shared/programme/{name}messages.py" for name in ("", "answer_", "case_", "http_", "seat_")}
RAISES = {"Refused", "error_response", "problem"}
CLOSING = ("shared/run/gate.py", "shared/run/served.py", "services/")  # their reasons close an API, with their code


def raised(source: Source) -> Iterator[tuple[int, str]]:
    """Yield line and code of refusals whose code is a constant, each branch of a choice included."""
    for node in source.nodes:
        closing = {"ReadinessReason"} if source.path.startswith(CLOSING) else set[str]()
        if isinstance(node, ast.Call) and node.args and _name(node.func) in RAISES | closing:
            for code in _constants(node.args[_name(node.func) == "error_response"]):  # after the request
                yield node.lineno, code


def without_message(source: Source, known: Iterable[str]) -> list[str]:
    """Return the refusals whose code has no message."""
    return [f"{source.path}:{line} refuses with {code!r}" for line, code in raised(source) if code not in known]


def unused(codes: Iterable[str], files: Iterable[Source]) -> list[str]:
    """Return the codes of the table that no code uses."""
    constants = {
        node.value
        for source in files
        for node in source.nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return sorted(set(codes) - constants)


def test_every_code_has_its_messages() -> None:
    assert_none(
        [found for source in code() for found in without_message(source, MESSAGES)],
        "add it to shared/programme/messages.py, sorted by code",
    )


def test_every_message_is_used() -> None:
    assert_none(
        unused(MESSAGES, [source for source in code() if source.path not in TABLES]),
        "remove it from the tables of messages in shared/programme: no code refuses with it",
    )


@pytest.mark.parametrize(
    "text",
    [
        "raise Refused('no_such_code')",
        "raise commands.Refused('no_such_code', field='x')",
        "raise Refused('underage' if young else 'no_such_code')",
        "return problem('no_such_code')",
        "return [ReadinessReason('no_such_code', 'why')]",
    ],
)
def test_a_code_without_messages_is_noticed(text: str) -> None:
    assert without_message(Source("services/market/market/domain/new.py", text), MESSAGES)


def test_a_message_without_use_is_found() -> None:
    assert unused(["underage", "overage"], [Source("a.py", "raise Refused('underage')")]) == ["overage"]


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _constants(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _constants(node.body)
        yield from _constants(node.orelse)
