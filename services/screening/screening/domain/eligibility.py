"""Who is eligible: the conditions of a policy, each derived from what is known or asked by telephone, with a trace."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from contracts.codes import AGE_BANDS
from programme.policies import Policy
from programme.reference import job_fields

DERIVED, TELEPHONE, OFFICER, NOBODY = "derived", "telephone", "officer", ""  # where an answer comes from


class Facts(msgspec.Struct, frozen=True):
    """What the derived conditions look at."""

    age_band: str
    field: str
    identity: str = ""


class Finding(msgspec.Struct, frozen=True):
    """What became of one condition; `holds` is none where nobody has answered."""

    rule: str
    reason: str  # why one would be refused where it does not hold
    holds: bool | None
    source: str
    fa: str
    en: str


def trace(policy: Policy, facts: Facts, answers: Mapping[str, bool] | None = None) -> tuple[Finding, ...]:
    """Every condition in the order of the policy; without answers, what would be asked is open."""
    return tuple(
        Finding(
            rule.name,
            rule.reason,
            _asked(rule.name, answers),
            TELEPHONE if answers is not None else NOBODY,
            rule.fa,
            rule.en,
        )
        if rule.asked
        else Finding(rule.name, rule.reason, derived()[rule.name](policy, facts), DERIVED, rule.fa, rule.en)
        for rule in policy.eligibility
    )


def trace_of_decision(policy: Policy, facts: Facts, approved: bool, reasons: Sequence[str]) -> tuple[Finding, ...]:
    """Every condition as the decision left it: an approval answered for all, a rejection for what it names.

    What was said on the telephone is not kept: whether somebody is insured is nobody's business afterwards.
    """
    return tuple(
        msgspec.structs.replace(
            found,
            holds=True if approved else False if found.reason in reasons else None,
            source=OFFICER if approved or found.reason in reasons else NOBODY,
        )
        if found.source != DERIVED
        else found
        for found in trace(policy, facts)
    )


def broken(policy: Policy, facts: Facts, answers: Mapping[str, bool] | None) -> tuple[str, ...]:
    """The conditions that forbid an approval; without a checklist the approving officer answers for those asked."""
    return tuple(
        found.rule
        for found in trace(policy, facts, answers)
        if not found.holds and not (answers is None and found.source != DERIVED)
    )


def derived() -> Mapping[str, Callable[[Policy, Facts], bool]]:
    """The conditions that nobody needs to be asked about, by name."""
    return {"minimum_age": _of_age, "field_of_round": _field_known}


def _asked(rule: str, answers: Mapping[str, bool] | None) -> bool | None:
    return None if answers is None else answers.get(rule)


def _of_age(policy: Policy, facts: Facts) -> bool:
    """The band's youngest are old enough; no birth date comes here."""
    return facts.age_band in AGE_BANDS and int(facts.age_band[:2]) >= policy.minimum_age


def _field_known(policy: Policy, facts: Facts) -> bool:
    """Registration took the application for a field of the round; here it must be one that there is."""
    return facts.field in job_fields()
