"""CONTRIBUTING.md holds true: the hops of a registration, and the files of a worked example."""

from tests.house.budgets import EXAMPLE_FILES, HOPS
from tests.house.contributing import Hop, hops, route_errors, worked_example
from tests.house.sources import ROOT, assert_none


def test_the_route_of_a_registration() -> None:
    route = hops()
    assert 2 <= len(route) <= HOPS, f"{len(route)} changes of kind, at most {HOPS}"
    assert_none(route_errors(route), "correct the route of a registration in CONTRIBUTING.md")
    assert route[0].path.startswith("services/registration/"), "it begins with the POST"
    assert route[-1].path.startswith("services/reporting/"), "it ends with the ranking page"


def test_errors_of_a_route_are_found() -> None:
    path = "tests/house/contributing.py"
    good = Hop(1, "a -> b", path, "chapter", "call")
    assert route_errors([good]) == []
    for wrong in (
        [good._replace(path="tests/house/gone.py")],
        [good._replace(function="gone")],
        [good._replace(function="Hop.gone")],
        [good._replace(number=2)],
        [good._replace(handed_on="magic"), Hop(2, "b -> c", path, "hops", "call")],
        [good, Hop(2, "c -> d", path, "hops", "call")],
        [good, Hop(2, "b -> c", "tests/house/purity.py", "impurities", "call")],
        [good._replace(handed_on="`tests/house/purity.py`"), Hop(2, "b -> c", path, "hops", "call")],
    ):
        assert route_errors(wrong), wrong


def test_the_worked_example() -> None:
    files = worked_example()
    assert 2 <= len(files) <= EXAMPLE_FILES, f"{len(files)} files, at most {EXAMPLE_FILES}"
    assert len({file.path for file in files}) == len(files)
    for file in files:
        assert (ROOT / file.path).is_file() is not file.is_new, file.path


def test_the_lists_are_read_as_they_are_written() -> None:
    page = (
        "## The route of a registration\n\n| | | | |\n|---|---|---|---|\n| 1 | a -> b | `x/y.py:C.f` | call |\n\n"
        "## A worked example\n\n1. `x/y.py`: a class\n2. `x/z.html` (new): a page\n\n## More\n\n3. `x/no.py`\n"
    )
    assert hops(page) == [Hop(1, "a -> b", "x/y.py", "C.f", "call")]
    assert [(file.path, file.is_new) for file in worked_example(page)] == [("x/y.py", False), ("x/z.html", True)]
