"""Policies: deadlines, eligibility rules and the ranking formula, as versioned documents that are never edited."""

from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from contracts.commands import UnknownVersion

CURRENT = "1404-1"  # default of a new round


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One condition of eligibility: derived from the application, or answered by the screener."""

    name: str
    reason: str  # of codes.REJECTION_REASONS, if it is not met
    asked: bool  # True: the screener answers it; False: derived
    fa: str
    en: str


class Formula(msgspec.Struct, frozen=True, kw_only=True):
    """The ranking formula: exact weights of the terms of each stage, in the order that breaks ties of equal weight."""

    stage_1: dict[str, Fraction]
    stage_2: dict[str, Fraction]
    stage_3: dict[str, Fraction]
    capped: tuple[str, ...]  # terms that are limited to 1
    data_least: Fraction  # data factor if no identity is verified and no connection is evidenced
    exponents: tuple[Fraction, Fraction, Fraction]
    floor: Fraction  # lower limit of a stage score in the composite
    small_base: int  # provinces with fewer registered applicants are marked as small
    sustained_minimum: int  # with fewer cases the term of the sustained share is omitted
    leavers_stay: bool = False  # producers who gave up their seat count in the market shares until the month ends


class NotificationRules(msgspec.Struct, frozen=True, kw_only=True):
    """When messages that can wait are sent to a person."""

    quiet_from: int = 21  # o'clock in Tehran
    quiet_until: int = 8
    daily_limit: int = 5  # messages to a person in any 24 hours
    valid_days: int = 3  # days after which a message that could not be sent would be no news any more


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The policies that apply to the applicants of a round."""

    version: str
    screening_days: int  # working days
    capacity_days: int  # working days
    appeal_window_days: int = 10  # working days after a rejection, in which an appeal may be filed
    appeal_days: int = 10  # working days in which it is decided; both hold for versions that name none
    unreachable_calls: int = 3  # without an answer, before "could not be reached" is a reason to reject
    unreachable_days: int = 2  # on which they were made
    second_look_percent: int = 5  # of the approvals, drawn, that another officer looks at again
    claim_minutes: int = 120  # for which a case that an officer has claimed is offered to no other
    info_days: int = 15  # working days in which an applicant brings the papers that screening asks for
    info_requests: int = 3  # how often it may ask about one application
    proposal_days: int = 7  # working days in which a second person may sign a proposal about seats
    sustained_days: int  # days
    minimum_age: int  # full years on the day of registration
    evidence_counted: str  # a connection counts if its evidence is at least this
    eligibility: tuple[Rule, ...]
    formula: Formula
    notifications: NotificationRules = NotificationRules()  # of versions that name none


@cache
def policy(version: str) -> Policy:
    """Return the policies of one version. Raise UnknownVersion."""
    file = _FOLDER / f"{version}.json"
    if version not in versions():
        raise UnknownVersion(version)
    return msgspec.json.decode(file.read_bytes(), type=Policy, dec_hook=_exact)


@cache
def versions() -> tuple[str, ...]:
    """Return all versions, in order."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.json")))


def documents() -> tuple[Path, ...]:
    """Return the files of all policies and calendars."""
    return (*_FOLDER.glob("*.json"), *_FOLDER.parent.glob("calendars/*.json"))


_FOLDER = Path(__file__).parent / "data" / "policies"


def _exact(kind: type[Any], value: Any) -> Any:
    if kind is Fraction and isinstance(value, str):
        return Fraction(value)
    raise TypeError(f"{kind} from {value!r}")
