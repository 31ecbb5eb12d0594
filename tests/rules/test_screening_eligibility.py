"""Who is eligible: every condition of every policy is known here, and the trace says where each answer comes from."""

import pytest

from contracts.codes import REJECTION_REASONS
from programme.policies import policy, versions
from screening.domain.eligibility import Facts, broken, derived, trace, trace_of_decision

WEAVER = Facts(age_band="35-44", field="JF001")
ALL = {"not_insured": True, "resident": True, "complete": True}


@pytest.mark.parametrize("version", versions())
def test_every_condition_of_every_policy_can_be_judged(version: str) -> None:
    for rule in policy(version).eligibility:
        assert rule.asked or rule.name in derived()
        assert rule.reason in REJECTION_REASONS and rule.fa and rule.en


def test_the_trace_follows_the_policy() -> None:
    found = trace(policy("1404-1"), WEAVER, {**ALL, "resident": False})
    assert [(each.rule, each.holds, each.source) for each in found] == [
        ("minimum_age", True, "derived"),
        ("field_of_round", True, "derived"),
        ("not_insured", True, "telephone"),
        ("resident", False, "telephone"),
        ("complete", True, "telephone"),
    ]
    assert [each.holds for each in trace(policy("1404-1"), WEAVER)] == [True, True, None, None, None]


def test_an_approval_needs_all_of_them() -> None:
    rules = policy("1404-1")
    assert broken(rules, WEAVER, ALL) == ()
    assert broken(rules, WEAVER, None) == (), "without a checklist the officer answers for what would be asked"
    assert broken(rules, WEAVER, {}) == ("not_insured", "resident", "complete"), "no answer is no yes"
    assert broken(rules, Facts("", "JF999"), None) == ("minimum_age", "field_of_round"), "nobody answers for these"


def test_what_was_said_on_the_telephone_is_told_by_the_reasons_alone() -> None:
    rejected = trace_of_decision(policy("1404-1"), WEAVER, False, ("insured",))
    assert {each.rule: each.holds for each in rejected if each.source == "officer"} == {"not_insured": False}
    approved = trace_of_decision(policy("1404-1"), WEAVER, True, ("meets_conditions",))
    assert all(each.holds for each in approved)
