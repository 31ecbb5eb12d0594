"""Days and machine times as the facts keep them: plain numbers, and cheap, for there are millions."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from programme.calendar import tehran_day

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def newest(known: int, recorded: datetime | None) -> int:
    """The later of a machine time in milliseconds since 1970 and another; none counts as 0."""
    if recorded is None:
        return known
    since = recorded - _EPOCH
    found = since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000
    return found if found > known else known


def day_of(instant: datetime) -> int:
    """The day in Tehran as an ordinal; its offset is a whole number of half hours: each half hour is looked up once."""
    if instant.tzinfo is not UTC:
        instant = instant.astimezone(UTC)
    return _day_of(instant.toordinal(), instant.hour * 2 + instant.minute // 30)


@lru_cache(4096)
def _day_of(day: int, half_hour: int) -> int:
    return tehran_day(datetime.fromordinal(day).replace(tzinfo=UTC) + timedelta(minutes=30 * half_hour)).toordinal()
