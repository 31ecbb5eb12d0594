"""Every row of docs/security.md and docs/asvs.md names tests that exist, or why there is none."""

import hashlib
import re
from collections import Counter

import pytest

from tests.house.answers import Row, evidence_errors, rows
from tests.house.sources import assert_none, read

THREATS, ASVS = "docs/security.md", "docs/asvs.md"
LEVELS = {"1": 70, "2": 183}  # requirements of ASVS 5.0.0 by level, those of level 3 apart
# SHA-256 of "V1.1.1 2\n..." in the order of the standard
DIGEST = "9af37b810927c5eedfe1d3e716a571ebac199cf378c2fb4a3ccb64aa29f2a70a"
API_TOP_TEN = {f"API{n}:2023" for n in range(1, 11)}
ANSWERS = ("met", "not applicable", "not met")


def threats() -> list[Row]:
    """Return the threats: who, what, what stands against it, evidence."""
    return list(rows(read(THREATS), 4))


def requirements() -> list[Row]:
    """Return the requirements: id, level, subject, answer, evidence."""
    return list(rows(read(ASVS), 5))


def test_every_threat_names_its_tests_or_why_there_is_none() -> None:
    assert len(threats()) >= 60
    assert_none(
        [error for row in threats() for error in evidence_errors(row, reason_suffices=True)],
        f"name an existing test in {THREATS}, or begin with `not defended: ` or `by configuration: ` and the reason",
    )


def test_the_api_top_ten_is_answered() -> None:
    ids = [row.cells[0] for row in threats() if row.cells[0].startswith("API")]
    assert sorted(ids) == sorted(API_TOP_TEN)


def test_every_requirement_of_asvs_is_answered_once() -> None:
    found = requirements()
    assert Counter(row.cells[1] for row in found) == LEVELS
    listed = "".join(f"{row.cells[0]} {row.cells[1]}\n" for row in found)
    assert hashlib.sha256(listed.encode()).hexdigest() == DIGEST, "an id or a level is not that of the standard"


def test_every_answer_has_its_evidence() -> None:
    errors = []
    for row in requirements():
        answer = row.cells[3]
        assert answer in ANSWERS, row
        prefix = "" if answer == "met" else f"{answer}: "
        errors += evidence_errors(Row(row.line, (prefix + row.evidence,)), reason_suffices=answer != "met")
    assert_none(errors, f"correct the answer in {ASVS}")


def test_the_counts_of_the_answers_are_stated() -> None:
    counts = Counter(row.cells[3] for row in requirements())
    stated = dict(re.findall(r"^\* (met|not applicable|not met): (\d+)$", read(ASVS), re.MULTILINE))
    assert stated == {answer: str(counts[answer]) for answer in ANSWERS}


@pytest.mark.parametrize(
    ("evidence", "error"),
    [
        ("`tests/web/test_app.py::test_that_is_gone`", "does not exist"),
        ("`tests/web/test_gone.py::test_x`", "does not exist"),
        ("`tests/web/test_app.py::BODY`", "names no test"),
        ("`Makefile` has `no such line`", "has no"),
        ("not defended: later", "names no test"),
        ("it is safe", "names no test"),
        ("", "names no test"),
    ],
)
def test_a_row_without_evidence_is_found(evidence: str, error: str) -> None:
    assert error in "".join(evidence_errors(Row(1, (evidence,)), reason_suffices=True))


def test_existing_evidence_is_accepted() -> None:
    for evidence in (
        "`tests/web/test_app.py::test_invalid_body_is_refused`",
        "`Makefile` has `.NOTPARALLEL:`",
        "not defended: the machine itself is trusted",
    ):
        assert evidence_errors(Row(1, (evidence,)), reason_suffices=True) == []
    assert evidence_errors(Row(1, ("not met: nothing checks this yet",)), reason_suffices=False)


def test_rows_are_read_without_their_headers() -> None:
    first, other = (
        "| Id | L |\n| --- | --- |\n| a | 1 |\n| b | 2 |\n",
        "| Id | X |\n| - | - |\n| c | 3 |\n| d | 4 | 5 |\n",
    )
    page = f"{first}\ntext\n\n{other}"
    assert [row.cells for row in rows(page, 2)] == [("a", "1"), ("b", "2"), ("c", "3")]
