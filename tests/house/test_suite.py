"""The tests themselves: names that occur once, no imports between test modules, assertions, and none about speed."""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePath

import pytest

from tests.house.sources import Source, assert_none, collected, imports, sources

# Calls that raise when what they check does not hold: of pytest, playwright, jsonschema, and of waits with a deadline.
CHECKS = ("raises", "warns", "fail", "expect", "validate", "wait_for", "until")


CLOCKS = ("monotonic", "perf_counter", "process_time", "time")


def repeated_names(paths: Iterable[str]) -> list[str]:
    """Return the file names that two test modules share."""
    return sorted(name for name, n in Counter(PurePath(path).name for path in paths).items() if n > 1)


def imports_of_tests(source: Source) -> list[str]:
    """Return the imports of one test module, or of a conftest, by another file."""
    return [
        f"{source.path}:{line} imports {name}"
        for line, name in imports(source)
        if name.startswith("tests.") and any(part.startswith(("test_", "conftest")) for part in name.split(".")[1:-1])
    ]


def idle_tests(source: Source, helpers: Iterable[Source] = ()) -> list[str]:
    """Return the tests that assert nothing: neither themselves, nor in functions that they call.

    `helpers` are the other files of the tests, whose functions the module may import.
    """
    functions = _functions(source)
    modules = {each.module: each for each in helpers}
    checking: set[str] = set()
    for _, name in imports(source):  # functions, and methods of the classes and fixtures that come with them
        if module := modules.get(name.rpartition(".")[0]):
            checking |= _checking(module)
    checking |= _checking(source, checking)
    return [
        f"{source.path}:{functions[n].lineno} {n}" for n in functions if n.startswith("test_") and n not in checking
    ]


def timed_assertions(source: Source) -> list[str]:
    """Return the lines that assert that something took less than some time: on a busy machine it takes longer."""
    measured = {
        target.id
        for node in source.nodes
        if isinstance(node, ast.Assign) and _is_duration(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return [
        f"{source.path}:{node.lineno}"
        for node in source.nodes
        if isinstance(node, ast.Assert)
        and any(_is_short(each, measured) for each in ast.walk(node.test) if isinstance(each, ast.Compare))
    ]


def _is_duration(node: ast.expr) -> bool:
    """Return whether something is subtracted from the time of a clock."""
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and _name(node.left) in CLOCKS


def _is_short(compare: ast.Compare, measured: set[str]) -> bool:
    """Return whether a duration is the smaller side of a comparison."""
    sides = [compare.left, *compare.comparators]
    smaller = [
        sides[n] if isinstance(operator, ast.Lt | ast.LtE) else sides[n + 1]
        for n, operator in enumerate(compare.ops)
        if isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE)
    ]
    return any(_is_duration(each) or (isinstance(each, ast.Name) and each.id in measured) for each in smaller)


def _checking(source: Source, known: Iterable[str] = ()) -> set[str]:
    """Return the functions of a file that assert, or call one that does."""
    functions = _functions(source)
    checking = {name for name, node in functions.items() if _asserts(node)} | set(known)
    while more := {n for n, node in functions.items() if n not in checking and set(_names(node)) & checking}:
        checking |= more
    return checking


def _functions(source: Source) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    return {node.name: node for node in source.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _asserts(function: ast.AST) -> bool:
    return any(isinstance(node, ast.Assert) or _name(node) in CHECKS for node in ast.walk(function))


def _names(function: ast.AST) -> Iterator[str]:
    """Yield the names that a function uses: it may call them, or pass them on to be called."""
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return ""


def test_no_two_test_modules_have_the_same_name() -> None:
    assert_none(repeated_names(each.path for each in collected()), "rename one of the modules")


def test_no_test_module_is_imported() -> None:
    found = [each for source in sources() for each in imports_of_tests(source)]
    assert_none(found, "move what several use to tests/support")


def test_every_test_asserts_something() -> None:
    helpers = [each for each in sources() if each.path.startswith("tests/")]
    found = [each for source in collected() for each in idle_tests(source, helpers)]
    assert_none(found, "assert what the test is about: it asserts nothing")


def test_no_test_asserts_that_something_is_quick() -> None:
    found = [each for source in sources() if source.path.startswith("tests/") for each in timed_assertions(source)]
    assert_none(found, "count work, such as requests to the database, or measure it in tests/bench")


def test_two_modules_of_one_name_are_found() -> None:
    assert repeated_names(["tests/web/test_a.py", "tests/rules/test_a.py", "tests/web/test_b.py"]) == ["test_a.py"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from tests.kernel.test_record import message", True),
        ("from tests.kernel.conftest import StoreOf", True),
        ("from tests.support.servers import Servers", False),
        ("from tests.journeys.log_reader import Reader", False),
    ],
)
def test_an_import_of_a_test_module_is_found(line: str, found: bool) -> None:
    assert bool(imports_of_tests(Source("tests/web/test_new.py", line))) is found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("assert time.monotonic() - began < 5", True),
        ("assert 1 < loop.time() - began < 5", True),
        ("assert 5 >= perf_counter() - began", True),
        ("seconds = perf_counter() - began\nassert n == 500 and seconds < 5", True),
        ("assert time.monotonic() - began > 0.3", False),
        ("assert time.monotonic() < deadline, 'it does not hold'", False),
    ],
)
def test_an_assertion_about_speed_is_found(text: str, found: bool) -> None:
    assert bool(timed_assertions(Source("tests/web/test_new.py", text))) is found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def test_a():\n    f()", True),
        ("async def test_a():\n    await f()", True),
        ("def test_a():\n    with pytest.raises(ValueError):\n        f()", False),
        ("def f():\n    assert x\n\ndef test_a():\n    f()", False),
        ("from tests.support.x import check\n\ndef test_a():\n    check(1)", False),
        ("from tests.support.x import count\n\ndef test_a():\n    count(1)", True),
        ("class TestIt:\n    def test_a(self):\n        pass", True),
    ],
)
def test_a_test_that_asserts_nothing_is_found(text: str, found: bool) -> None:
    helpers = [Source("tests/support/x.py", "def check(n):\n    assert n\n\ndef count(n):\n    return n")]
    assert bool(idle_tests(Source("tests/web/test_new.py", text), helpers)) is found
