"""Encode days and machine times as plain integers: cheap to store and compare, for there are millions of them."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from programme.calendar import tehran_day
from programme.work_calendar import work_calendar

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def newest(known: int, recorded: datetime | None) -> int:
    """Return the later of two machine times, in milliseconds since 1970; None counts as 0."""
    if recorded is None:
        return known
    since = recorded - _EPOCH
    found = since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000
    return found if found > known else known


def day_of(instant: datetime) -> int:
    """Return the day in Tehran as an ordinal. Raise UnknownDay where no duration that ends on it could be computed.

    It is raised here, where the event is parked, not in the tallies.
    Tehran's UTC offset is a whole number of half hours, so each half hour is looked up once.
    """
    if instant.tzinfo is not UTC:
        instant = instant.astimezone(UTC)
    return _day_of(instant.toordinal(), instant.hour * 2 + instant.minute // 30)


@lru_cache(4096)
def _day_of(day: int, half_hour: int) -> int:
    found = tehran_day(datetime.fromordinal(day).replace(tzinfo=UTC) + timedelta(minutes=30 * half_hour))
    return work_calendar().known(found).toordinal()
