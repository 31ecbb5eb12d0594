"""Habits that no type checker knows: docstrings, no paths of one machine, nothing left to do."""

import ast
import re

import pytest

from tests.house.sources import ROOT, Source, assert_none, code, committed, sources

NOT_OURS = re.compile(r"\.(png|woff2|ico|jar|svg)$|^deploy/embedded/.*lock|(^|/)package-lock\.json$")
SEARCHES_FOR_THEM = {"tests/deploy/test_setup.py"}  # for addresses in the lock files
EMPTY_SUFFIXES = ("Manager", "Impl", "Dto", "Helper", "Util", "Utils", "Helpers")
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "types"}
KAFKA_CLIENT = re.compile(r"^(AIO)?Kafka(Consumer|Producer|AdminClient|Client)$|^ForcedClose$")
# In pieces, so that this file holds none of them.
FORBIDDEN = {
    "something left to do": re.compile(r"\b(" + "TO" + "DO|FIX" + "ME|X" + "XX)\\b"),
    "a path of one machine": re.compile(r"(?<![\w.])/(" + "work|root|ho" + "me/[a-z]+)/"),
    "a registry's address": re.compile(
        r"(pypi\.org|python" + r"hosted\.org|registry\.npm" + r"js\.org|repo1?\.maven" + r"\.(apache\.)?org)"
    ),
    "a folder that is not here": re.compile(r"\.\./" + r"shared\b|hand-" + r"outs?\b|hand" + r"outs?\b"),
}


def leftovers(path: str, text: str) -> list[str]:
    """Return what no committed file may contain."""
    return [
        f"{path}:{text[: found.start()].count(chr(10)) + 1} contains {what}: {found[0]!r}"
        for what, pattern in FORBIDDEN.items()
        for found in pattern.finditer(text)
    ]


def undocumented(source: Source) -> list[str]:
    """Return modules, public functions and classes without a docstring, and names without meaning."""
    path, tree = source.path, source.tree
    stem = path.rsplit("/", 1)[-1].removesuffix(".py")
    found = [f"{path} is called {stem}"] if stem in EMPTY_NAMES else []
    if tree.body and not ast.get_docstring(tree):
        found.append(f"{path} has no docstring")
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name.endswith(EMPTY_SUFFIXES):
                found.append(f"{path}:{node.lineno} {node.name} has a name without meaning")
            if not node.name.startswith("_") and not ast.get_docstring(node):
                found.append(f"{path}:{node.lineno} {node.name} has no docstring")
    return found


def open_connections(source: Source) -> list[str]:
    """Return the calls that make a client of Kafka without the options of its access: TLS, user and password."""
    return [
        f"{source.path}:{node.lineno} makes a {node.func.id}"
        for node in source.nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and KAFKA_CLIENT.search(node.func.id)
        and not any(each.arg is None and ast.unparse(each.value).endswith(".options()") for each in node.keywords)
    ]


def test_every_client_of_kafka_is_made_with_the_options_of_its_access() -> None:
    assert_none(
        [each for source in code() for each in open_connections(source)],
        "pass **access.options(), which knows TLS, user and password",
    )


def test_a_client_of_kafka_without_them_is_found() -> None:
    assert open_connections(Source("shared/x.py", "KafkaConsumer(bootstrap_servers=x)\nAIOKafkaProducer(**y)"))
    assert not open_connections(Source("shared/x.py", "KafkaAdminClient(**access.options(), client_id=x)"))


def test_no_committed_file_contains_what_it_must_not() -> None:
    found = []
    for file in committed():
        if not NOT_OURS.search(file) and file not in SEARCHES_FOR_THEM:
            found += leftovers(file, (ROOT / file).read_text(encoding="utf-8"))
    assert_none(found, "remove it, or write it in a way that holds on every machine")


@pytest.mark.parametrize(
    "text",
    [
        "# TO" + "DO: later",
        "see /wo" + "rk/main/x",
        "/ho" + "me/someone/x",
        "https://pypi" + ".org/simple",
        "https://registry.npm" + "js.org/x",
        "../sha" + "red/data",
        "the hand-" + "outs show",
    ],
)
def test_what_a_file_must_not_contain_is_found(text: str) -> None:
    assert leftovers("a.py", text)


def test_everything_has_a_docstring() -> None:
    assert_none(
        [found for source in code() for found in undocumented(source)],
        "describe in a docstring what it does, and name it by what it is",
    )


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("shared/kernel/new.py", "N = 1"),
        ("shared/kernel/new.py", '"""A."""\ndef f(): ...'),
        ("shared/kernel/new.py", '"""A."""\nclass A: ...'),
        ("shared/kernel/new.py", '"""A."""\nclass OfferManager:\n    """B."""'),
        ("shared/kernel/utils.py", '"""A."""'),
    ],
)
def test_a_missing_docstring_is_found(path: str, text: str) -> None:
    assert undocumented(Source(path, text))


def test_every_test_module_has_a_docstring() -> None:
    assert_none(
        [each.path for each in sources() if each.path.startswith("tests/") and not ast.get_docstring(each.tree)],
        "begin the module with a docstring: the question that it answers",
    )
