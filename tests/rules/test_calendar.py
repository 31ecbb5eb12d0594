"""Days in Tehran and Jalali dates, checked against the published tables."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.codes import AGE_BANDS
from contracts.commands import Refused
from programme import calendar

DAYS = st.dates(date(1930, 1, 1), date(2060, 12, 31))


@pytest.mark.parametrize("year", [1395, 1399, 1403, 1408, 1412, 1416, 1420])
def test_leap_years(year: int) -> None:
    assert calendar.month_end(f"{year}-12") == calendar.from_jalali(year, 12, 30)


@pytest.mark.parametrize("year", [1396, 1400, 1402, 1404, 1405, 1406, 1407, 1409, 1411, 1413])
def test_common_years(year: int) -> None:
    assert calendar.jalali_text(calendar.month_end(f"{year}-12")) == f"{year}-12-29"
    with pytest.raises(ValueError, match="day"):
        calendar.from_jalali(year, 12, 30)


@pytest.mark.parametrize(
    ("jalali", "gregorian"),
    [
        ("1400-01-01", date(2021, 3, 21)),
        ("1404-01-01", date(2025, 3, 21)),
        ("1403-12-30", date(2025, 3, 20)),
        ("1404-07-05", date(2025, 9, 27)),
        ("1357-11-22", date(1979, 2, 11)),
    ],
)
def test_jalali_and_gregorian_dates(jalali: str, gregorian: date) -> None:
    assert calendar.jalali_text(gregorian) == jalali
    assert calendar.parse_date(jalali) == gregorian
    assert calendar.parse_date(gregorian.isoformat()) == gregorian


@given(DAYS)
def test_jalali_conversion_is_reversible(day: date) -> None:
    assert calendar.from_jalali(*calendar.to_jalali(day)) == day
    assert calendar.parse_date(calendar.jalali_text(day)) == day
    last = calendar.month_end(calendar.month_of(day))
    assert day <= last and calendar.month_of(day) == calendar.month_of(last)


def test_a_month_has_31_or_30_or_29_days() -> None:
    lengths = [calendar.to_jalali(calendar.month_end(f"1404-{m:02d}"))[2] for m in range(1, 13)]
    assert lengths == [31] * 6 + [30] * 5 + [29]


@pytest.mark.parametrize("typed", ["۱۴۰۴/۷/۵", "1404.7.5", " ١٤٠٤-٠٧-٠٥ ", "1404/07/05"])
def test_a_date_is_parsed_as_typed(typed: str) -> None:
    assert calendar.parse_date(typed) == date(2025, 9, 27)


@pytest.mark.parametrize(
    "typed", ["", "1404-12-30", "1404-13-01", "1404-07-31", "1404-0-1", "1404-07/05", "05-07-1404", "2025-02-30", "x"]
)
def test_an_invalid_date_is_refused(typed: str) -> None:
    with pytest.raises(Refused) as refused:
        calendar.parse_date(typed, "birth_date")
    assert (refused.value.code, refused.value.field) == ("date_invalid", "birth_date")


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        (datetime(2025, 9, 26, 20, 29, 59, tzinfo=UTC), date(2025, 9, 26)),
        (datetime(2025, 9, 26, 20, 30, tzinfo=UTC), date(2025, 9, 27)),
        (datetime(2022, 7, 1, 19, 29, tzinfo=UTC), date(2022, 7, 1)),  # summer time, +04:30
        (datetime(2022, 7, 1, 19, 30, tzinfo=UTC), date(2022, 7, 2)),
        (datetime(2023, 7, 1, 19, 30, tzinfo=UTC), date(2023, 7, 1)),  # none since 2022-09-22
        (datetime(2023, 7, 1, 20, 30, tzinfo=UTC), date(2023, 7, 2)),
    ],
)
def test_a_day_begins_at_midnight_in_tehran(instant: datetime, day: date) -> None:
    assert calendar.tehran_day(instant) == day


def test_days_have_23_or_25_hours_when_summer_time_changed() -> None:
    def hours(day: date) -> float:
        return (calendar.day_end(day) - calendar.day_start(day)) / timedelta(hours=1)

    assert hours(date(2022, 3, 22)) == 23  # summer time began
    assert hours(date(2022, 9, 21)) == 25  # and ended, for the last time
    assert {hours(date(2023, 1, 1) + timedelta(n)) for n in range(700)} == {24}


@given(DAYS)
def test_consecutive_days_are_adjacent(day: date) -> None:
    start = calendar.day_start(day)
    assert calendar.tehran_day(start) == day
    assert calendar.tehran_day(start - timedelta(microseconds=1)) == day - timedelta(1)
    assert calendar.day_end(day) == calendar.day_start(day + timedelta(1))


def test_long_date_and_time() -> None:
    at = datetime(2025, 10, 27, 7, 12, tzinfo=UTC)
    assert calendar.long_date(at.date(), "fa") == "دوشنبه ۵ آبان ۱۴۰۴"
    assert calendar.long_date(at.date(), "en") == "Monday 5 Aban 1404 (27 October 2025)"
    assert calendar.long_time(at, "fa") == "دوشنبه ۵ آبان ۱۴۰۴، ساعت ۱۰:۴۲"
    assert calendar.long_time(at, "en") == "Monday 5 Aban 1404 (27 October 2025), 10:42"


@pytest.mark.parametrize(
    ("month", "fa", "en"), [(1, "فروردین", "Farvardin"), (7, "مهر", "Mehr"), (12, "اسفند", "Esfand")]
)
def test_month_names(month: int, fa: str, en: str) -> None:
    assert (calendar.month_name(month, "fa"), calendar.month_name(month, "en")) == (fa, en)


@pytest.mark.parametrize(
    ("born", "on", "age"),
    [
        ("1375-07-05", "1404-07-04", 28),
        ("1375-07-05", "1404-07-05", 29),
        ("1403-12-30", "1404-12-29", 0),
        ("1403-12-30", "1405-01-01", 1),
        ("1403-12-30", "1408-12-30", 5),
    ],
)
def test_age(born: str, on: str, age: int) -> None:
    assert calendar.age_on(calendar.parse_date(born), calendar.parse_date(on)) == age


def test_age_bands() -> None:
    assert [calendar.age_band(age) for age in (18, 24, 25, 34, 35, 44, 45, 54, 55, 99)] == [
        band for band in AGE_BANDS for _ in range(2)
    ]
    with pytest.raises(ValueError, match="below 18"):
        calendar.age_band(17)
