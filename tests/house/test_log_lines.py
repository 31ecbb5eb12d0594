"""Log lines of ours: a constant text, and fields that `observability.log_fields` permits."""

import ast
from collections.abc import Iterator

import pytest

from observability.log_fields import FIELDS
from tests.house.sources import Source, assert_none, code

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
CONFIGURES = "shared/observability/logging.py"
FIELD_NAMES = FIELDS.keys() | {"exc_info"}


def unfit_lines(source: Source) -> Iterator[str]:
    """Yield where a log line has a text that is not constant, or fields that would be dropped."""
    for node in source.nodes:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        where, function = f"{source.path}:{node.lineno}", node.func
        if function.attr == "getLogger" and source.path != CONFIGURES:
            yield f"{where} uses the logging of the standard library"
        if function.attr not in LEVELS or not (isinstance(function.value, ast.Name) and function.value.id == "log"):
            continue
        if len(node.args) != 1 or not (isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)):
            yield f"{where} has a text that is not constant"
        names = {each.arg or "**" for each in node.keywords}
        if unknown := names - FIELD_NAMES:
            yield f"{where} has fields that are not permitted: {', '.join(sorted(unknown))}"


def test_every_line_has_a_constant_text_and_permitted_fields() -> None:
    lines = [found for source in code() for found in unfit_lines(source)]
    assert_none(lines, "write a constant text; put values into fields of shared/observability/log_fields.py")


@pytest.mark.parametrize(
    "text",
    [
        'log.info(f"registered {name}")',
        'log.info("registered " + name)',
        "log.warning(text)",
        'log.info("registered %s", name)',
        'log.error("failed", national_id=1)',
        'log.error("failed", **fields)',
        'logging.getLogger("a").info("b")',
    ],
)
def test_an_unfit_line_is_found(text: str) -> None:
    assert list(unfit_lines(Source("shared/kernel/new.py", text)))
