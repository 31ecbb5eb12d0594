"""docs/operations.md explains every metric and every setting, and names none that no longer exists."""

import re
from fnmatch import fnmatch

from tests.house.sources import ROOT, Source, assert_none, code, committed

METRIC = re.compile(r'"(peyvand_[a-z0-9_]+)"')
EXPLAIN = "explain it in docs/operations.md: what it means and what to do"
PARTS = ("Context", "Decision", "Consequences", "Alternatives")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)[^)]*\)")
SETTING = re.compile(r"\bPEYVAND_[A-Z0-9_]+\b")


def metrics(source: Source) -> set[str]:
    """Return the names of the metrics that a file defines."""
    return set(METRIC.findall(source.text))


def missing(names: set[str], page: str) -> list[str]:
    """Return the names that the page does not explain."""
    return sorted(name for name in names if not re.search(rf"\b{name}\b", page))


def gone(names: set[str], page: str) -> list[str]:
    """Return the metrics that the page explains and no code counts."""
    return sorted(set(re.findall(r"\bpeyvand_[a-z0-9_]+\b", page)) - names)


def broken_links(path: str, text: str) -> list[str]:
    """Return links to files that do not exist."""
    folder = (ROOT / path).parent
    return [f"{path}: {link}" for link in LINK.findall(text) if not (folder / link).exists()]


def _pages() -> list[str]:
    return [file for file in committed() if file.endswith(".md")]


def _page() -> str:
    return (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def defines_metrics(path: str) -> bool:
    """Return whether metrics may be defined in this file: those of all services, or those of one."""
    return path == "shared/observability/metrics.py" or fnmatch(path, "services/*/*/metrics.py")


def stray_metrics(source: Source) -> list[str]:
    """Return where a file that is no home of metrics defines one."""
    if defines_metrics(source.path):
        return []
    return [f"{source.path}: {found[0]}" for found in re.finditer(r"\b(Counter|Gauge|Histogram)\(\s*\"", source.text)]


def _metrics() -> set[str]:
    return {name for each in code() if defines_metrics(each.path) for name in metrics(each)}


def test_every_metric_is_explained() -> None:
    assert _metrics()
    assert_none(missing(_metrics(), _page()), EXPLAIN)
    assert_none(gone(_metrics(), _page()), "remove it from docs/operations.md: no code counts it")


def test_metrics_are_defined_in_their_modules() -> None:
    assert_none(
        [found for each in code() for found in stray_metrics(each)],
        "define it in shared/observability/metrics.py, or in metrics.py of the service that alone has it",
    )


def test_a_metric_elsewhere_is_found() -> None:
    text = 'N = Counter("peyvand_new_total", "Something new.")'
    assert stray_metrics(Source("services/market/market/queries.py", text))
    assert stray_metrics(Source("services/market/market/metrics.py", text)) == []


def test_every_setting_is_explained() -> None:
    from pydantic_settings import BaseSettings

    from base.settings import PREFIX, Settings

    def fields(settings: type[BaseSettings]) -> set[str]:
        below = set().union(*(fields(each) for each in settings.__subclasses__()))
        return {f"{PREFIX}{name.upper()}" for name in settings.model_fields} | below

    for service in ("registration", "screening", "market", "reporting"):
        __import__(f"{service}.service")
    assert_none(missing(fields(Settings), _page()), EXPLAIN)


def test_every_variable_that_is_read_is_explained() -> None:
    read = {name for each in code() for name in SETTING.findall(each.text)}
    read = {name for name in read if not name.endswith("_")}  # the beginning of several
    assert_none(missing(read, _page()), EXPLAIN)


def test_an_unexplained_metric_is_found() -> None:
    source = Source("shared/observability/metrics.py", 'N = Counter("peyvand_new_total", "Something new.")')
    assert missing(metrics(source), "| peyvand_new | old |") == ["peyvand_new_total"]
    assert gone(metrics(source), "peyvand_old_total and peyvand_new_total") == ["peyvand_old_total"]


def test_every_decision_is_one_page_with_its_four_parts() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    listed = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    assert len({page.name[:4] for page in pages}) == len(pages)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert page.name in listed
        assert text.startswith(f"# {page.name[:4]}. ") and len(text.splitlines()) <= 60
        assert_none([part for part in PARTS if f"**{part}.**" not in text], f"add these parts to {page.name}")


def test_every_link_between_pages_has_a_target() -> None:
    assert_none(
        [broken for page in _pages() for broken in broken_links(page, (ROOT / page).read_text(encoding="utf-8"))],
        "correct the link: its target does not exist",
    )


def test_a_broken_link_is_found() -> None:
    assert broken_links("docs/a.md", "see [it](gone.md) and [this](../CONTRIBUTING.md)") == ["docs/a.md: gone.md"]
