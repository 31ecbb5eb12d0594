"""docs/performance.md is what `peyvand bench --write` writes: its parts, its tables, their columns; and says so."""

from itertools import pairwise
from pathlib import Path

import pytest

from peyvand.local_cluster.workspace import ROOT
from peyvand.performance_report import (
    BENCHES,
    NOT_YET,
    PAGE,
    PROCESSES,
    SAID,
    Measured,
    Verdict,
    page,
    section,
    sections,
    stamp,
)

MACHINE = [("Processor", "2 cores")]
FOUND = Measured(
    rows=[["one", *["1"] * 5]],
    processes=[["one", "mongod", "1.0", "2.0 us", "9 MiB"]],
    verdicts=[Verdict("ratio", 0.7, 0.6), Verdict("wait", 120.4, 100.0, True, 0, " ms")],
    notes=["A note."],
)


def strange(text: str) -> list[str]:
    """What the code would not have written: parts and columns that are missing, unknown or others."""
    told, titles = sections(text), {bench.title: bench for bench in BENCHES.values()}
    found = [f"no part {title!r}" for title in titles if title not in told]
    found += [f"unknown part {title!r}" for title in told if title not in titles]
    for title in told.keys() & titles.keys():
        bench, lines = titles[title], told[title]
        heads = [before for before, line in pairwise(lines) if line.startswith("|---")]
        wanted = [bench.columns, (*PROCESSES[:3], f"CPU a {bench.unit}", PROCESSES[4])]
        if lines[0] != bench.question:
            found.append(f"{title!r} asks something else")
        if heads != [f"| {' | '.join(columns)} |" for columns in wanted] and lines[-1] != NOT_YET:
            found.append(f"{title!r} has other columns")
    return found if SAID in text else [*found, "it does not say that it is generated"]


def test_the_page_is_what_the_code_writes() -> None:
    assert strange(PAGE.read_text("utf-8")) == []


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_is_there(name: str) -> None:
    assert (ROOT / "tests" / "bench" / f"{name}.py").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (SAID, ""),
        ("## The linger time", "## Linger"),
        (BENCHES["fold"].question, "Is it fast?"),
        ("| Server | Requests/s |", "| Server | Guess |"),
    ],
)
def test_another_page_is_noticed(old: str, new: str) -> None:
    text = page({"registration": FOUND}, MACHINE)
    assert old in text
    assert strange(text) == []
    assert strange(text.replace(old, new))


def test_what_was_not_measured_now_stays_as_it_was() -> None:
    first = page({"fold": FOUND, "platform": FOUND}, MACHINE)
    second = page({"fold": Measured(rows=[["two", *["2"] * 5]])}, MACHINE, first)
    assert sections(second)[BENCHES["platform"].title] == sections(first)[BENCHES["platform"].title]
    assert sections(second)[BENCHES["fold"].title] != sections(first)[BENCHES["fold"].title]
    assert sections(second)[BENCHES["linger"].title][-1] == NOT_YET


def test_a_section_tells_whether_the_aim_is_reached() -> None:
    told = section(BENCHES["registration"], stamp(FOUND, quick=True, load=0.3, seconds=9.0))
    assert "* ratio: **0.70**, aim >= 0.60: reached" in told
    assert "* wait: **120 ms**, aim <= 100 ms: missed" in told
    assert "at small size in 9 s" in told[-1] and "load 0.3" in told[-1]


def test_nothing_in_the_benchmarks_is_collected() -> None:
    assert not [each for each in (Path(ROOT) / "tests" / "bench").glob("*.py") if each.name.startswith("test_")]
