"""The indicators of one province as of a day, and the terms of the stage scores made of them, in exact fractions."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import msgspec

from programme.policies import Formula
from reporting.domain import contributions as c

STAGES = ("stage_1", "stage_2", "stage_3")


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """One province's figures as of a day; the names are those of `contributions`."""

    quota: int = 0
    registered: int = 0
    verified: int = 0
    screened: int = 0
    approved: int = 0
    screened_in_time: int = 0
    screening_due: int = 0
    admitted: int = 0
    identified: int = 0
    identified_in_time: int = 0
    capacity_due: int = 0
    ready: int = 0
    connected: int = 0
    sustained: int = 0
    sustainable: int = 0
    claims: int = 0
    claims_documented: int = 0
    claims_confirmed: int = 0
    claims_sold: int = 0
    claims_sustained: int = 0
    to_decision: int | None = None  # lower medians of whole working days
    to_capacity: int | None = None
    to_market: int | None = None
    end_to_end: int | None = None


PLAIN = tuple(name for name in Counts.__struct_fields__ if name not in c.DURATIONS)


def counts(sums: Mapping[str, int]) -> Counts:
    """The figures out of sums of deltas by indicator, histograms (`end_to_end:7`) included."""
    durations: dict[str, dict[int, int]] = {}
    for indicator, n in sums.items():
        name, _, days = indicator.partition(":")
        if days and n:
            durations.setdefault(name, {})[int(days)] = n
    medians: dict[str, Any] = {name: lower_median(histogram) for name, histogram in durations.items()}
    plain: dict[str, Any] = {name: sums.get(name, 0) for name in PLAIN}
    return Counts(**plain, **medians)


def total(of: Iterable[Counts]) -> Counts:
    """The country's figures; medians are not sums, and are left out."""
    each = list(of)
    return Counts(**{name: sum(getattr(one, name) for one in each) for name in PLAIN})


def lower_median(histogram: Mapping[int, int]) -> int | None:
    """The lower median of values with their frequencies; none where there are none."""
    half, seen = (sum(histogram.values()) + 1) // 2, 0
    if half <= 0:
        return None
    for value in sorted(histogram):
        seen += histogram[value]
        if seen >= half:
            return value
    return None


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """One term of a stage score: what it counts, of what, with which weight."""

    id: str
    numerator: int
    denominator: int
    weight: Fraction
    capped: bool = False  # counts at most 1
    dropped: bool = False  # too few cases: left out, and the others' weights stand for the whole

    @property
    def raw(self) -> Fraction:
        """The share as it is; 0 where nobody has reached the stage, or where the term is dropped."""
        return Fraction(self.numerator, self.denominator) if self.denominator and not self.dropped else Fraction(0)

    @property
    def value(self) -> Fraction:
        """The share as it counts."""
        return min(self.raw, Fraction(1)) if self.capped else self.raw

    @property
    def contribution(self) -> Fraction:
        """What the term adds to its stage, before others are dropped."""
        return self.weight * self.value


def shares(of: Counts) -> dict[str, tuple[int, int]]:
    """Numerator and denominator of every term that a formula may weigh."""
    return {
        "R1": (of.registered, of.quota),
        "S1": (of.screened, of.registered),
        "S3": (of.screened_in_time, of.screening_due),
        "C1": (of.admitted, of.quota),
        "C2": (of.identified, of.admitted),
        "C3": (of.identified_in_time, of.capacity_due),
        "M1": (of.connected, of.quota),
        "M2": (of.connected, of.identified),
        "M3": (of.sustained, of.sustainable),
    }


def stage_terms(of: Counts, formula: Formula, stage: str) -> tuple[Term, ...]:
    """The terms of one stage, as written in the formula."""
    parts, weights = shares(of), getattr(formula, stage)
    return tuple(
        Term(
            id=name,
            numerator=parts[name][0],
            denominator=parts[name][1],
            weight=weight,
            capped=name in formula.capped,
            dropped=name == "M3" and parts[name][1] < formula.sustained_minimum,
        )
        for name, weight in weights.items()
    )


def stage_score(terms: Iterable[Term]) -> Fraction:
    """The weighted sum of what counts, over the weights of what was not dropped."""
    kept = [term for term in terms if not term.dropped]
    weights = sum((term.weight for term in kept), Fraction(0))
    return sum((term.contribution for term in kept), Fraction(0)) / weights if weights else Fraction(0)


def data_terms(of: Counts, formula: Formula) -> tuple[Term, ...]:
    """What the data factor is made of: verified identities, and claimed connections that somebody confirmed."""
    half = (1 - formula.data_least) / 2
    return (
        Term(id="R3", numerator=of.verified, denominator=of.registered, weight=half),
        Term(id="M5", numerator=of.claims_confirmed, denominator=of.claims, weight=half),
    )


def data_factor(of: Counts, formula: Formula) -> Fraction:
    """D: between what the formula grants at least, and 1."""
    return formula.data_least + sum((term.contribution for term in data_terms(of, formula)), Fraction(0))
