"""The figures of one round at one moment: sums of dated deltas, scores, four tables, and how the ranks came about."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cached_property

from programme.calendar import month_end, month_of, tehran_day
from programme.policies import CURRENT, Policy, policy
from programme.reference import provinces
from reporting.domain import round as rounds
from reporting.domain.indicators import Counts, counts, total
from reporting.domain.ranking import TABLES, Row, Score, Table, scores, table

MONTHS_SHOWN = 6

Days = Mapping[int, Mapping[str, int]]  # day as an ordinal -> indicator -> sum of deltas


class Figures:
    """All that is said about a round at once; every part is computed when first asked for, and once."""

    def __init__(
        self,
        round_: rounds.State,
        days: Mapping[str, Days],  # by province
        as_of: datetime,
        *,
        version: int = 0,
        events: int = 0,
        latencies: Sequence[int] = (),  # milliseconds
    ) -> None:
        self.round, self.as_of, self.version, self.events = round_, as_of, version, events
        self.latencies = sorted(latencies)
        self.day = tehran_day(as_of)
        self._days = days
        self.kept: dict[tuple[str, ...], bytes] = {}  # what was made of these figures, for the next who asks

    @property
    def edition(self) -> tuple[str, int, str]:
        """What an answer's version depends on: the same day may end without an event."""
        return (self.round.round, self.version, self.day.isoformat())

    @cached_property
    def policy(self) -> Policy:
        """The policy that the round names."""
        return policy(self.round.policy or CURRENT)

    @cached_property
    def month_ends(self) -> tuple[date, ...]:
        """The last days of the months before this one, since the round was announced; the oldest first."""
        ends: list[date] = []
        first = tehran_day(self.round.opened) if self.round.opened else self.day
        day = self.day
        while len(ends) < MONTHS_SHOWN - 1:
            day = _month_before(day)
            if day < first:
                break
            ends.append(day)
        return tuple(reversed(ends))

    @cached_property
    def _counts(self) -> dict[date, dict[str, Counts]]:
        """Each province's figures today and at the month ends."""
        moments = [*self.month_ends, self.day]
        ordinals = [day.toordinal() for day in moments]
        by_day: dict[date, dict[str, Counts]] = {day: {} for day in moments}
        for code in provinces():
            for day, sums in zip(moments, sums_at(self._days.get(code, {}), ordinals), strict=True):
                by_day[day][code] = counts(sums)
        return by_day

    @property
    def counts(self) -> dict[str, Counts]:
        """Each province's figures; 31, always."""
        return self._counts[self.day]

    @cached_property
    def country(self) -> Counts:
        """Their sum."""
        return total(self.counts.values())

    @cached_property
    def scores(self) -> dict[str, Score]:
        """Each province's scores."""
        return scores(self.counts, self.policy.formula)

    @cached_property
    def tables(self) -> dict[str, Table]:
        """The four tables."""
        return {name: table(self.scores, name) for name in TABLES}

    @cached_property
    def ranks(self) -> dict[str, dict[str, int | None]]:
        """Table -> province -> rank."""
        return {name: ranks_of(rows) for name, rows in self.tables.items()}

    @cached_property
    def past_ranks(self) -> dict[str, dict[str, tuple[int | None, ...]]]:
        """Table -> province -> its ranks at the month ends, the oldest first, as known today."""
        past: dict[str, dict[str, tuple[int | None, ...]]] = {name: dict.fromkeys(provinces(), ()) for name in TABLES}
        for day in self.month_ends:
            then = scores(self._counts[day], self.policy.formula)
            for name in TABLES:
                ranks = ranks_of(table(then, name))
                past[name] = {code: (*past[name][code], ranks[code]) for code in past[name]}
        return past

    def row(self, name: str, province: str) -> Row:
        """A province's row in a table."""
        return next(row for row in self.tables[name] if row.province == province)

    def change(self, name: str, province: str) -> int | None:
        """How many ranks it has gained since the end of last month; none where either rank is missing."""
        past, now = self.past_ranks[name][province], self.ranks[name][province]
        return past[-1] - now if past and past[-1] is not None and now is not None else None

    def latency(self, share: float) -> float | None:
        """Seconds from an event to its being counted, among the newest: `.5` the median, `.95` the 95th percentile."""
        if not self.latencies:
            return None
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))] / 1000


def ranks_of(rows: Table) -> dict[str, int | None]:
    """Province -> rank in one table."""
    return {row.province: row.rank for row in rows}


def sums_at(days: Days, moments: Sequence[int]) -> list[dict[str, int]]:
    """The sums of all deltas up to and with each of these days, which come in order."""
    sums: dict[str, int] = {}
    snapshots: list[dict[str, int]] = []
    ordered = sorted(days)
    at = 0
    for moment in moments:
        while at < len(ordered) and ordered[at] <= moment:
            for indicator, n in days[ordered[at]].items():
                sums[indicator] = sums.get(indicator, 0) + n
            at += 1
        snapshots.append(dict(sums))
    return snapshots


def current(known: Iterable[rounds.State], now: datetime) -> rounds.State | None:
    """The round people mean when they name none: the one that opened last, else the one that opens next."""
    dated = sorted((each for each in known if each.opens is not None), key=lambda each: (each.opens, each.round))
    opened = [each for each in dated if each.opens is not None and each.opens <= now]
    return opened[-1] if opened else dated[0] if dated else None


def _month_before(day: date) -> date:
    """The last day of the Jalali month before a day's."""
    first = day
    while month_of(first - timedelta(1)) == month_of(day):
        first -= timedelta(1)
    return month_end(month_of(first - timedelta(1)))
