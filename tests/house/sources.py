"""The committed files of the repository, read and parsed once, for guards that take them as arguments."""

import ast
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICES = ("registration", "screening", "market", "reporting")
PACKAGES = ("contracts", "programme", "base", "observability", "kernel", "recovery", "security", "web", "run")


@dataclass(frozen=True)
class Source:
    """A Python file: its path from the root of the repository, and its text."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """Return the syntax tree."""
        return _parsed(self.text)

    @property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Return every node of the tree."""
        return _walked(self.text)

    @property
    def lines(self) -> int:
        """Return the number of lines."""
        return self.text.count("\n")

    @property
    def module(self) -> str:
        """Return the name under which Python imports the file."""
        inner = self.path.removeprefix("shared/").removeprefix("deploy/peyvand/")
        if inner.startswith("services/"):
            inner = inner.split("/", 2)[2]
        return inner.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def assert_none(found: Collection[str], advice: str) -> None:
    """Raise AssertionError if something was found: every finding on a line of its own, and what to do about them."""
    __tracebackhide__ = True  # the findings are what matters, not these lines
    assert not found, "\n".join([f"{len(found)} found: {advice}", *found])


@cache
def committed() -> tuple[str, ...]:
    """Return the path of every file that is or would be committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    return tuple(sorted({file for file in listed.stdout.decode().split("\0") if file and (ROOT / file).is_file()}))


@cache
def read(path: str) -> str:
    """Return the text of a file."""
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def sources() -> tuple[Source, ...]:
    """Return every Python file."""
    return tuple(Source(file, read(file)) for file in committed() if file.endswith(".py"))


def code() -> list[Source]:
    """Return the Python files that are no tests."""
    return [each for each in sources() if not each.path.startswith("tests/")]


def collected() -> list[Source]:
    """Return the modules from which pytest collects."""
    return [each for each in sources() if each.path.startswith("tests/") and Path(each.path).name.startswith("test_")]


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Yield line and full name of each import; `from programme import text` is `programme.text`."""
    yield from _imports(source.nodes)


def imports_at_import(source: Source) -> Iterator[tuple[int, str]]:
    """Yield the imports that run when the module is imported: not those in functions or under TYPE_CHECKING."""
    yield from _imports(tuple(_run_at_import(source.tree.body)))


def _imports(nodes: tuple[ast.AST, ...]) -> Iterator[tuple[int, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def _run_at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        match statement:
            case ast.Import() | ast.ImportFrom():
                yield statement
            case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.FunctionDef() | ast.AsyncFunctionDef():
                pass
            case _:
                for _, value in ast.iter_fields(statement):
                    if isinstance(value, list):
                        yield from _run_at_import([each for each in value if isinstance(each, ast.stmt)])


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def _walked(text: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(_parsed(text)))
