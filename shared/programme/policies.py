"""Policies: working days, eligibility and the formula as immutable versioned documents; new versions are added only."""

from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

CURRENT = "1404-1"  # what a round gets that names no other


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One condition of eligibility: derived from what is known, or asked by the screener."""

    name: str
    reason: str  # of codes.REJECTION_REASONS, where it is not met
    asked: bool  # by the screener; else derived
    fa: str
    en: str


class Formula(msgspec.Struct, frozen=True, kw_only=True):
    """The index: exact weights of the terms of each stage, in the order that breaks ties of equal weight."""

    stage_1: dict[str, Fraction]
    stage_2: dict[str, Fraction]
    stage_3: dict[str, Fraction]
    capped: tuple[str, ...]  # terms that count at most 1
    data_least: Fraction  # the data factor without verified identities and proven claims
    exponents: tuple[Fraction, Fraction, Fraction]
    floor: Fraction  # a stage score counts at least this in the composite
    small_base: int  # fewer registered than this are marked
    sustained_minimum: int  # fewer cases than this drop the term of the sustained share


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What applies to the applicants of a round."""

    version: str
    screening_days: int  # working days
    capacity_days: int  # working days
    sustained_days: int  # days
    minimum_age: int  # whole years on the day of registration
    evidence_counted: str  # a connection counts from this step of the ladder on
    eligibility: tuple[Rule, ...]
    formula: Formula


@cache
def policy(version: str) -> Policy:
    """The policies of one version. Raises KeyError for one that was never published."""
    file = _FOLDER / f"{version}.json"
    if version not in versions():
        raise KeyError(version)
    return msgspec.json.decode(file.read_bytes(), type=Policy, dec_hook=_exact)


@cache
def versions() -> tuple[str, ...]:
    """Every version ever published, in order."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.json")))


_FOLDER = Path(__file__).parent / "data" / "policies"


def _exact(kind: type[Any], value: Any) -> Any:
    if kind is Fraction and isinstance(value, str):
        return Fraction(value)
    raise TypeError(f"{kind} from {value!r}")
