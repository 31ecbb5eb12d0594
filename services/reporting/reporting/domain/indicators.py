"""The indicators of one province at the end of a day, and the terms of its stage scores, in exact fractions."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import msgspec

from programme.policies import Formula
from reporting.domain import contributions as c

STAGES = ("stage_1", "stage_2", "stage_3")


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """One province's figures at the end of a day; the names are those of `contributions`."""

    quota: int = 0
    registered: int = 0
    verified: int = 0
    screened: int = 0
    approved: int = 0
    appealed: int = 0
    overturned: int = 0
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
    gave_up: int = 0
    gave_up_sustainable: int = 0
    withdrawn: int = 0
    withdrawn_by_officer: int = 0
    officer_acts: int = 0
    to_decision: int | None = None  # lower medians of whole working days
    applicant_turn: int | None = None
    to_capacity: int | None = None
    to_market: int | None = None
    end_to_end: int | None = None


PLAIN = tuple(name for name in Counts.__struct_fields__ if name not in c.DURATIONS)


def counts(sums: Mapping[str, int]) -> Counts:
    """Return the figures from the sums of deltas by indicator, histograms (`end_to_end:7`) included."""
    durations: dict[str, dict[int, int]] = {}
    for indicator, n in sums.items():
        name, _, days = indicator.partition(":")
        if days and n:
            durations.setdefault(name, {})[int(days)] = n
    medians: dict[str, Any] = {name: lower_median(histogram) for name, histogram in durations.items()}
    plain: dict[str, Any] = {name: sums.get(name, 0) for name in PLAIN}
    return Counts(**plain, **medians)


def total(provinces: Iterable[Counts]) -> Counts:
    """Return the sums over provinces, without medians: they cannot be summed."""
    each = list(provinces)
    return Counts(**{name: sum(getattr(one, name) for one in each) for name in PLAIN})


def lower_median(histogram: Mapping[int, int]) -> int | None:
    """Return the lower median of a histogram (value -> frequency), or None if it is empty."""
    half, counted = (sum(histogram.values()) + 1) // 2, 0
    if half <= 0:
        return None
    for value in sorted(histogram):
        counted += histogram[value]
        if counted >= half:
            return value
    return None


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """One term of a stage score: numerator, denominator and weight."""

    id: str
    numerator: int
    denominator: int
    weight: Fraction
    capped: bool = False  # counts at most 1
    dropped: bool = False  # too few cases: left out; the stage is divided by the weights of the others

    @property
    def raw(self) -> Fraction:
        """Return the share, uncapped; 0 if the denominator is 0 or the term is dropped."""
        return Fraction(self.numerator, self.denominator) if self.denominator and not self.dropped else Fraction(0)

    @property
    def value(self) -> Fraction:
        """Return the share as it counts: capped if the formula caps it."""
        return min(self.raw, Fraction(1)) if self.capped else self.raw

    @property
    def contribution(self) -> Fraction:
        """Return weight times value, before the stage is divided by the weights that count."""
        return self.weight * self.value


def shares(counts: Counts, formula: Formula) -> dict[str, tuple[int, int]]:
    """Return (numerator, denominator) of every term that a formula may weigh.

    If the formula keeps leavers, producers who gave up their seat stay in the denominators of the market shares for the
    month: no province gains by making those withdraw who sell nothing.
    """
    gave_up, old_enough = (counts.gave_up, counts.gave_up_sustainable) if formula.leavers_stay else (0, 0)
    return {
        "R1": (counts.registered, counts.quota),
        "S1": (counts.screened, counts.registered),
        "S3": (counts.screened_in_time, counts.screening_due),
        "C1": (counts.admitted, counts.quota),
        "C2": (counts.identified, counts.admitted),
        "C3": (counts.identified_in_time, counts.capacity_due),
        "M1": (counts.connected, counts.quota),
        "M2": (counts.connected, counts.identified + gave_up),
        "M3": (counts.sustained, counts.sustainable + old_enough),
    }


def stage_terms(counts: Counts, formula: Formula, stage: str) -> tuple[Term, ...]:
    """Return the terms of one stage, in the order of the formula."""
    parts, weights = shares(counts, formula), getattr(formula, stage)
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
    """Return the sum of the contributions over the sum of the weights, both without dropped terms."""
    kept = [term for term in terms if not term.dropped]
    weights = sum((term.weight for term in kept), Fraction(0))
    return sum((term.contribution for term in kept), Fraction(0)) / weights if weights else Fraction(0)


def data_terms(counts: Counts, formula: Formula) -> tuple[Term, ...]:
    """Return the terms of the data factor: verified identities and confirmed claims of a connection."""
    half = (1 - formula.data_least) / 2
    return (
        Term(id="R3", numerator=counts.verified, denominator=counts.registered, weight=half),
        Term(id="M5", numerator=counts.claims_confirmed, denominator=counts.claims, weight=half),
    )


def data_factor(counts: Counts, formula: Formula) -> Fraction:
    """Return D, between the minimum of the formula and 1."""
    return formula.data_least + sum((term.contribution for term in data_terms(counts, formula)), Fraction(0))
