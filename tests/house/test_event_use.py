"""Every event type is emitted by its producer's rules or jobs, and folded into its producer's state."""

import ast
from collections.abc import Iterable, Iterator

import pytest

from contracts.events import TYPES
from contracts.schemas import producer_of
from tests.house.sources import Source, assert_none, code

RULES = "services/market/market/domain/new.py"
EMITS = "def decide():\n    return [e.Made()]\n"


def constructed(source: Source) -> set[str]:
    """Return the names that a file calls, those of events among them; a variable stands for what is assigned to it."""
    called = {_name(node.func) for node in source.nodes if isinstance(node, ast.Call)}
    for node in source.nodes:
        if isinstance(node, ast.Assign) and any(_name(target) in called for target in node.targets):
            called |= {_name(each) for each in _values(node.value)}
    return called - {""}


def evolved(source: Source) -> set[str]:
    """Return the classes that `evolve`, or a function of its file that it uses, matches in a `case` or isinstance."""
    functions = {node.name: node for node in source.tree.body if isinstance(node, ast.FunctionDef)}
    pending, reached = ["evolve"], set[str]()
    while pending:
        if (name := pending.pop()) in functions and name not in reached:
            reached.add(name)
            pending += [node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name)]
    return {each for name in reached for each in _matched(functions[name])}


def unused(events: Iterable[tuple[str, str]], files: Iterable[Source]) -> list[str]:
    """Return the events, given as producer and class, that their producers never emit or never fold."""
    emitted, folded = set[tuple[str, str]](), set[tuple[str, str]]()
    for source in files:
        parts = source.path.split("/")
        if parts[0] == "services" and (parts[3] == "domain" or parts[3].startswith("jobs")):
            emitted |= {(parts[1], name) for name in constructed(source)}
            if parts[3] == "domain":
                folded |= {(parts[1], name) for name in evolved(source)}
    return [
        f"{producer}: {name} is never {what}"
        for producer, name in events
        for what, known in (("emitted", emitted), ("matched in evolve", folded))
        if (producer, name) not in known
    ]


def _matched(function: ast.AST) -> Iterator[str]:
    for node in ast.walk(function):
        match node:
            case ast.MatchClass(cls=kind):
                yield _name(kind)
            case ast.Call(func=ast.Name(id="isinstance"), args=[_, kinds]):
                yield from (_name(each) for each in ast.walk(kinds))


def _values(node: ast.expr) -> Iterator[ast.expr]:
    """Yield the branches of a choice, or the expression itself."""
    if isinstance(node, ast.IfExp):
        yield from (*_values(node.body), *_values(node.orelse))
    else:
        yield node


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def test_every_event_is_emitted_and_folded_by_its_producer() -> None:
    assert_none(
        unused([(producer_of(event), event.__name__) for event in TYPES.values()], code()),
        "emit it in services/<producer>/<producer>/domain or jobs, and add its case to evolve in domain",
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{EMITS}def evolve(s, x):\n    match x.event:\n        case Made(): return s", []),
        (f"{EMITS}def evolve(s, x):\n    return isinstance(x, A | Made)", []),
        (f"{EMITS}def evolve(s, x):\n    return f(s)\ndef f(x):\n    isinstance(x, Made)", []),
        ("def f(x):\n    k = Made if x else Other\n    return k()\ndef evolve(x):\n    isinstance(x, Made)", []),
        ("def f(x):\n    k = Made if x else Other\ndef evolve(x):\n    isinstance(x, Made)", ["emitted"]),
        ("def evolve(s, x):\n    match x:\n        case A() | Made(): return s", ["emitted"]),
        (EMITS, ["matched in evolve"]),
        (f"{EMITS}def react(x):\n    isinstance(x, Made)", ["matched in evolve"]),
        ("from contracts.events import Made\ndef f(x: Made): ...", ["emitted", "matched in evolve"]),
    ],
)
def test_an_event_that_is_not_used_is_found(text: str, found: list[str]) -> None:
    assert unused([("market", "Made")], [Source(RULES, text)]) == [f"market: Made is never {what}" for what in found]


def test_another_service_does_not_count() -> None:
    text = f"{EMITS}def evolve(x):\n    return isinstance(x, Made)"
    assert len(unused([("screening", "Made")], [Source(RULES, text)])) == 2
