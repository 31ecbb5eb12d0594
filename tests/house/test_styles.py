"""Every class of a stylesheet is used by a template, by a script, or by a Python module that writes markup."""

import re
from collections.abc import Iterable

import pytest

from tests.house.sources import assert_none, committed, read
from tests.house.stylesheets import ATTRIBUTE, defined

SET_BY_LIBRARIES = {"htmx-request"}  # htmx sets it while a request is on its way

ARGUMENT = re.compile(r"""["'](-?[A-Za-z_][\w-]*)["']""")  # `st("late", ...)`, `classList.add("moved")`
COMPOSED = re.compile(r"([\w-]+)\{")  # `st-{{ kind }}`, `bar-{tone}`, `c{{ column }}`


def unused(css: str, texts: Iterable[str]) -> list[str]:
    """Return the classes that no text names, and that none can compose: `st-` of anything, `c` of a number."""
    names, beginnings = set(SET_BY_LIBRARIES), set[str]()
    for text in texts:
        names |= set(ARGUMENT.findall(text))
        for value in ATTRIBUTE.findall(text):
            names |= set(re.findall(r"[\w-]+", value))
            beginnings |= set(COMPOSED.findall(value))
    composed = re.compile(
        "|".join(f"{each}{'.+' if each.endswith('-') else '[0-9]+'}" for each in beginnings) or "(?!)"
    )
    return sorted(name for name in defined(css) - names if not composed.fullmatch(name))


def test_every_class_is_used() -> None:
    files = [file for file in committed() if not file.startswith("tests/")]
    texts = [read(file) for file in files if file.endswith((".html", ".js", ".py"))]
    found = [f"{file}: .{name}" for file in files if file.endswith(".css") for name in unused(read(file), texts)]
    assert_none(found, "delete the rule: nothing has the class")


@pytest.mark.parametrize(
    ("css", "text", "names"),
    [
        (".a, p > .b:hover { color: red; } @media (width > 5rem) { .c { gap: .5em; } }", "", ["a", "b", "c"]),
        (".a .b { gap: 0; } /* .c { gap: 0; } */", 'class="a"', ["b"]),
        (".goods { gap: 0; }", "t('a', 'This version has no list of goods')", ["goods"]),
        (".st-late { gap: 0; } .c2 { gap: 0; } .code { gap: 0; }", 'class="st-{{ x }} c{{ y }}"', ["code"]),
    ],
)
def test_an_unused_class_is_found(css: str, text: str, names: list[str]) -> None:
    assert unused(css, [text]) == names


@pytest.mark.parametrize(
    "text",
    [
        '<p class="x moved">',
        '<p class="x{% if y %} moved{% endif %}">',
        'row.classList.add("moved")',
        "m.st('moved', t(fa, en))",
        """f'<p class="mo-{kind} moved"/>'""",
    ],
)
def test_a_class_that_is_used_is_not_found(text: str) -> None:
    assert unused(".moved { gap: 0; }", [text]) == []
