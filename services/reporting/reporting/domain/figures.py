"""The figures of one round at one moment: sums of dated deltas, scores, four tables and past ranks."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

from programme.calendar import month_end, month_of, tehran_day
from programme.policies import CURRENT, Policy, policy
from programme.reference import provinces
from reporting.domain import round as rounds
from reporting.domain.indicators import Counts, counts, total
from reporting.domain.ranking import TABLES, Row, Score, Table, scores, table

MONTHS_SHOWN = 6

Days = Mapping[int, Mapping[str, int]]  # day as an ordinal -> indicator -> sum of deltas


class Figures:
    """The figures of a round; each part is computed once, on first use or by `compute`."""

    def __init__(
        self,
        round_: rounds.State,
        days: Mapping[str, Days],  # by province
        as_of: datetime,
        *,
        version: int = 0,
        generation: str = "",
        events: int = 0,
        latencies: Sequence[int] = (),  # milliseconds
    ) -> None:
        self.round, self.as_of, self.version, self.events = round_, as_of, version, events
        self.generation = generation
        self.latencies = sorted(latencies)
        self.day = tehran_day(as_of)
        self._days = days
        self.rendered: dict[tuple[str, ...], Any] = {}  # what streams made of these figures, for other viewers

    def compute(self) -> None:
        """Compute all parts that take time, after which the days are no longer needed."""
        _ = self.nationwide, self.ranks, self.past_ranks

    @property
    def edition(self) -> tuple[str, str, int]:
        """Return what a response's ETag depends on."""
        return (self.round.round, self.generation, self.version)

    @cached_property
    def policy(self) -> Policy:
        """Return the policy of the round."""
        return policy(self.round.policy or CURRENT)

    @cached_property
    def month_ends(self) -> tuple[date, ...]:
        """Return the last days of the five months before this one, since the round was announced; the oldest first."""
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
        """Return the figures by day (the month ends and today) and province."""
        moments = [*self.month_ends, self.day]
        ordinals = [day.toordinal() for day in moments]
        by_day: dict[date, dict[str, Counts]] = {day: {} for day in moments}
        for code in provinces():
            for day, sums in zip(moments, sums_at(self._days.get(code, {}), ordinals), strict=True):
                by_day[day][code] = counts(sums)
        return by_day

    @property
    def counts(self) -> dict[str, Counts]:
        """Return today's figures by province, always 31."""
        return self._counts[self.day]

    @cached_property
    def nationwide(self) -> Counts:
        """Return the sums over the provinces."""
        return total(self.counts.values())

    @cached_property
    def scores(self) -> dict[str, Score]:
        """Return the scores by province."""
        return scores(self.counts, self.policy.formula)

    @cached_property
    def tables(self) -> dict[str, Table]:
        """Return the four tables by name."""
        return {name: table(self.scores, name) for name in TABLES}

    @cached_property
    def ranks(self) -> dict[str, dict[str, int | None]]:
        """Return the ranks by table and province."""
        return {name: ranks_of(rows) for name, rows in self.tables.items()}

    @cached_property
    def past_ranks(self) -> dict[str, dict[str, tuple[int | None, ...]]]:
        """Return the ranks at the month ends by table and province, the oldest first, from what is known today."""
        past: dict[str, dict[str, tuple[int | None, ...]]] = {name: dict.fromkeys(provinces(), ()) for name in TABLES}
        for day in self.month_ends:
            past_scores = scores(self._counts[day], self.policy.formula)
            for name in TABLES:
                ranks = ranks_of(table(past_scores, name))
                past[name] = {code: (*past[name][code], ranks[code]) for code in past[name]}
        return past

    def row(self, name: str, province: str) -> Row:
        """Return a province's row in a table."""
        return next(row for row in self.tables[name] if row.province == province)

    def change(self, name: str, province: str) -> int | None:
        """Return the ranks gained since the end of last month, or None if either rank is missing."""
        past, now = self.past_ranks[name][province], self.ranks[name][province]
        return past[-1] - now if past and past[-1] is not None and now is not None else None

    def latency(self, share: float) -> float | None:
        """Return a quantile (0.5, 0.95) of the seconds from an event to its tally, over the newest events."""
        if not self.latencies:
            return None
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))] / 1000


def ranks_of(rows: Table) -> dict[str, int | None]:
    """Return the ranks of a table by province."""
    return {row.province: row.rank for row in rows}


def sums_at(days: Days, moments: Sequence[int]) -> list[dict[str, int]]:
    """Return the sums of all deltas up to and including each of these days, which are in ascending order."""
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


def current_round(known: Iterable[rounds.State], now: datetime) -> rounds.State | None:
    """Return the default round: the one that opened last, else the one that opens next."""
    dated = sorted((each for each in known if each.opens is not None), key=lambda each: (each.opens, each.round))
    opened = [each for each in dated if each.opens is not None and each.opens <= now]
    return opened[-1] if opened else dated[0] if dated else None


def _month_before(day: date) -> date:
    """Return the last day of the Jalali month before the month of a day."""
    first = day
    while month_of(first - timedelta(1)) == month_of(day):
        first -= timedelta(1)
    return month_end(month_of(first - timedelta(1)))
