"""What `make setup` builds for pages: of Bootstrap every rule that a template uses, and a font with all our letters."""

import re
from pathlib import Path

import pytest

from peyvand.local_cluster.workspace import current_workspace
from tests.house.sources import committed, read
from tests.house.stylesheets import ATTRIBUTE, defined
from web.assets import VENDORED

BUILT, WHOLE = "peyvand", "bootstrap/dist/css"
FILES = ("bootstrap.min.css", "bootstrap.rtl.min.css")


def asset(path: str) -> Path:
    """Return an installed file."""
    return current_workspace().assets / path


def used_classes() -> set[str]:
    """Return the words of all class attributes of templates and of Python that writes markup."""
    files = [file for file in committed() if not file.startswith("tests/") and file.endswith((".html", ".py"))]
    return {word for file in files for value in ATTRIBUTE.findall(read(file)) for word in re.findall(r"[\w-]+", value)}


@pytest.mark.parametrize("name", FILES)
def test_every_class_of_bootstrap_that_a_template_uses_has_its_rules(name: str) -> None:
    whole, built = (asset(f"{folder}/{name}").read_text() for folder in (WHOLE, BUILT))
    wanted = defined(whole) & used_classes()
    assert len(wanted) > 60, "templates use Bootstrap"
    assert wanted - defined(built) == set(), "run make setup; else correct deploy/embedded/build-assets.mjs"


@pytest.mark.parametrize("name", FILES)
def test_what_no_template_uses_is_left_out(name: str) -> None:
    built = asset(f"{BUILT}/{name}").read_text()
    assert {"accordion", "modal", "carousel", "text-body"}.isdisjoint(defined(built))
    assert len(built) < 40_000 and "box-sizing" in built and "--bs-body-font-family" in built


def test_no_template_uses_the_class_that_ignores_the_dark_colours() -> None:
    assert "text-body" not in used_classes()


def test_every_file_that_is_served_is_installed() -> None:
    assert [path for path in VENDORED if not asset(path).is_file()] == []


def test_the_font_is_a_small_part_of_the_whole_one() -> None:
    whole = asset("vazirmatn/fonts/webfonts/Vazirmatn[wght].woff2").read_bytes()
    built = asset(f"{BUILT}/vazirmatn.woff2").read_bytes()
    assert built[:4] == whole[:4] == b"wOF2" and len(built) < 65_000 < len(whole)
