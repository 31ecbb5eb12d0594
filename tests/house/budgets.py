"""Budgets of size and shape. `python -m tests.house.budgets` prints every figure beside its limit; no server needed."""

import ast
import json
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from io import StringIO
from typing import NamedTuple

from tests.house.contributing import hops, worked_example
from tests.house.language import findings
from tests.house.layers import misplaced_libraries, violations
from tests.house.modules import cycles, own_graph
from tests.house.sources import ROOT, Source, code, committed, read, sources

FILE_LINES = 400
FOLDER_MODULES = 14
COMPLEXITY = 12
CORE_LINES = 1_610
KERNEL_LINES = 3_600
HOPS = 12
EXAMPLE_FILES = 12

HAND_WRITTEN = (".py", ".html", ".js", ".sh")
GENERATED = ("shared/contracts/published/*",)
KERNEL = "shared/kernel/*"
# Parts of the kernel that are no part of its core: declaration, leases, group commit, counters, and the memory store.
NOT_CORE = ("service", "leases", "group_commit", "counters", "stores/mongodb/counters")
NOT_COUNTED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


class Figure(NamedTuple):
    """A budget: what it measures, how much is used, and the limit."""

    name: str
    value: int
    limit: int
    detail: str = ""

    @property
    def kept(self) -> bool:
        """Return whether the figure is within its limit."""
        return self.value <= self.limit

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.name}: {self.value:,} of {self.limit:,}{detail}"


def code_lines(text: str) -> int:
    """Count lines without blank lines, comments and docstrings."""
    counted = set[int]()
    for token in tokenize.generate_tokens(StringIO(text).readline):
        if token.type not in NOT_COUNTED:
            counted |= set(range(token.start[0], token.end[0] + 1))
    return len(counted - set(_docstring_lines(ast.parse(text))))


def _docstring_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                yield from range(first.lineno, (first.end_lineno or first.lineno) + 1)


def is_kernel(source: Source) -> bool:
    """Return whether the file belongs to the kernel."""
    return fnmatch(source.path, KERNEL)


def is_core(source: Source) -> bool:
    """Return whether the file is record, rules, commands, batch, store port, query, errors or the MongoDB store."""
    inner = source.path.removeprefix("shared/kernel/").removesuffix(".py")
    if not is_kernel(source) or inner.startswith(("kafka/", "roles/")):
        return False
    return inner not in NOT_CORE and not inner.startswith("stores/memory")


def lines_of(files: Iterable[Source]) -> int:
    """Count the lines of code of these files."""
    return sum(code_lines(each.text) for each in files)


def longest_file(lines: dict[str, int]) -> Figure:
    """Return the length of the longest file in lines."""
    path = max(lines, key=lambda each: lines[each])
    return Figure("lines of the longest file", lines[path], FILE_LINES, path)


def largest_folder(paths: Iterable[str]) -> Figure:
    """Return the number of modules in the largest folder, tests apart."""
    modules = [path for path in paths if path.endswith(".py") and not path.startswith("tests/")]
    folder, count = Counter(path.rpartition("/")[0] for path in modules).most_common(1)[0]
    return Figure("modules of the largest folder", count, FOLDER_MODULES, folder)


def complex_functions(arguments: Iterable[str] = (), text: str | None = None) -> list[str]:
    """Return the functions that ruff finds too complex (C901), in all files or in a text."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "ruff", "check", "--output-format=json", "--isolated", "--select=C901"),
            *("--config", f"lint.mccabe.max-complexity={COMPLEXITY}", "--config", "target-version='py311'"),
            *(["-", "--stdin-filename=new.py"] if text is not None else ["."]),
            *arguments,
        ],
        input=text,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert ran.returncode in (0, 1), ran.stderr
    return [
        f"{found['filename'].removeprefix(f'{ROOT}/')}:{found['location']['row']} {found['message']}"
        for found in json.loads(ran.stdout)
    ]


def figures() -> list[Figure]:
    """Measure what `test_budgets` asserts."""
    files = {
        path: read(path).count("\n")
        for path in committed()
        if path.endswith(HAND_WRITTEN) and not any(fnmatch(path, each) for each in GENERATED)
    }
    circles, complex_ = cycles(own_graph()), complex_functions()
    return [
        longest_file(files),
        largest_folder(committed()),
        Figure(f"functions of complexity above {COMPLEXITY}", len(complex_), 0, "; ".join(complex_)),
        Figure("circles of imports", len(circles), 0, "; ".join(circles)),
        Figure("lines of code of the kernel's core", lines_of(filter(is_core, code())), CORE_LINES),
        Figure("lines of code of the kernel", lines_of(filter(is_kernel, code())), KERNEL_LINES),
        Figure("changes of kind from POST to the ranking page", len(hops()), HOPS),
        Figure("files of a new event with API and page", len(worked_example()), EXAMPLE_FILES),
    ]


def figures_of_other_tests() -> list[Figure]:
    """Measure what `test_layers` and `test_language` assert, and no test of the budgets once more."""
    forbidden = [each for source in sources() for each in (*violations(source), *misplaced_libraries(source))]
    return [
        Figure("imports against the table of layers", len(forbidden), 0, "; ".join(forbidden)),
        Figure("words that are not to be used", sum(len(found) for found in findings().values()), 0),
    ]


def main() -> int:
    """Print every figure, and the words that are not to be used per file; return 1 if a limit is exceeded."""
    measured = [*figures(), *figures_of_other_tests()]
    for figure in measured:
        print("ok  " if figure.kept else "OVER", str(figure)[:2_000])
    for path, found in sorted(findings().items(), key=lambda each: -len(each[1])):
        most = Counter(each.word for each in found).most_common(8)
        print(f"{len(found):6} {path}: {', '.join(f'{word} {n}' for word, n in most)}")
    return 0 if all(figure.kept for figure in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
