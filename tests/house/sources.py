"""The sources of the house, parsed once, for guards that take them as arguments."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HOME = Path(__file__).parents[2]
SERVICES = ("registration", "screening", "market", "reporting")


@dataclass(frozen=True)
class Source:
    """A Python file: where it stands, from the repository's root, and what it says."""

    where: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return _parsed(self.text)

    @property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the tree."""
        return _walked(self.text)


@cache
def committed() -> tuple[str, ...]:
    """Every file that is or would be committed, from the repository's root."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=HOME, capture_output=True, check=True
    )
    return tuple(sorted(file for file in listed.stdout.decode().split("\0") if file and (HOME / file).is_file()))


@cache
def sources() -> tuple[Source, ...]:
    """Every Python file of the house."""
    return tuple(
        Source(file, (HOME / file).read_text(encoding="utf-8")) for file in committed() if file.endswith(".py")
    )


def in_use() -> list[Source]:
    """The Python files that are no tests."""
    return [each for each in sources() if not each.where.startswith("tests/")]


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Line and full name of each import; `from contracts import text` is `programme.text`."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def _walked(text: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(_parsed(text)))
