"""What pure code must not do, and what must not happen when a module is imported."""

import ast
import sys
from collections.abc import Iterator

from tests.house.sources import Source, imports

# The part of the standard library without input, output, clock or randomness.
PURE = {
    *("abc", "bisect", "collections", "contextlib", "dataclasses", "datetime", "decimal", "enum", "fractions"),
    *("functools", "graphlib", "hashlib", "heapq", "itertools", "json", "math", "operator", "re", "statistics"),
    *("string", "types", "typing", "unicodedata", "zlib", "zoneinfo"),
}
NOW = {"now", "utcnow", "today"}  # of datetime and date
IMPURE = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint", "globals", "hash", "id"}

# What may be called while a module is imported: constructors of values, without effects.
CONSTRUCTORS = {
    *("Annotated", "Counter", "Decimal", "Fraction", "Gauge", "Histogram", "TypeVar", "ZoneInfo", "bytes", "cast"),
    *("chr", "date", "datetime", "dict", "dedent", "frozenset", "len", "list", "maketrans", "max", "min", "ord"),
    *("range", "set", "sorted", "str", "sum", "timedelta", "tuple", "zip", "time", "compile", "join", "split"),
    *("Decoder", "Encoder", "Meta", "field", "Field", "NewType", "ParamSpec", "Path", "vars", "values", "items"),
    *("isinstance", "issubclass", "strip", "enumerate", "encode", "fromkeys", "get", "getLogger", "get_logger"),
    *("SecretStr", "MappingProxyType", "parents", "TypeAdapter", "object", "int", "namedtuple", "defstruct", "resolve"),
    *("secret", "AppKey", "RequestKey", "Argument", "Option"),  # declarations of names and of command line arguments
    *("APIRouter", "CodecOptions", "ConfigDict", "Depends", "Query", "SettingsConfigDict"),
    *("allow", "etagged", "idempotent", "limited", "pages", "public"),  # declarations of routes and of their pages
    *("get_args", "round_subject", "ledger_subject", "proposal_subject", "lead_subject"),  # names made of names
}

# Packages whose classes only make values when they are called: this repository's, and some of others.
HARMLESS = {
    *("contracts", "programme", "base", "observability", "kernel", "recovery", "security", "web", "run", "peyvand"),
    *("registration", "screening", "market", "reporting", "tests"),
    *("collections", "decimal", "string", "weakref"),
}


def impurities(source: Source) -> list[str]:
    """Return where this file reads the clock, uses randomness or does I/O."""
    found = [
        f"{source.path}:{line} imports {name}"
        for line, name in imports(source)
        if name.split(".")[0] in sys.stdlib_module_names and name.split(".")[0] not in PURE
    ]
    for node in source.nodes:
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            found.append(f"{source.path}:{node.lineno} awaits")
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id in IMPURE:
                found.append(f"{source.path}:{node.lineno} calls {function.id}")
            if isinstance(function, ast.Attribute) and function.attr in NOW:
                found.append(f"{source.path}:{node.lineno} calls .{function.attr}")
        if isinstance(node, ast.Global | ast.Nonlocal):
            found.append(f"{source.path}:{node.lineno} changes an outer variable")
    return found


def import_effects(source: Source) -> list[str]:
    """Return what importing this module would do beside defining names."""
    defined_here = {
        node.name for node in source.tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }  # constants may be made by a class or function of the module itself
    harmless = _harmless_names(source)
    classes = {name for name in harmless if name[:1].isupper()}
    found = []
    for statement in _statements(source.tree.body):
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # a docstring
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            found.append(f"{source.path}:{statement.lineno} does something when imported")
            continue
        for node in _run_now(statement):
            if isinstance(node, ast.Call) and not _constructs(
                node.func, CONSTRUCTORS | defined_here | classes, harmless
            ):
                found.append(f"{source.path}:{node.lineno} calls {_name(node.func)} when imported")
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "argv"):
                found.append(f"{source.path}:{node.lineno} reads {node.attr} when imported")
    return found


def _harmless_names(source: Source) -> set[str]:
    """Return the names under which a file has imported modules and classes of HARMLESS packages."""
    names = set()
    for node in source.nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                package = node.module if isinstance(node, ast.ImportFrom) else alias.name
                if (package or "").split(".")[0] in HARMLESS:
                    names.add(alias.asname or alias.name)
    return names


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        match statement:
            case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Pass():
                pass
            case ast.ClassDef():
                yield from _statements(statement.body)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                pass
            case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
                pass
            case _:
                yield statement


def _run_now(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that are evaluated at import: not the bodies of lambdas."""
    if isinstance(node, ast.Lambda):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _run_now(child)


def _constructs(function: ast.expr, allowed: set[str], harmless: set[str]) -> bool:
    """Return whether a call only makes a value: by an allowed function, or by a class of a harmless module."""
    of_module = isinstance(function, ast.Attribute) and _name(function.value) in harmless
    return _name(function) in allowed or (of_module and _name(function)[:1].isupper())


def _name(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return _name(value)
    return ast.unparse(function)
