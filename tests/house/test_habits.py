"""The habits that no type checker knows: short files, docstrings, no machine's paths, nothing left to do."""

import ast
import re

import pytest

from tests.house.sources import HOME, Source, committed, in_use, sources

LINES = 400
WRITTEN = (".py", ".html", ".js", ".sh")  # by hand
NOT_OURS = re.compile(r"\.(png|woff2|ico|jar|svg)$|^deploy/embedded/.*lock|(^|/)package-lock\.json$")
LOOKS_FOR_THEM = {"tests/deploy/test_setup.py"}  # for addresses in the locks
EMPTY_SUFFIXES = ("Manager", "Impl", "Dto", "Helper", "Util", "Utils", "Helpers")
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "types"}
# In pieces, so that this file holds none of them.
FORBIDDEN = {
    "something left to do": re.compile(r"\b(" + "TO" + "DO|FIX" + "ME|X" + "XX)\\b"),
    "a path of one machine": re.compile(r"(?<![\w.])/(" + "work|root|ho" + "me/[a-z]+)/"),
    "a registry's address": re.compile(
        r"(pypi\.org|python" + r"hosted\.org|registry\.npm" + r"js\.org|repo1?\.maven" + r"\.(apache\.)?org)"
    ),
    "a folder that is not here": re.compile(r"\.\./" + r"shared\b|hand-" + r"outs?\b|hand" + r"outs?\b"),
}


def long_files(files: dict[str, int]) -> list[str]:
    """Files with more lines than anybody reads at a sitting."""
    return [f"{where}: {lines} lines" for where, lines in files.items() if lines > LINES]


def leftovers(where: str, text: str) -> list[str]:
    """What no committed file may hold."""
    return [
        f"{where}:{text[: found.start()].count(chr(10)) + 1} holds {what}: {found[0]!r}"
        for what, pattern in FORBIDDEN.items()
        for found in pattern.finditer(text)
    ]


def unsaid(source: Source) -> list[str]:
    """Modules without a sentence, public functions and classes without one, and names that say nothing."""
    where, tree = source.where, source.tree
    stem = where.rsplit("/", 1)[-1].removesuffix(".py")
    found = [f"{where} is called {stem}"] if stem in EMPTY_NAMES else []
    if tree.body and not ast.get_docstring(tree):
        found.append(f"{where} has no sentence")
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name.endswith(EMPTY_SUFFIXES):
                found.append(f"{where}:{node.lineno} {node.name} says nothing with its name")
            if not node.name.startswith("_") and not ast.get_docstring(node):
                found.append(f"{where}:{node.lineno} {node.name} has no sentence")
    return found


def test_no_file_is_long() -> None:
    lines = {
        file: (HOME / file).read_text(encoding="utf-8").count("\n")
        for file in committed()
        if file.endswith(WRITTEN) and "/published/" not in file
    }
    assert long_files(lines) == []


def test_a_long_file_is_noticed() -> None:
    assert long_files({"a.py": LINES + 1, "b.py": LINES}) == [f"a.py: {LINES + 1} lines"]


def test_no_committed_file_holds_what_it_should_not() -> None:
    found = []
    for file in committed():
        if not NOT_OURS.search(file) and file not in LOOKS_FOR_THEM:
            found += leftovers(file, (HOME / file).read_text(encoding="utf-8"))
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "# TO" + "DO: later",
        "see /wo" + "rk/main/x",
        "/ho" + "me/somebody/x",
        "https://pypi" + ".org/simple",
        "https://registry.npm" + "js.org/x",
        "../sha" + "red/data",
        "the hand-" + "outs say",
    ],
)
def test_what_it_should_not_hold_is_noticed(text: str) -> None:
    assert leftovers("a.py", text)


def test_everything_says_what_it_is() -> None:
    assert [found for source in in_use() for found in unsaid(source)] == []


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("shared/kernel/new.py", "N = 1"),
        ("shared/kernel/new.py", '"""A."""\ndef f(): ...'),
        ("shared/kernel/new.py", '"""A."""\nclass A: ...'),
        ("shared/kernel/new.py", '"""A."""\nclass OfferManager:\n    """B."""'),
        ("shared/kernel/utils.py", '"""A."""'),
    ],
)
def test_what_says_nothing_is_noticed(where: str, text: str) -> None:
    assert unsaid(Source(where, text))


def test_every_test_module_says_what_it_asks() -> None:
    assert [
        each.where for each in sources() if each.where.startswith("tests/") and not ast.get_docstring(each.tree)
    ] == []
