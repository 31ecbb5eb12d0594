"""One class per word: a name that two modules share means two things."""

import ast
from collections import defaultdict
from collections.abc import Iterable

from tests.house.sources import Source, assert_none, code


def shared_names(files: Iterable[Source]) -> list[str]:
    """Return the public names that several modules give to classes of their own."""
    found = defaultdict[str, list[str]](list)
    for source in files:
        for node in source.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(source.path)
    return [f"{name}: {', '.join(paths)}" for name, paths in sorted(found.items()) if len(paths) > 1]


def test_no_two_classes_outside_the_services_share_a_name() -> None:
    assert_none(
        shared_names(each for each in code() if not each.path.startswith("services/")),
        "call each by what it is; the services are apart, and name their schemas by their own subjects",
    )


def test_a_shared_name_is_found() -> None:
    files = [
        Source("shared/kernel/a.py", "class Message: ...\nclass _Row: ..."),
        Source("shared/web/b.py", "class Message: ...\nclass _Row: ..."),
        Source("shared/web/c.py", "class Row: ..."),
    ]
    assert shared_names(files) == ["Message: shared/kernel/a.py, shared/web/b.py"]
