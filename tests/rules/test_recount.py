"""The independent recount against the worked example, and the plan of a simulated round."""

from datetime import date
from fractions import Fraction

import pytest

from peyvand.simulation import people, plan
from peyvand.verify import recount
from programme.numbers import national_id
from programme.reference import provinces


def example(
    q: int, r: int, s: int, ad: int, c: int, m: int, sla: tuple[int, int], sustained: int | None, d: int
) -> recount.Count:
    """Return a row of the worked example; shares in percent, D in thousandths."""
    verified = r * (d - 800) * 2 // 400  # both halves of D equal
    return recount.Count(
        Q=q, R=r, verified=verified, S=s, in_time=sla[0], due=100, Ad=ad, C=c, identified_in_time=sla[1],
        identified_due=100, M=m, U=sustained or 0, sustainable=100 if sustained is not None else 0,
        claims=1000, confirmed=(d - 800) * 5,
    )  # fmt: skip


WORKED = {
    "IR-08": (example(2500, 2400, 2000, 1500, 1100, 500, (75, 70), 65, 990), 52.22),
    "IR-20": (example(1300, 3000, 2400, 1250, 900, 240, (80, 70), 60, 980), 48.58),
    "IR-27": (example(2000, 2580, 1500, 1100, 700, 260, (60, 60), 60, 980), 43.35),
    "IR-22": (example(2500, 5000, 5000, 2300, 1200, 300, (70, 60), 55, 970), 43.02),
    "IR-25": (example(1300, 6000, 5900, 1300, 100, 5, (95, 30), None, 980), 11.87),
}


def test_the_recount_gives_the_ranks_of_the_worked_example() -> None:
    counts = {province: count for province, (count, _) in WORKED.items()}
    for province, (count, index) in WORKED.items():
        value = recount._key(count, "composite")[0]
        assert 100 * float(value) ** 0.25 == pytest.approx(index, abs=0.006), province
    ranked = recount.tables(counts, list(provinces()))["composite"]
    assert ranked[:5] == [(1, "IR-08"), (2, "IR-20"), (3, "IR-27"), (4, "IR-22"), (5, "IR-25")]
    assert len(ranked) == 31 and all(rank is None for rank, _ in ranked[5:])


def test_ties_share_a_rank_and_the_next_one_is_skipped() -> None:
    one = recount.Count(Q=10, R=5, S=5)
    counts = {"IR-00": recount.Count(Q=10, R=9, S=9), "IR-01": one, "IR-02": one, "IR-03": recount.Count(Q=10)}
    assert [r for r, _ in recount.tables(counts, list(counts))["1"]] == [1, 2, 2, 4]


def test_the_calendar_of_the_recount_knows_the_abolished_summer_time() -> None:
    calendar = recount.Calendar([])
    assert calendar.day("2022-06-30T19:45:00+00:00") == date(2022, 7, 1)  # +04:30 then
    assert calendar.day("2025-06-30T19:45:00+00:00") == date(2025, 6, 30)  # +03:30 now
    closed = recount.Calendar([], {"IR-23": [date(2025, 9, 30)]})
    assert [closed.between(date(2025, 9, 27), date(2025, 10, 4), each) for each in ("IR-20", "IR-23")] == [6, 5]
    assert calendar.between(date(2025, 9, 27), date(2025, 10, 4), "IR-20") == 6  # over a Friday


def test_synthetic_people_have_valid_national_ids_that_are_not_assigned() -> None:
    for serial in (1, 42, 123_456, 999_998):
        number = people.national_id(serial)
        assert number.startswith("999") and national_id(number) == number
    with pytest.raises(ValueError, match="serial"):
        people.national_id(999_999)


def test_the_plan_depends_on_the_seed_only() -> None:
    assert plan.draw(1, 0.04) == plan.draw(1, 0.04) != plan.draw(2, 0.04)
    whole, few = plan.draw(1, 0.04), plan.draw(1, 0.04, frozenset({"IR-20", "IR-08"}))
    assert few == {code: whole[code] for code in ("IR-08", "IR-20")}, (
        "the draws of one province never change those of another"
    )


def test_the_plan_has_the_published_figures_and_plausible_totals() -> None:
    plans = plan.draw(1404, 1.0)
    assert plans["IR-20"].quota == 1300 and 3000 < sum(plans["IR-20"].registrations) < 3100
    assert 237 <= plans["IR-20"].connected <= 244
    assert plans["IR-22"].quota == 2500 and sum(plans["IR-22"].registrations) > 5000
    assert 52_000 < sum(c.quota for c in plans.values()) < 68_000
    assert 110_000 < sum(sum(c.registrations) for c in plans.values()) < 150_000
    assert sum(sum(c.registrations) for c in plans.values()) < 500_000, "the people of the trickle have other serials"


def test_every_connection_of_the_plan_is_made_once() -> None:
    for course in plan.draw(3, 0.04).values():
        made = [plan.connections_in(course, step) for step in range(len(plan.DAYS))]
        for fate in ("connected", "ended", "claimed"):
            assert sum(each.get(fate, 0) for each in made) == getattr(course, fate)


def test_the_floor_keeps_an_empty_stage_from_erasing_the_others() -> None:
    assert recount._key(recount.Count(Q=100, R=100, S=100), "composite")[0] > 0
    assert recount._part(1, 0) == Fraction(0)
