"""Every metric and every setting stands in docs/operations.md, and the page names none that is gone."""

import re

from tests.house.sources import HOME, Source, committed, in_use

METRIC = re.compile(r'"(peyvand_[a-z0-9_]+)"')
PARTS = ("Context", "Decision", "Consequences", "Alternatives")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)[^)]*\)")
SETTING = re.compile(r"\bPEYVAND_[A-Z0-9_]+\b")


def metrics(source: Source) -> set[str]:
    """The names of the metrics that a file defines."""
    return set(METRIC.findall(source.text))


def missing(names: set[str], page: str) -> list[str]:
    """What the page does not explain."""
    return sorted(name for name in names if not re.search(rf"\b{name}\b", page))


def gone(names: set[str], page: str) -> list[str]:
    """Metrics that the page explains and nobody counts any more."""
    return sorted(set(re.findall(r"\bpeyvand_[a-z0-9_]+\b", page)) - names)


def broken_links(where: str, text: str) -> list[str]:
    """Links to files that are not there."""
    folder = (HOME / where).parent
    return [f"{where}: {link}" for link in LINK.findall(text) if not (folder / link).exists()]


def _pages() -> list[str]:
    return [file for file in committed() if file.endswith(".md")]


def _page() -> str:
    return (HOME / "docs" / "operations.md").read_text(encoding="utf-8")


def _metrics() -> set[str]:
    return metrics(next(each for each in in_use() if each.where == "shared/observability/metrics.py"))


def test_every_metric_is_explained() -> None:
    assert _metrics()
    assert missing(_metrics(), _page()) == []
    assert gone(_metrics(), _page()) == []


def test_metrics_stand_in_one_file() -> None:
    assert [
        each.where
        for each in in_use()
        if each.where != "shared/observability/metrics.py"
        and re.search(r"\b(Counter|Gauge|Histogram)\(\s*\"", each.text)
    ] == []


def test_every_setting_is_explained() -> None:
    from pydantic_settings import BaseSettings

    from base.settings import PREFIX, Settings

    def fields(settings: type[BaseSettings]) -> set[str]:
        below = set().union(*(fields(each) for each in settings.__subclasses__()))
        return {f"{PREFIX}{name.upper()}" for name in settings.model_fields} | below

    for service in ("registration", "screening", "market", "reporting"):
        __import__(f"{service}.main")
    assert missing(fields(Settings), _page()) == []


def test_every_variable_that_is_read_is_explained() -> None:
    read = {name for each in in_use() for name in SETTING.findall(each.text)}
    read = {name for name in read if not name.endswith("_")}  # the beginning of several
    assert missing(read, _page()) == []


def test_the_guard_bites() -> None:
    source = Source("shared/observability/metrics.py", 'N = Counter("peyvand_new_total", "Something new.")')
    assert missing(metrics(source), "| peyvand_new | old |") == ["peyvand_new_total"]
    assert gone(metrics(source), "peyvand_old_total and peyvand_new_total") == ["peyvand_old_total"]


def test_every_decision_is_one_page_with_its_four_parts() -> None:
    pages = sorted((HOME / "docs" / "decisions").glob("0*.md"))
    listed = (HOME / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    for number, page in enumerate(pages, 1):
        text = page.read_text(encoding="utf-8")
        assert page.name.startswith(f"{number:04d}-") and page.name in listed
        assert text.startswith(f"# {number:04d}. ") and len(text.splitlines()) <= 60
        assert [part for part in PARTS if f"**{part}.**" not in text] == []


def test_every_link_between_pages_leads_somewhere() -> None:
    assert [
        broken for page in _pages() for broken in broken_links(page, (HOME / page).read_text(encoding="utf-8"))
    ] == []


def test_a_broken_link_is_noticed() -> None:
    assert broken_links("docs/a.md", "see [it](gone.md) and [her](../CONTRIBUTING.md)") == ["docs/a.md: gone.md"]
