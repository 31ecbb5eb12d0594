"""The days off that the independent recount is given; it shares no code with the services."""

from peyvand.verify import recount
from programme.calendar import from_jalali
from programme.work_calendar import WorkCalendar, work_calendar


def recount_calendar(known: WorkCalendar | None = None) -> recount.Calendar:
    """Return the calendar of the recount with the days off of a calendar, by default of the current one."""
    off = (known or work_calendar()).days_off
    provinces = {province for each in off for province in each.provinces}
    return recount.Calendar(
        [each.day for each in off if not each.provinces],
        {province: [each.day for each in off if province in each.provinces] for province in provinces},
        [from_jalali(year, month, 1) for year in range(1399, 1420) for month in range(1, 13)],
    )
