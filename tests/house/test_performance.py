"""docs/performance.md is what `peyvand bench --write` writes: its sections, its tables, their columns."""

from itertools import pairwise
from pathlib import Path

import pytest

from peyvand.local_cluster.workspace import ROOT
from peyvand.performance_report import (
    BENCHES,
    NOT_YET,
    NOTICE,
    PAGE,
    PROCESSES,
    Measured,
    Verdict,
    page,
    section,
    sections,
    stamp,
)

MACHINE = [("Processor", "2 cores")]
RESULTS = Measured(
    rows=[["one", *["1"] * 5]],
    processes=[["one", "mongod", "1.0", "2.0 us", "9 MiB"]],
    verdicts=[Verdict("ratio", 0.7, 0.6), Verdict("wait", 120.4, 100.0, True, 0, " ms")],
    notes=["A note."],
)


def deviations(text: str) -> list[str]:
    """Return what the code would not have written: sections and columns that are missing, unknown or different."""
    written, titles = sections(text), {bench.title: bench for bench in BENCHES.values()}
    found = [f"no section {title!r}" for title in titles if title not in written]
    found += [f"unknown section {title!r}" for title in written if title not in titles]
    for title in written.keys() & titles.keys():
        bench, lines = titles[title], written[title]
        heads = [before for before, line in pairwise(lines) if line.startswith("|---")]
        wanted = [
            f"| {' | '.join(columns)} |"
            for columns in (bench.columns, (*PROCESSES[:3], f"CPU a {bench.unit}", PROCESSES[4]))
        ]
        if lines[0] != bench.question:
            found.append(f"{title!r} has another question")
        if heads not in (wanted, wanted[:1]) and lines[-1] != NOT_YET:  # some look at no process
            found.append(f"{title!r} has other columns")
    return found if NOTICE in text else [*found, "the notice that it is generated is missing"]


def test_the_page_is_what_the_code_writes() -> None:
    assert deviations(PAGE.read_text("utf-8")) == []


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_is_there(name: str) -> None:
    assert (ROOT / "tests" / "bench" / f"{name}.py").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (NOTICE, ""),
        ("## The linger time", "## Linger"),
        (BENCHES["fold"].question, "Is it fast?"),
        ("| Server | Requests/s |", "| Server | Guess |"),
    ],
)
def test_another_page_is_found(old: str, new: str) -> None:
    text = page({"registration": RESULTS}, MACHINE)
    assert old in text
    assert deviations(text) == []
    assert deviations(text.replace(old, new))


def test_sections_that_were_not_measured_stay() -> None:
    first = page({"fold": RESULTS, "platform": RESULTS}, MACHINE)
    second = page({"fold": Measured(rows=[["two", *["2"] * 5]])}, MACHINE, first)
    assert sections(second)[BENCHES["platform"].title] == sections(first)[BENCHES["platform"].title]
    assert sections(second)[BENCHES["fold"].title] != sections(first)[BENCHES["fold"].title]
    assert sections(second)[BENCHES["linger"].title][-1] == NOT_YET


def test_a_section_shows_whether_the_aim_is_reached() -> None:
    lines = section(BENCHES["registration"], stamp(RESULTS, quick=True, load=0.3, seconds=9.0))
    assert "* ratio: **0.70**, aim >= 0.60: reached" in lines
    assert "* wait: **120 ms**, aim <= 100 ms: missed" in lines
    assert "at small size in 9 s" in lines[-1] and "load 0.3" in lines[-1]


def test_no_benchmark_is_collected_as_a_test() -> None:
    assert not [each for each in (Path(ROOT) / "tests" / "bench").rglob("*.py") if each.name.startswith("test_")]
