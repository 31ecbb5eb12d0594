"""Ranks, ties and displayed values, on exact fractions."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from programme.policies import CURRENT, policy
from programme.reference import provinces
from reporting.domain.indicators import Counts, lower_median, shares, total
from reporting.domain.ranking import TABLES, Score, root, rounded, scores, table

FORMULA = policy(CURRENT).formula
BASE = Counts(
    quota=1000,
    registered=2000,
    verified=2000,
    screened=1000,
    screened_in_time=500,
    screening_due=1000,
    admitted=800,
    identified=400,
    identified_in_time=200,
    capacity_due=400,
    connected=100,
    sustained=10,
    sustainable=40,
    claims=100,
    claims_confirmed=100,
    end_to_end=40,
)


def ranks(counts: dict[str, Counts], name: str = "composite") -> dict[str, int | None]:
    return {row.province: row.rank for row in table(scores(counts, FORMULA), name)}


class GivenScore(Score):
    """A score with given stages, so that a tie can be exact in one criterion and in no other."""

    def __init__(self, province: str, counts: Counts, d: Fraction, stages: tuple[Fraction, ...]) -> None:
        super().__init__(province, counts, FORMULA)
        self.d, self.stages = d, stages


def F(n: int, d: int) -> Fraction:
    return Fraction(n, d)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        # (a) D^4 S1 S2 S3^2 equal, higher S3: 1/4 * 1/2 * (1/2)^2 = 1/2 * 1 * (1/4)^2 = 1/32
        ((BASE, (F(1, 4), F(1, 2), F(1, 2))), (BASE, (F(1, 2), F(1, 1), F(1, 4)))),
        # (b) S3 equal too, higher M/Q, not capped
        (
            (replace(BASE, connected=1300), (F(1, 2), F(1, 2), F(1, 2))),
            (replace(BASE, connected=1200), (F(1, 2), F(1, 2), F(1, 2))),
        ),
        # (c) M/Q equal too, higher S2
        ((BASE, (F(1, 4), F(1, 2), F(1, 2))), (BASE, (F(1, 2), F(1, 4), F(1, 2)))),
        # (e) everything equal, shorter median; and any median before none
        ((replace(BASE, end_to_end=39), (F(1, 2),) * 3), (BASE, (F(1, 2),) * 3)),
        ((BASE, (F(1, 2),) * 3), (replace(BASE, end_to_end=None), (F(1, 2),) * 3)),
        # (f) the median equal too, larger quota at the same M/Q
        ((replace(BASE, quota=2000, connected=200), (F(1, 2),) * 3), (BASE, (F(1, 2),) * 3)),
    ],
    ids=["a", "b", "c", "e", "e-none", "f"],
)
def test_an_exact_tie_is_broken_by_the_criteria_in_order(better: tuple, worse: tuple) -> None:  # type: ignore[type-arg]
    scored: dict[str, Score] = {
        "IR-02": GivenScore("IR-02", better[0], Fraction(1), better[1]),  # the later code: code order cannot decide
        "IR-01": GivenScore("IR-01", worse[0], Fraction(1), worse[1]),
    }
    assert scored["IR-01"].rank_value == scored["IR-02"].rank_value
    assert [(row.province, row.rank) for row in table(scored, "composite")] == [("IR-02", 1), ("IR-01", 2)]


def test_criterion_d_decides_where_data_factors_compensate_s1() -> None:
    """(d) With value, S3, M/Q and S2 equal, S1 differs only where the data factors do: D^4 S1 equal."""
    scored: dict[str, Score] = {
        "IR-02": GivenScore("IR-02", BASE, F(9, 10), (F(16, 100), F(1, 2), F(1, 2))),
        "IR-01": GivenScore("IR-01", BASE, Fraction(1), (F(16, 100) * F(9, 10) ** 4, F(1, 2), F(1, 2))),
    }
    assert scored["IR-01"].rank_value == scored["IR-02"].rank_value
    assert [(row.province, row.rank) for row in table(scored, "composite")] == [("IR-02", 1), ("IR-01", 2)]


def test_equal_provinces_share_a_rank_and_the_next_is_skipped() -> None:
    counts = {"IR-00": replace(BASE, connected=120), "IR-01": BASE, "IR-02": BASE, "IR-03": replace(BASE, connected=90)}
    assert ranks(counts) == {"IR-00": 1, "IR-01": 2, "IR-02": 2, "IR-03": 4}


@pytest.mark.parametrize("name", TABLES)
def test_31_equal_provinces_share_the_first_rank(name: str) -> None:
    rows = table(scores(dict.fromkeys(provinces(), BASE), FORMULA), name)
    assert [row.rank for row in rows] == [1] * 31
    assert [row.province for row in rows] == sorted(provinces())


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_31_rows_without_any_data(name: str) -> None:
    rows = table(scores(dict.fromkeys(provinces(), Counts()), FORMULA), name)
    assert len(rows) == 31
    assert all(row.rank is None and row.unranked == "no_quota" for row in rows)


def test_equal_stage_scores_are_ordered_by_the_terms_of_greatest_weight() -> None:
    # S1 = .35 R/Q + .40 S/R + .25 in time: equal sums, the heavier term decides
    one = Counts(quota=100, registered=100, screened=50, screening_due=50, screened_in_time=25)
    other = replace(one, quota=100, registered=80, screened=54, screening_due=100, screened_in_time=50)
    assert scores({"IR-01": one, "IR-02": other}, FORMULA)["IR-01"].stages[0] > 0
    even = GivenScore("IR-02", other, Fraction(1), scores({"IR-01": one}, FORMULA)["IR-01"].stages)
    scored: dict[str, Score] = {"IR-01": scores({"IR-01": one}, FORMULA)["IR-01"], "IR-02": even}
    assert [row.province for row in table(scored, "1")] == ["IR-02", "IR-01"]  # 54/80 > 50/100


def test_all_rows_that_look_alike_and_are_not_get_the_same_decimals() -> None:
    big = replace(BASE, quota=10**6, registered=10**6, screened=10**6, screening_due=10**6, screened_in_time=10**6)
    counts = {"IR-00": replace(big, registered=999_999, screened=999_999), "IR-01": big, "IR-02": replace(big, quota=1)}
    rows = {row.province: row for row in table(scores(counts, FORMULA), "1")}
    assert [rows[code].rank for code in ("IR-01", "IR-02", "IR-00")] == [1, 2, 3]  # the larger quota breaks the tie
    assert {str(rows[code].shown) for code in ("IR-01", "IR-02")} == {"100.00000"}
    assert str(rows["IR-00"].shown) == "99.99996"  # three decimals show 100.000 as well
    assert {code for code, row in rows.items() if row.by_tie_rule} == {"IR-02"}
    same = table(scores({"IR-00": BASE, "IR-01": BASE}, FORMULA), "1")
    assert [row.decimals for row in same] == [2, 2]


@pytest.mark.parametrize("name", TABLES)
def test_values_that_differ_later_get_as_many_decimals_as_they_need(name: str) -> None:
    big = replace(BASE, quota=10**9, registered=10**9, screened=10**9, screening_due=10**9, screened_in_time=10**9)
    near = {f"IR-0{n}": replace(big, registered=10**9 - n, screened=10**9 - n) for n in range(3)}
    rows = table(scores(near | {"IR-09": replace(BASE, registered=40, screened=30)}, FORMULA), name)
    alike = [row for row in rows if row.province in near]

    assert len({row.decimals for row in alike}) == 1 and next(r.decimals for r in rows if r.province == "IR-09") == 2
    if len({row.score.ranked_on(name) for row in alike}) == 3:  # not in tables that these figures leave equal
        assert alike[0].decimals > 3 and len({row.shown for row in alike}) == 3
        assert [row.shown for row in alike] == sorted((row.shown for row in alike), reverse=True)


def test_a_province_without_screened_cases_is_ranked_on_its_other_figures() -> None:
    nothing = Counts(quota=100, registered=50, verified=50)
    score = scores({"IR-01": nothing}, FORMULA)["IR-01"]
    assert score.stages == (F(35, 200), F(0, 1), F(0, 1))
    assert score.rank_value == F(9, 10) ** 4 * F(35, 200) * F(1, 100) * F(1, 100) ** 2
    assert ranks({"IR-01": nothing, "IR-02": BASE})["IR-01"] == 2


def test_a_small_base_is_marked_and_ranked() -> None:
    scored = scores({"IR-01": replace(BASE, registered=29), "IR-02": replace(BASE, registered=30)}, FORMULA)
    assert (scored["IR-01"].small_base, scored["IR-02"].small_base) == (True, False)


def test_the_sustained_share_is_left_out_below_ten_cases() -> None:
    few, enough = replace(BASE, sustainable=9, sustained=9), replace(BASE, sustainable=10, sustained=9)
    s3 = F(1, 2) * F(100, 1000) + F(3, 10) * F(100, 400)
    scored = scores({"IR-01": few, "IR-02": enough}, FORMULA)
    assert scored["IR-01"].stages[2] == s3 / F(8, 10)
    assert scored["IR-02"].stages[2] == s3 + F(2, 10) * F(9, 10)


SCORED = [
    name
    for name in Counts.__struct_fields__
    if not name.startswith(("to_", "claims_s", "claims_d", "approved", "ready"))
]


@st.composite
def counts_strategy(draw: st.DrawFn) -> Counts:
    """Draw any figures, plausible or not, in one draw."""
    values = draw(st.binary(min_size=len(SCORED), max_size=len(SCORED)))
    return Counts(**{name: value % 50 for name, value in zip(SCORED, values, strict=True)})


any_counts = counts_strategy()


@settings(max_examples=30)
@given(st.lists(any_counts, min_size=3, max_size=6), any_counts)
def test_the_data_of_one_province_never_changes_score_or_order_of_others(drawn: list[Counts], changed: Counts) -> None:
    codes = list(provinces())[: len(drawn)]
    before, after = dict(zip(codes, drawn, strict=True)), dict(zip(codes, [changed, *drawn[1:]], strict=True))
    one, two = scores(before, FORMULA), scores(after, FORMULA)
    for name in TABLES:
        assert all(one[c].order(name) == two[c].order(name) for c in codes[1:])
        left = [row.province for row in table(one, name) if row.province != codes[0]]
        assert left == [row.province for row in table(two, name) if row.province != codes[0]]


@settings(max_examples=50)
@given(any_counts)
def test_the_index_is_the_fourth_root_of_the_rank_value(counts: Counts) -> None:
    score = scores({"IR-01": counts}, FORMULA)["IR-01"]
    index = Fraction(score.index) / 100
    assert index**4 <= score.rank_value < (index + Fraction(1, 10**40)) ** 4


@given(st.dictionaries(st.integers(0, 60), st.integers(1, 9), min_size=1))
def test_the_lower_median(histogram: dict[int, int]) -> None:
    values = sorted(value for value, n in histogram.items() for _ in range(n))
    assert lower_median(histogram) == values[(len(values) - 1) // 2]


def test_values_are_rounded_half_to_even() -> None:
    assert [str(rounded(Decimal(x), 2)) for x in ("0.125", "0.135", "48.575")] == ["0.12", "0.14", "48.58"]
    assert root(Fraction(1, 16), 4) == Decimal("0.5") and root(Fraction(0), 4) == 0


def test_nationwide_figures_are_sums_without_medians() -> None:
    both = total([BASE, BASE])
    assert (both.quota, both.connected, both.end_to_end) == (2000, 200, None)
    assert lower_median({}) is None


def test_who_gave_up_the_seat_stays_in_the_market_shares_where_the_formula_keeps_leavers() -> None:
    """No province gains by making those withdraw who sell nothing; a published formula stays as it was."""
    counts = replace(BASE, identified=400, gave_up=100, sustainable=40, gave_up_sustainable=10)
    as_published, staying = shares(counts, FORMULA), shares(counts, replace(FORMULA, leavers_stay=True))
    assert (as_published["M2"], as_published["M3"]) == ((100, 400), (10, 40))
    assert (staying["M2"], staying["M3"]) == ((100, 500), (10, 50))
    assert {name for name in staying if staying[name] != as_published[name]} == {"M2", "M3"}
