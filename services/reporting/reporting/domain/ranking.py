"""Four tables over 31 provinces: exact scores, ties and ranks. A province's score depends on its own figures only.

The composite ranks on D^4 * S1 * S2 * S3^2, the fourth power of index/100. It is a rational number, so nothing is
rounded before it is compared.
"""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from functools import cached_property

from programme.policies import Formula
from reporting.domain.indicators import (
    STAGES,
    Counts,
    Term,
    data_factor,
    data_terms,
    stage_score,
    stage_terms,
)

TABLES = ("composite", "1", "2", "3")
NO_QUOTA = "no_quota"
DECIMALS = 2  # shown of a table's value; more if two different rows would look alike
MAX_DECIMALS = 12  # beyond that no one compares them

_PRECISE = Context(prec=60)


class Score:
    """One province's scores under a formula; each is computed on first use, once."""

    def __init__(self, province: str, counts: Counts, formula: Formula) -> None:
        self.province, self.counts, self.formula = province, counts, formula

    @cached_property
    def terms(self) -> dict[str, tuple[Term, ...]]:
        """Return the terms by stage."""
        return {stage: stage_terms(self.counts, self.formula, stage) for stage in STAGES}

    @cached_property
    def data(self) -> tuple[Term, ...]:
        """Return the terms of the data factor."""
        return data_terms(self.counts, self.formula)

    @cached_property
    def d(self) -> Fraction:
        """Return the data factor D."""
        return data_factor(self.counts, self.formula)

    @cached_property
    def stages(self) -> tuple[Fraction, ...]:
        """Return S1, S2, S3, not floored."""
        return tuple(stage_score(self.terms[stage]) for stage in STAGES)

    @cached_property
    def floored(self) -> tuple[Fraction, ...]:
        """Return S1, S2, S3 with the floor of the composite."""
        return tuple(max(score, self.formula.floor) for score in self.stages)

    @cached_property
    def rank_value(self) -> Fraction:
        """Return (index/100)^k = D^k * S1^(k*a) * S2^(k*b) * S3^(k*c), with k = `root`."""
        value = self.d**self.root
        for score, exponent in zip(self.floored, self.formula.exponents, strict=True):
            value *= score ** int(exponent * self.root)
        return value

    @cached_property
    def root(self) -> int:
        """Return the smallest power that makes every exponent an integer: 4."""
        power = 1
        while any((exponent * power).denominator != 1 for exponent in self.formula.exponents):
            power += 1
        return power

    @cached_property
    def index(self) -> Decimal:
        """Return the index, of 100, to 50 digits. It is shown, never ranked on."""
        return _PRECISE.multiply(Decimal(100), root(self.rank_value, self.root))

    @property
    def unranked(self) -> str:
        """Return why the province has no rank, or an empty string."""
        return "" if self.counts.quota > 0 else NO_QUOTA

    @property
    def small_base(self) -> bool:
        """Return whether too few people are registered for a reliable figure."""
        return self.counts.registered < self.formula.small_base

    def ranked_on(self, table: str) -> Fraction:
        """Return the exact value by which a table ranks."""
        return self.rank_value if table == "composite" else self.stages[int(table) - 1]

    def shown(self, table: str) -> Decimal:
        """Return the value that a table shows, of 100, unrounded."""
        return self.index if table == "composite" else 100 * _decimal(self.stages[int(table) - 1])

    def order(self, table: str) -> tuple[Fraction, ...]:
        """Return the sort key of a table, the largest first; equal keys share a rank."""
        if table == "composite":
            s1, s2, s3 = self.stages
            connected = Fraction(self.counts.connected, self.counts.quota) if self.counts.quota else Fraction(0)
            ties: tuple[Fraction, ...] = (s3, connected, s2, s1)
        else:
            terms = self.terms[STAGES[int(table) - 1]]
            ties = tuple(term.value for term in sorted(terms, key=lambda term: -term.weight))
        days = self.counts.end_to_end
        quickest = Fraction(-days) if days is not None else Fraction(-(10**9))
        return (self.ranked_on(table), *ties, quickest, Fraction(self.counts.quota))


class Row:
    """One province in one table."""

    def __init__(
        self, score: Score, rank: int | None, decimals: int, shown: Decimal, *, by_tie_rule: bool = False
    ) -> None:
        """`by_tie_rule`: the row before it has the same value, and a rule for ties placed it here."""
        self.score, self.rank, self.decimals, self.shown, self.by_tie_rule = score, rank, decimals, shown, by_tie_rule

    @property
    def province(self) -> str:
        """Return the province's code."""
        return self.score.province

    @property
    def unranked(self) -> str:
        """Return why the province has no rank, or an empty string."""
        return self.score.unranked


Table = tuple[Row, ...]


def scores(figures: Mapping[str, Counts], formula: Formula) -> dict[str, Score]:
    """Return the scores by province, each from that province's figures only."""
    return {province: Score(province, counts, formula) for province, counts in figures.items()}


def table(scored: Mapping[str, Score], name: str) -> Table:
    """Return the rows by rank, then by code, the unranked last. Equal rows share a rank: 1, 2, 2, 4."""
    ranked = sorted((s for s in scored.values() if not s.unranked), key=lambda s: s.province)
    keys = {s.province: s.order(name) for s in ranked}
    ranked.sort(key=lambda s: keys[s.province], reverse=True)  # stable: equal rows stay in the order of their codes
    rows: list[Row] = []
    decimals = _decimals(ranked, name)
    for position, score in enumerate(ranked, 1):
        before = rows[-1] if rows else None
        tied = before is not None and keys[before.province] == keys[score.province]
        rank = before.rank if before is not None and tied else position
        shown = rounded(score.shown(name), decimals[score.province])
        equal = before is not None and not tied and before.score.ranked_on(name) == score.ranked_on(name)
        rows.append(Row(score, rank, decimals[score.province], shown, by_tie_rule=equal))
    unranked = sorted((s for s in scored.values() if s.unranked), key=lambda s: s.province)
    return (*rows, *(Row(s, None, DECIMALS, rounded(s.shown(name), DECIMALS)) for s in unranked))


def rounded(value: Decimal, decimals: int) -> Decimal:
    """Round half to even."""
    return value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN, _PRECISE)


def root(value: Fraction, power: int) -> Decimal:
    """Return the root of a fraction between 0 and 1, to 50 digits."""
    if value <= 0:
        return Decimal(0)
    digits = 50
    scale = 10 ** (digits * power)
    return Decimal(_whole_root(value.numerator * scale // value.denominator, power)).scaleb(-digits, _PRECISE)


def _whole_root(value: int, power: int) -> int:
    """Return the largest integer whose power is at most `value`, by Newton's method from above."""
    guess = 1 << -(-value.bit_length() // power)
    while True:
        better = ((power - 1) * guess + value // guess ** (power - 1)) // power
        if better >= guess:
            return guess
        guess = better


def _decimal(value: Fraction) -> Decimal:
    return _PRECISE.divide(Decimal(value.numerator), Decimal(value.denominator))


def _decimals(ranked: Sequence[Score], name: str) -> dict[str, int]:
    """Return the decimals to show by province: rows that would look alike and are not get as many as distinguish them.

    All rows that look alike get the same number, also those among them that are equal: a tie rule placed these.
    """
    alike: dict[Decimal, list[Score]] = {}
    for score in ranked:
        alike.setdefault(rounded(score.shown(name), DECIMALS), []).append(score)
    return {each.province: _distinguishing(group, name) for group in alike.values() for each in group}


def _distinguishing(group: Sequence[Score], name: str) -> int:
    values = {score.ranked_on(name): score.shown(name) for score in group}
    return next(
        (n for n in range(DECIMALS, MAX_DECIMALS) if len({rounded(v, n) for v in values.values()}) == len(values)),
        MAX_DECIMALS,
    )
