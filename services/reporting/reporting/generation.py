"""The generation of the tallies: a digest of the code that moves them, and of all policies and calendars."""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from programme import policies

LENGTH = 12  # hexadecimal digits; part of names of databases and consumer groups
ROOT, WITHIN = "reporting.tallies", ("reporting.domain", "programme")


@cache
def generation() -> str:
    """Return the digest: equal digests, equal tallies of the same facts."""
    return code_digest((ROOT,), WITHIN, policies.documents())


def code_digest(roots: Iterable[str], packages: Iterable[str], data: Iterable[Path] = ()) -> str:
    """Return the digest of these modules, of what they import from these packages, and of the data files.

    Comments, docstrings and layout do not change it.
    """
    found = hashlib.sha256()
    for name, code in sorted(_closure(roots, tuple(packages)).items()):
        found.update(f"{name}\n{code}\n".encode())
    for file in sorted(data):
        found.update(f"{file.name}\n".encode() + file.read_bytes())
    return found.hexdigest()[:LENGTH]


def normal_form(source: str) -> str:
    """Return code without comments and docstrings, in one layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and len(node.body) > 1:
                del node.body[0]
    return ast.unparse(tree)


def _closure(roots: Iterable[str], packages: tuple[str, ...]) -> Mapping[str, str]:
    """Return the normal form of each module, by its name."""
    found: dict[str, str] = {}
    waiting, within = list(roots), tuple(f"{package}." for package in packages)
    while waiting:
        name = waiting.pop()
        if name not in found and (file := _file(name)) is not None:
            source = file.read_text("utf-8")
            found[name] = normal_form(source)
            waiting += [each for each in _imported(ast.parse(source)) if f"{each}.".startswith(within)]
    return found


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yield what a module may import: `from a import b` names the module `a`, and perhaps the module `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)


def _file(name: str) -> Path | None:
    """Return the file of a module; None if there is none of this name."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:  # `a.b` where `a` is a module and `b` a name in it
        return None
    return Path(spec.origin) if spec and spec.origin else None
