"""The lists of CONTRIBUTING.md that tests read: the route of a registration, and the files of a worked example."""

import ast
import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tests.house.sources import ROOT, Source, imports

PAGE = "CONTRIBUTING.md"
ROUTE = "The route of a registration"
EXAMPLE = "A worked example"
FUNCTION = re.compile(r"`([\w/.]+\.py):([\w.]+)`")
CARRIERS = ("store", "MongoDB", "Kafka", "its template")
FILE = re.compile(r"^\d+\. `([^`]+)`(.*)$", re.MULTILINE)


class Hop(NamedTuple):
    """A change of kind: which function makes it, of what, into what, and how the next one gets it."""

    number: int
    kind: str  # "from -> to"
    path: str
    function: str
    handed_on: str  # `call`, or a file that calls both, or what carries the data: see CARRIERS

    @property
    def name(self) -> str:
        """Return the last part of the function's name."""
        return self.function.rpartition(".")[2]


class File(NamedTuple):
    """A file of the worked example."""

    path: str
    is_new: bool


def chapter(title: str, page: str | None = None) -> str:
    """Return the text of a chapter of the page."""
    text = (ROOT / PAGE).read_text(encoding="utf-8") if page is None else page
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{PAGE} has no chapter {title!r}"
    return found[1]


def hops(page: str | None = None) -> list[Hop]:
    """Return the hops: rows of the form `| 1 | from -> to | file:function | handed on by |`."""
    found = []
    for line in chapter(ROUTE, page).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].isdecimal() and (place := FUNCTION.search(cells[2])):
            found.append(Hop(int(cells[0]), cells[1], place[1], place[2], cells[3]))
    return found


def worked_example(page: str | None = None) -> list[File]:
    """Return the numbered files of the worked example."""
    return [File(path, "(new)" in rest) for path, rest in FILE.findall(chapter(EXAMPLE, page))]


def defined(source: Source, name: str) -> bool:
    """Return whether the file defines this function or method, written `Class.method`."""
    body: list[ast.stmt] = source.tree.body
    for part in name.split("."):
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == part:
                body = node.body
                break
        else:
            return False
    return True


def mentions(source: Source, target: Hop) -> bool:
    """Return whether the file imports the module of a hop, or uses its function's name."""
    module = Source(target.path, "").module
    if any(name == module or name.startswith(f"{module}.") for _, name in imports(source)):
        return True
    return any(
        (isinstance(node, ast.Attribute) and node.attr == target.name)
        or (isinstance(node, ast.Name) and node.id == target.name)
        for node in source.nodes
    )


def route_errors(route: list[Hop]) -> list[str]:
    """Return what is wrong with a list of hops."""
    errors = []
    known: dict[str, Source] = {}
    for n, hop in enumerate(route, 1):
        if hop.number != n:
            errors.append(f"hop {hop.number} stands at place {n}")
        if not (ROOT / hop.path).is_file():
            errors.append(f"{hop.path} does not exist")
            continue
        known[hop.path] = Source(hop.path, Path(ROOT / hop.path).read_text(encoding="utf-8"))
        if not defined(known[hop.path], hop.function):
            errors.append(f"{hop.path} does not define {hop.function}")
    for one, two in pairwise(route):
        errors += _carrier_errors(one, two, known)
        before, after = one.kind.split(" -> ")[-1], two.kind.split(" -> ")[0]
        if before != after:
            errors.append(f"hop {one.number} makes {before!r}, hop {two.number} takes {after!r}")
    return errors


def _carrier_errors(one: Hop, two: Hop, known: dict[str, Source]) -> list[str]:
    """Return what is wrong with the way from a hop to the next."""
    if one.handed_on in CARRIERS or not {one.path, two.path} <= known.keys():
        return []
    if one.handed_on == "call":
        calls = one.path == two.path or mentions(known[one.path], two) or mentions(known[two.path], one)
        return [] if calls else [f"{one.path} and {two.path} do not call each other"]
    path = one.handed_on.strip("`")
    if not (path.endswith(".py") and (ROOT / path).is_file()):
        return [f"hop {one.number} is handed on by {one.handed_on!r}"]
    caller = Source(path, Path(ROOT / path).read_text(encoding="utf-8"))
    return [f"{path} does not use {hop.function}" for hop in (one, two) if not mentions(caller, hop)]
