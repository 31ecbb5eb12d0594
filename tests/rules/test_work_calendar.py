"""Working days: of versioned calendars that are never edited, and of no day that they do not know."""

from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.commands import UnknownVersion
from programme import calendar, reference, work_calendar
from programme.work_calendar import DayOff, UnknownDay

PUBLISHED = {
    "1404-1": "6e249fb6bcd38c4d0d480e5bb714dceb5b8dfaf75c05b0fded6385b2f53c3f18"
}  # add each version with its digest; never change one
CURRENT = work_calendar.work_calendar()
TEHRAN_CLOSED = replace(  # a Tuesday, in two provinces only
    CURRENT,
    days_off=(*CURRENT.days_off, DayOff(date(2025, 9, 30), "", "", "decree", "certain", "x", ("IR-23", "IR-30"))),
)


def test_published_calendars_are_not_edited() -> None:
    files = {version: work_calendar._FOLDER / f"{version}.json" for version in work_calendar.versions()}
    assert {version: sha256(file.read_bytes()).hexdigest() for version, file in files.items()} == PUBLISHED
    assert work_calendar.versions()[-1] == work_calendar.CURRENT


@pytest.mark.parametrize("version", work_calendar.versions())
def test_every_version_is_complete(version: str) -> None:
    found = work_calendar.work_calendar(version)
    assert found.version == version and set(found.weekend) <= set(work_calendar.WEEKDAYS)
    for each in found.days_off:
        assert found.begins <= each.day <= found.ends and calendar.jalali_text(each.day) == each.jalali
        assert each.kind in ("fixed", "lunar", "decree") and each.certainty in ("certain", "estimated")
        assert each.source in found.sources and set(each.provinces) <= set(reference.provinces())
    assert list(found.days_off) == sorted(found.days_off, key=lambda each: each.day)
    years = {each.jalali[:4] for each in found.days_off}
    first, last = (calendar.to_jalali(day)[0] for day in (found.begins, found.ends))
    assert years == {str(year) for year in range(first, last + 1)}, "a year without holidays is not known"


def test_the_current_version_has_the_holidays_of_eight_years() -> None:
    assert len(CURRENT.days_off) == 223
    assert (calendar.jalali_text(CURRENT.begins), calendar.jalali_text(CURRENT.ends)) == ("1399-01-01", "1406-12-29")


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(UnknownVersion):
        work_calendar.work_calendar("1300-1")


def test_holidays_and_fridays_are_not_working_days() -> None:
    assert not any(CURRENT.is_working_day(each.day) for each in CURRENT.days_off)
    assert not CURRENT.is_working_day(date(2025, 10, 3))  # a Friday
    assert CURRENT.is_working_day(date(2025, 10, 2))  # a Thursday is a working day


@pytest.mark.parametrize(
    ("day", "n", "due"),
    [
        (date(2025, 9, 27), 0, date(2025, 9, 27)),
        (date(2025, 9, 27), 10, date(2025, 10, 8)),  # 1404-07-05, over a Friday
        (date(2025, 9, 27), 20, date(2025, 10, 20)),
        (date(2025, 11, 22), 2, date(2025, 11, 25)),  # over Monday 3 Azar, a holiday
        (date(2026, 3, 19), 1, date(2026, 3, 25)),  # over Nowruz
        (date(2025, 10, 2), 1, date(2025, 10, 4)),  # Thursday to Saturday
    ],
)
def test_working_days(day: date, n: int, due: date) -> None:
    assert CURRENT.add_working_days(day, n) == due
    assert CURRENT.working_days_between(day, due) == n


@given(st.dates(CURRENT.begins, CURRENT.ends - timedelta(200)), st.integers(0, 60), st.integers(0, 200))
def test_working_days_equal_a_count_day_by_day(day: date, n: int, further: int) -> None:
    due, end = CURRENT.add_working_days(day, n), day + timedelta(further)
    assert n == 0 or CURRENT.is_working_day(due)
    assert CURRENT.working_days_between(day, due) == n
    counted = sum(CURRENT.is_working_day(day + timedelta(i)) for i in range(1, further + 1))
    assert CURRENT.working_days_between(day, end) == counted
    assert CURRENT.working_days_between(end, day) == 0


@pytest.mark.parametrize(
    ("a", "b", "hours"),
    [
        ("2025-09-27T08:00", "2025-09-27T16:00", 8),
        ("2025-09-27T08:00", "2025-09-27T15:59", 7),
        ("2025-09-27T06:00", "2025-09-27T20:00", 8),  # hours outside office hours do not count
        ("2025-09-27T15:00", "2025-09-28T09:00", 2),
        ("2025-10-02T12:00", "2025-10-04T12:00", 8),  # over a Friday
        ("2025-10-03T08:00", "2025-10-03T16:00", 0),
        ("2025-09-28T08:00", "2025-09-27T08:00", 0),
    ],
)
def test_working_hours(a: str, b: str, hours: int) -> None:
    start, end = (datetime.fromisoformat(each).replace(tzinfo=calendar.TEHRAN) for each in (a, b))
    assert CURRENT.working_hours_between(start, end.astimezone(UTC)) == hours


def test_a_provincial_closure_concerns_that_province_only() -> None:
    start, (monday, closed) = date(2025, 9, 27), (date(2025, 9, 29), date(2025, 9, 30))
    for province, off in (("", False), ("IR-20", False), ("IR-23", True), ("IR-30", True)):
        assert TEHRAN_CLOSED.is_working_day(closed, province) != off
        assert TEHRAN_CLOSED.add_working_days(monday, 1, province) == closed + timedelta(off)
        assert TEHRAN_CLOSED.working_days_between(start, date(2025, 10, 2), province) == 5 - off
        assert TEHRAN_CLOSED.area(province) == (province if off else "")
    assert CURRENT.area("IR-23") == ""


def test_no_day_outside_is_a_working_day() -> None:
    outside = (CURRENT.begins - timedelta(2), CURRENT.ends + timedelta(1))
    for day in outside:
        for ask in (CURRENT.is_working_day, CURRENT.known):
            with pytest.raises(UnknownDay, match=str(day)):
                ask(day)
    for day, n in ((CURRENT.ends, 1), (CURRENT.ends - timedelta(3), 10), (date(2031, 1, 1), 1)):
        with pytest.raises(UnknownDay, match="ends on 2028-03-19"):
            CURRENT.add_working_days(day, n)
    with pytest.raises(UnknownDay):
        CURRENT.working_days_between(CURRENT.begins, CURRENT.ends + timedelta(1))
    assert CURRENT.known(CURRENT.ends) == CURRENT.ends and CURRENT.known(CURRENT.begins) == CURRENT.begins
