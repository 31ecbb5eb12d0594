"""Working days: calendars as versioned documents that are never edited. A moved holiday is in a new version."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from functools import cache, cached_property
from pathlib import Path

import msgspec

from contracts.commands import UnknownVersion
from programme.calendar import TEHRAN

CURRENT = "1404-1"  # by which new deadlines, and all durations, are computed
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
OFFICE_OPENS, OFFICE_HOURS = time(8), 8  # a working day, for counting working hours


class UnknownDay(UnknownVersion):
    """The calendar of this version of the code does not know a day; it is not taken for a working day."""


class DayOff(msgspec.Struct, frozen=True):
    """A public holiday, or a closure by decree, with where it is known from."""

    day: date
    jalali: str  # the same day, for those who maintain the document
    name_fa: str
    kind: str  # fixed | lunar | decree
    certainty: str  # certain | estimated: lunar days are confirmed each year
    source: str  # a key of `sources`
    provinces: tuple[str, ...] = ()  # where it is a day off; everywhere if empty


class WorkCalendar(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The days off from its first to its last day. All methods raise UnknownDay outside."""

    version: str
    begins: date
    ends: date
    weekend: tuple[str, ...]
    sources: Mapping[str, str]
    days_off: tuple[DayOff, ...]

    def area(self, province: str) -> str:
        """Return the province if it has days off of its own, else ""."""
        return province if province in self._working_days else ""

    def known(self, day: date) -> date:
        """Return a day that is not outside."""
        if not self.begins <= day <= self.ends:
            raise UnknownDay(f"{day}: calendar {self.version} begins on {self.begins} and ends on {self.ends}")
        return day

    def is_working_day(self, day: date, province: str = "") -> bool:
        """Return whether a day is neither of the weekend nor off, in this province or everywhere."""
        return self._until(day, province) > self._until(day - timedelta(1), province)

    def add_working_days(self, day: date, n: int, province: str = "") -> date:
        """Return the n-th working day after a day; the day itself if n is 0."""
        days, wanted = self._days(province), self._until(day, province) + n - 1
        if wanted >= len(days):
            raise UnknownDay(f"{n} working days after {day}: calendar {self.version} ends on {self.ends}")
        return date.fromordinal(days[wanted]) if n else day

    def working_days_between(self, a: date, b: date, province: str = "") -> int:
        """Count the working days after `a` up to and including `b`; 0 if `b` is not later."""
        return max(0, self._until(b, province) - self._until(a, province))

    def working_hours_between(self, a: datetime, b: datetime, province: str = "") -> int:
        """Count whole hours between two instants, 08:00 to 16:00 in Tehran on working days; 0 if `b` is earlier."""
        return max(0, int((self._worked(b, province) - self._worked(a, province)) // timedelta(hours=1)))

    def _until(self, day: date, province: str) -> int:
        """Return how many of its days up to and including this one are working days."""
        if day != self.begins - timedelta(1):  # up to which there are none
            self.known(day)
        return bisect_right(self._days(province), day.toordinal())

    def _worked(self, instant: datetime, province: str) -> timedelta:
        local = instant.astimezone(TEHRAN)
        day = local.date()
        before = timedelta(hours=OFFICE_HOURS) * self._until(day - timedelta(1), province)
        if not self.is_working_day(day, province):
            return before
        today = local.replace(tzinfo=None) - datetime.combine(day, OFFICE_OPENS)
        return before + min(max(today, timedelta(0)), timedelta(hours=OFFICE_HOURS))

    def _days(self, province: str) -> Sequence[int]:
        return self._working_days.get(province) or self._working_days[""]

    @cached_property
    def _working_days(self) -> dict[str, list[int]]:
        """Return the working days as ordinals, of all under "", and of provinces with days off of their own."""
        free = {WEEKDAYS.index(name) for name in self.weekend}
        off = {"": {each.day for each in self.days_off if not each.provinces}}
        for province in sorted({province for each in self.days_off for province in each.provinces}):
            off[province] = off[""] | {each.day for each in self.days_off if province in each.provinces}
        days = [self.begins + timedelta(n) for n in range((self.ends - self.begins).days + 1)]
        working = [day for day in days if day.weekday() not in free]
        return {province: [day.toordinal() for day in working if day not in closed] for province, closed in off.items()}


@cache
def work_calendar(version: str = CURRENT) -> WorkCalendar:
    """Return one version, by default the current one. Raise UnknownVersion."""
    if version not in versions():
        raise UnknownVersion(version)
    return msgspec.json.decode((_FOLDER / f"{version}.json").read_bytes(), type=WorkCalendar)


@cache
def versions() -> tuple[str, ...]:
    """Return all versions, in order."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.json")))


_FOLDER = Path(__file__).parent / "data" / "calendars"
