"""Four tables over 31 provinces: exact scores, ties and ranks. No province is scored against another.

The composite ranks on D^4 * S1 * S2 * S3^2, the fourth power of the index over 100: a rational number, so that
nothing is rounded before it is compared.
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
DECIMALS = 2  # of what a table ranks on; a third where two different rows would look equal

_PRECISE = Context(prec=60)


class Score:
    """One province's scores under a formula, each figure computed once."""

    def __init__(self, province: str, counts: Counts, formula: Formula) -> None:
        self.province, self.counts, self.formula = province, counts, formula

    @cached_property
    def terms(self) -> dict[str, tuple[Term, ...]]:
        """The terms by stage, as written."""
        return {stage: stage_terms(self.counts, self.formula, stage) for stage in STAGES}

    @cached_property
    def data(self) -> tuple[Term, ...]:
        """The terms of the data factor."""
        return data_terms(self.counts, self.formula)

    @cached_property
    def d(self) -> Fraction:
        """The data factor."""
        return data_factor(self.counts, self.formula)

    @cached_property
    def stages(self) -> tuple[Fraction, ...]:
        """S1, S2, S3, not floored."""
        return tuple(stage_score(self.terms[stage]) for stage in STAGES)

    @cached_property
    def floored(self) -> tuple[Fraction, ...]:
        """S1, S2, S3 as the composite takes them."""
        return tuple(max(score, self.formula.floor) for score in self.stages)

    @cached_property
    def rank_value(self) -> Fraction:
        """D^k * S1^a * S2^b * S3^c with k the common denominator of the exponents: the k-th power of index/100."""
        value = self.d**self.root
        for score, exponent in zip(self.floored, self.formula.exponents, strict=True):
            value *= score ** int(exponent * self.root)
        return value

    @cached_property
    def root(self) -> int:
        """The smallest power that makes every exponent whole: 4."""
        power = 1
        while any((exponent * power).denominator != 1 for exponent in self.formula.exponents):
            power += 1
        return power

    @cached_property
    def index(self) -> Decimal:
        """The index, of 100, with far more digits than are shown; never ranked on."""
        return _PRECISE.multiply(Decimal(100), root(self.rank_value, self.root))

    @property
    def unranked(self) -> str:
        """Why the province has no rank; empty where it has one."""
        return "" if self.counts.quota > 0 else NO_QUOTA

    @property
    def small_base(self) -> bool:
        """Too few registered for the figures to say much."""
        return self.counts.registered < self.formula.small_base

    def ranked_on(self, table: str) -> Fraction:
        """What a table ranks on."""
        return self.rank_value if table == "composite" else self.stages[int(table) - 1]

    def shown(self, table: str) -> Decimal:
        """The same as people see it, of 100, unrounded."""
        return self.index if table == "composite" else 100 * _decimal(self.stages[int(table) - 1])

    def order(self, table: str) -> tuple[Fraction, ...]:
        """The key a table is ordered by, larger first; equal keys share a rank."""
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

    def __init__(self, score: Score, rank: int | None, decimals: int, shown: Decimal) -> None:
        self.score, self.rank, self.decimals, self.shown = score, rank, decimals, shown

    @property
    def province(self) -> str:
        """Its code."""
        return self.score.province

    @property
    def unranked(self) -> str:
        """Why it has no rank."""
        return self.score.unranked


Table = tuple[Row, ...]


def scores(figures: Mapping[str, Counts], formula: Formula) -> dict[str, Score]:
    """Each province's scores, each from its own figures alone."""
    return {province: Score(province, counts, formula) for province, counts in figures.items()}


def table(of: Mapping[str, Score], name: str) -> Table:
    """The rows in listing order: by rank, then by code; the unranked last. Ranks as in 1, 2, 2, 4."""
    ranked = sorted((s for s in of.values() if not s.unranked), key=lambda s: s.province)
    keys = {s.province: s.order(name) for s in ranked}
    ranked.sort(key=lambda s: keys[s.province], reverse=True)  # stable: equal ones stay in the order of their codes
    rows: list[Row] = []
    decimals = _decimals(ranked, name)
    for place, score in enumerate(ranked, 1):
        before = rows[-1] if rows else None
        tied = before is not None and keys[before.province] == keys[score.province]
        rank = before.rank if before is not None and tied else place
        rows.append(Row(score, rank, decimals[score.province], rounded(score.shown(name), decimals[score.province])))
    unranked = sorted((s for s in of.values() if s.unranked), key=lambda s: s.province)
    return (*rows, *(Row(s, None, DECIMALS, rounded(s.shown(name), DECIMALS)) for s in unranked))


def tables(of: Mapping[str, Score]) -> dict[str, Table]:
    """All four."""
    return {name: table(of, name) for name in TABLES}


def rounded(value: Decimal, decimals: int) -> Decimal:
    """As shown: half to even."""
    return value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN, _PRECISE)


def root(value: Fraction, power: int) -> Decimal:
    """The root of a fraction between 0 and 1, to 50 digits."""
    if value <= 0:
        return Decimal(0)
    digits = 50
    scale = 10 ** (digits * power)
    return Decimal(_whole_root(value.numerator * scale // value.denominator, power)).scaleb(-digits, _PRECISE)


def _whole_root(value: int, power: int) -> int:
    """The largest whole number whose power is not greater, by Newton's method from above."""
    guess = 1 << -(-value.bit_length() // power)
    while True:
        better = ((power - 1) * guess + value // guess ** (power - 1)) // power
        if better >= guess:
            return guess
        guess = better


def _decimal(value: Fraction) -> Decimal:
    return _PRECISE.divide(Decimal(value.numerator), Decimal(value.denominator))


def _decimals(ranked: Sequence[Score], name: str) -> dict[str, int]:
    """Two decimals; three for all who would look equal and are not."""
    alike: dict[Decimal, set[Fraction]] = {}
    for score in ranked:
        alike.setdefault(rounded(score.shown(name), DECIMALS), set()).add(score.ranked_on(name))
    return {s.province: DECIMALS + (len(alike[rounded(s.shown(name), DECIMALS)]) > 1) for s in ranked}
