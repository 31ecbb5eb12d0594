"""The worked example of the methodology, and its table in the document."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from programme.policies import CURRENT, policy
from reporting.domain.ranking import rounded, scores, table
from reporting.domain.worked_example import worked_example

FORMULA = policy(CURRENT).formula
EXAMPLE = worked_example()


def test_the_worked_example_gives_the_documented_ranks() -> None:
    rows = table(scores(EXAMPLE, FORMULA), "composite")
    assert [(row.province, row.rank, str(row.shown)) for row in rows] == [
        ("IR-08", 1, "52.22"),
        ("IR-20", 2, "48.58"),
        ("IR-27", 3, "43.35"),
        ("IR-22", 4, "43.02"),
        ("IR-23", 5, "11.87"),
    ]


@pytest.mark.parametrize(
    ("province", "d", "stages"),
    [
        ("IR-08", "0.990", ("0.8568", "0.6733", "0.3664")),
        ("IR-20", "0.980", ("0.8700", "0.8126", "0.2923")),
        ("IR-27", "0.980", ("0.7326", "0.5945", "0.2964")),
        ("IR-22", "0.970", ("0.9250", "0.6967", "0.2450")),
        ("IR-23", "0.980", ("0.9808", "0.4908", "0.0212")),
    ],
)
def test_the_worked_example_gives_the_documented_factors(province: str, d: str, stages: tuple[str, ...]) -> None:
    score = scores(EXAMPLE, FORMULA)[province]
    shown = [rounded(Decimal(s.numerator) / Decimal(s.denominator), 4) for s in score.stages]
    assert str(rounded(Decimal(score.d.numerator) / Decimal(score.d.denominator), 3)) == d
    assert [str(each) for each in shown] == list(stages)


def test_the_best_province_in_stage_1_can_come_last() -> None:
    scored = scores(EXAMPLE, FORMULA)
    assert table(scored, "1")[0].province == "IR-23"
    assert table(scored, "composite")[-1].province == "IR-23"


def test_the_table_in_the_methodology_equals_the_computed_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "methodology.md").read_text(encoding="utf-8")
    found = [
        [cell.strip().replace(",", "") for cell in line.strip("|\n").split("|")]
        for line in text.splitlines()
        if re.match(r"\| (Kerman|Semnan|Golestan|Hormozgan|All registration) ", line)
    ]
    rows = table(scores(EXAMPLE, FORMULA), "composite")
    assert len(found) == len(rows) == 5
    for cells, row in zip(found, rows, strict=True):
        c, score = row.score.counts, row.score
        plain = [c.quota, c.registered, c.screened, c.admitted, c.identified, c.connected]
        assert cells[1:7] == [str(each) for each in plain]
        exact = [score.d, *score.stages]
        assert [Decimal(each) for each in cells[9:13]] == [
            rounded(Decimal(x.numerator) / Decimal(x.denominator), places)
            for x, places in zip(exact, (3, 4, 4, 4), strict=True)
        ]
        assert cells[13:] == [str(row.shown), str(row.rank)]
