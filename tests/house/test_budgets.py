"""Sizes and shapes stay within their budgets; each assertion prints its figure."""

import pytest

from tests.house import budgets
from tests.house.budgets import Figure, code_lines, complex_functions, is_core, largest_folder, longest_file
from tests.house.language import Banned
from tests.house.sources import Source

NAMES = (
    "lines of the longest file",
    "modules of the largest folder",
    f"functions of complexity above {budgets.COMPLEXITY}",
    "circles of imports",
    "lines of code of the kernel's core",
    "lines of code of the kernel",
    "changes of kind from POST to the ranking page",
    "files of a new event with API and page",
)


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    """Every figure by its name."""
    return {figure.name: figure for figure in budgets.figures()}


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_is_kept(name: str, figures: dict[str, Figure]) -> None:
    assert figures[name].kept, str(figures[name])


def test_every_figure_is_asserted(figures: dict[str, Figure]) -> None:
    assert set(figures) == set(NAMES), f"{len(figures)} figures, {len(NAMES)} assertions"


def test_the_figures_that_other_tests_assert_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "sources", lambda: [Source("shared/kernel/new.py", "import fastapi")])
    monkeypatch.setattr(budgets, "findings", lambda: {"new.py": [Banned(1, "any")]})
    assert [(figure.value, figure.kept) for figure in budgets.figures_of_other_tests()] == [(1, False), (1, False)]


def test_a_figure_above_its_limit_is_not_kept() -> None:
    assert Figure("files", 12, 12).kept
    assert not Figure("files", 13, 12).kept
    assert str(Figure("files", 1_300, 1_200, "a.py")) == "files: 1,300 of 1,200 (a.py)"


def test_blank_lines_comments_and_docstrings_do_not_count() -> None:
    text = '"""A\nmodule."""\n\nimport re  # why\n# a comment\n\n\ndef f():\n    """Do.\n\n    Much.\n    """\n'
    assert code_lines(text + "    return (\n        1\n    )\n") == 5
    assert code_lines('TEXT = """two\nlines"""\n') == 2


def test_the_longest_file_is_found() -> None:
    assert not longest_file({"a.py": budgets.FILE_LINES + 1, "b.py": 1}).kept
    assert longest_file({"a.py": budgets.FILE_LINES}).kept


def test_a_large_folder_is_found() -> None:
    modules = [f"shared/base/m{n}.py" for n in range(budgets.FOLDER_MODULES)]
    assert largest_folder([*modules, "shared/base/data.csv", "tests/base/test_it.py"]).kept
    assert largest_folder([*modules, "shared/base/__init__.py"]).detail == "shared/base"
    assert not largest_folder([*modules, "shared/base/__init__.py"]).kept


def test_a_complex_function_is_found() -> None:
    branches = "".join(f"    if x == {n}:\n        return {n}\n" for n in range(budgets.COMPLEXITY))
    assert complex_functions(text=f"def f(x):\n{branches}")
    assert not complex_functions(text=f"def f(x):\n{branches[:-30]}\n")


@pytest.mark.parametrize(
    ("path", "core"),
    [
        ("shared/kernel/record.py", True),
        ("shared/kernel/stores/mongodb.py", True),
        ("shared/kernel/stores/parked.py", True),
        ("shared/kernel/stores/memory.py", False),
        ("shared/kernel/service.py", False),
        ("shared/kernel/roles/worker.py", False),
        ("shared/recovery/replay.py", False),
    ],
)
def test_the_core_of_the_kernel(path: str, core: bool) -> None:
    assert is_core(Source(path, "")) is core
