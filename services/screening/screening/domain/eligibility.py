"""Who is eligible: the conditions of a policy, each derived from known facts or asked by telephone, with a trace."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date

import msgspec

from contracts.codes import AGE_BANDS
from programme.policies import Policy
from programme.reference import job_fields

DERIVED, TELEPHONE, OFFICER, UNANSWERED = "derived", "telephone", "officer", ""  # sources of an answer


class Facts(msgspec.Struct, frozen=True):
    """What the derived conditions depend on."""

    age_band: str
    field: str
    identity: str = ""
    unanswered: tuple[date, ...] = ()  # days of the calls to the applicant without an answer


class Finding(msgspec.Struct, frozen=True):
    """The result of one condition; `holds` is None while it is unanswered."""

    rule: str
    reason: str  # the code for a rejection because of it
    holds: bool | None
    source: str
    fa: str
    en: str


def trace(policy: Policy, facts: Facts, answers: Mapping[str, bool] | None = None) -> tuple[Finding, ...]:
    """Return all conditions in the order of the policy; without answers the asked ones are unanswered."""
    return tuple(
        Finding(
            rule.name,
            rule.reason,
            None if answers is None else answers.get(rule.name),
            TELEPHONE if answers is not None else UNANSWERED,
            rule.fa,
            rule.en,
        )
        if rule.asked
        else Finding(rule.name, rule.reason, derived_conditions()[rule.name](policy, facts), DERIVED, rule.fa, rule.en)
        for rule in policy.eligibility
    )


def trace_of_decision(policy: Policy, facts: Facts, approved: bool, reasons: Sequence[str]) -> tuple[Finding, ...]:
    """Return all conditions as decided: an approval confirms all of them, a rejection denies those that it names.

    Answers by telephone are not stored: screening keeps no sensitive data (such as insurance) beyond the reasons.
    """
    return tuple(
        msgspec.structs.replace(
            found,
            holds=True if approved else False if found.reason in reasons else None,
            source=OFFICER if approved or found.reason in reasons else UNANSWERED,
        )
        if found.source != DERIVED
        else found
        for found in trace(policy, facts)
    )


def violated(policy: Policy, facts: Facts, answers: Mapping[str, bool] | None) -> tuple[str, ...]:
    """Return the conditions that forbid an approval; without answers the officer vouches for the asked ones."""
    return tuple(
        found.rule
        for found in trace(policy, facts, answers)
        if not found.holds and not (answers is None and found.source != DERIVED)
    )


def derived_conditions() -> Mapping[str, Callable[[Policy, Facts], bool]]:
    """Return the conditions that follow from the facts, by name."""
    return {"minimum_age": _of_age, "field_of_round": _field_known}


def _of_age(policy: Policy, facts: Facts) -> bool:
    """Return whether the youngest of the age band are old enough; screening has no birth dates."""
    return facts.age_band in AGE_BANDS and int(facts.age_band[:2]) >= policy.minimum_age


def _field_known(policy: Policy, facts: Facts) -> bool:
    """Return whether the job field exists; registration has checked that the round offers it."""
    return facts.field in job_fields()
