"""Who is eligible: the conditions of a policy, each derived from known facts or asked by telephone, with a trace."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date

import msgspec
from msgspec.structs import replace

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


def trace_of_decision(
    policy: Policy, facts: Facts, approved: bool, reasons: Sequence[str], answers: Mapping[str, bool]
) -> tuple[Finding, ...]:
    """Return all conditions as decided: as they were answered, and never more.

    A rejection denies the conditions of its reasons even where there is no answer. An approval from before answers
    were kept has none: there the officer vouched for all conditions.
    """
    vouched = approved and not answers

    def decided(found: Finding) -> Finding:
        if found.source == DERIVED or found.rule in answers:
            return found
        denied = not approved and found.reason in reasons
        return replace(
            found, holds=vouched or (False if denied else None), source=OFFICER if vouched or denied else UNANSWERED
        )

    return tuple(map(decided, trace(policy, facts, answers)))


def violated(policy: Policy, facts: Facts, answers: Mapping[str, bool] | None) -> tuple[str, ...]:
    """Return the conditions that forbid an approval; a missing answer is not a yes."""
    return tuple(found.rule for found in trace(policy, facts, answers) if not found.holds)


def answers_kept(policy: Policy, answers: Mapping[str, bool] | None) -> dict[bool, tuple[str, ...]]:
    """Return the asked conditions by their answer, in the order of the policy; what was not asked about is left out."""
    asked = [rule.name for rule in policy.eligibility if rule.asked and answers and rule.name in answers]
    return {value: tuple(name for name in asked if answers and answers[name] is value) for value in (True, False)}


def derived_conditions() -> Mapping[str, Callable[[Policy, Facts], bool]]:
    """Return the conditions that follow from the facts, by name."""
    return {"minimum_age": _of_age, "field_of_round": _field_known}


def _of_age(policy: Policy, facts: Facts) -> bool:
    """Return whether the youngest of the age band are old enough; screening has no birth dates."""
    return facts.age_band in AGE_BANDS and int(facts.age_band[:2]) >= policy.minimum_age


def _field_known(policy: Policy, facts: Facts) -> bool:
    """Return whether the job field exists; registration has checked that the round offers it."""
    return facts.field in job_fields()
