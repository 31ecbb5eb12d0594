"""Days in Tehran and Jalali dates. Working days are in `work_calendar`."""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from persiantools.jdatetime import JalaliDate

from contracts.commands import Refused
from programme.text import digits, persian_digits

TEHRAN = ZoneInfo("Asia/Tehran")  # +03:30 all year since 2022-09-22; before, with summer time
MONTHS_FA = (
    *("فروردین", "اردیبهشت", "خرداد", "تیر", "مرداد", "شهریور"),
    *("مهر", "آبان", "آذر", "دی", "بهمن", "اسفند"),
)
MONTHS_EN = (
    *("Farvardin", "Ordibehesht", "Khordad", "Tir", "Mordad", "Shahrivar"),
    *("Mehr", "Aban", "Azar", "Dey", "Bahman", "Esfand"),
)
WEEKDAYS_FA = ("دوشنبه", "سه‌شنبه", "چهارشنبه", "پنجشنبه", "جمعه", "شنبه", "یکشنبه")  # from Monday
WEEKDAYS_EN = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
GREGORIAN_EN = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

_GREGORIAN_YEARS = 1700  # a year from here on is Gregorian
_DATE = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})")
_AGE_BANDS = ((55, "55+"), (45, "45-54"), (35, "35-44"), (25, "25-34"), (18, "18-24"))


def tehran_day(instant: datetime) -> date:
    """Return the date in Tehran at this instant."""
    return instant.astimezone(TEHRAN).date()


@lru_cache(maxsize=4096)
def day_start(day: date) -> datetime:
    """Return the first instant of a day in Tehran, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=TEHRAN).astimezone(UTC)


def day_end(day: date) -> datetime:
    """Return the instant at which a day in Tehran ends, which is the first of the next day, in UTC."""
    return day_start(day + timedelta(1))


def to_jalali(day: date) -> tuple[int, int, int]:
    """Return year, month and day in the Jalali calendar."""
    jalali = JalaliDate(day)  # type: ignore[no-untyped-call]
    return jalali.year, jalali.month, jalali.day


def from_jalali(year: int, month: int, day: int) -> date:
    """Return the day with this Jalali date. Raise ValueError if there is none, such as 30 Esfand 1404."""
    gregorian = JalaliDate(year, month, day).to_gregorian()  # type: ignore[no-untyped-call]
    return date(gregorian.year, gregorian.month, gregorian.day)


def jalali_text(day: date) -> str:
    """2025-09-27 -> `1404-07-05`."""
    return "{:04d}-{:02d}-{:02d}".format(*to_jalali(day))


def parse_date(text: str, field: str = "") -> date:
    """Return the day of a Jalali date, or a Gregorian one if the year is 1700 or later. Raise Refused: date_invalid."""
    try:
        year, month, day = _parts(text)
        return date(year, month, day) if year >= _GREGORIAN_YEARS else from_jalali(year, month, day)
    except ValueError as e:
        raise Refused("date_invalid", field=field) from e


def month_of(day: date) -> str:
    """Return the Jalali month of a day: `1404-07`."""
    return jalali_text(day)[:7]


def month_end(period: str) -> date:
    """Return the last day of a Jalali month: `1403-12` -> 30 Esfand. Raise ValueError."""
    year, month = map(int, period.split("-"))
    following = from_jalali(year + 1, 1, 1) if month == 12 else from_jalali(year, month + 1, 1)
    return following - timedelta(1)


def month_name(month: int, lang: str) -> str:
    """Return the name of a Jalali month, 1 to 12, in `fa` or `en`: `مهر`, `Mehr`."""
    return (MONTHS_FA if lang == "fa" else MONTHS_EN)[month - 1]


def long_date(day: date, lang: str) -> str:
    """`دوشنبه ۵ آبان ۱۴۰۴`, or `Monday 5 Aban 1404 (27 October 2025)`."""
    y, m, d = to_jalali(day)
    if lang == "fa":
        return persian_digits(f"{WEEKDAYS_FA[day.weekday()]} {d} {month_name(m, lang)} {y}")
    gregorian = f"{day.day} {GREGORIAN_EN[day.month - 1]} {day.year}"
    return f"{WEEKDAYS_EN[day.weekday()]} {d} {month_name(m, lang)} {y} ({gregorian})"


def long_time(instant: datetime, lang: str) -> str:
    """`دوشنبه ۵ آبان ۱۴۰۴، ساعت ۱۰:۴۲`, or `Monday 5 Aban 1404 (27 October 2025), 10:42`; Tehran time."""
    local = instant.astimezone(TEHRAN)
    if lang == "fa":
        return f"{long_date(local.date(), lang)}، ساعت {persian_digits(local.strftime('%H:%M'))}"
    return f"{long_date(local.date(), lang)}, {local.strftime('%H:%M')}"


def age_on(birth: date, day: date) -> int:
    """Return whole years by Jalali birthdays; a birthday on 30 Esfand counts on 1 Farvardin in common years."""
    (y1, *born), (y2, *today) = to_jalali(birth), to_jalali(day)
    return y2 - y1 - (today < born)


def age_band(age: int) -> str:
    """Return the band in `codes.AGE_BANDS`. Raise ValueError below 18."""
    for least, band in _AGE_BANDS:
        if age >= least:
            return band
    raise ValueError("no band below 18")


def _parts(text: str) -> tuple[int, int, int]:
    match = _DATE.fullmatch(digits(text).strip())
    if match is None:
        raise ValueError("not a date")
    return int(match[1]), int(match[3]), int(match[4])
