"""Eligibility: screening knows every condition of every policy, and the trace names the source of each answer."""

import pytest

from contracts.codes import REJECTION_REASONS
from programme.policies import policy, versions
from screening.domain.eligibility import Facts, derived_conditions, trace, trace_of_decision, violated

WEAVER = Facts(age_band="35-44", field="JF001")
ALL = {"not_insured": True, "resident": True, "complete": True}


@pytest.mark.parametrize("version", versions())
def test_every_condition_of_every_policy_can_be_evaluated(version: str) -> None:
    for rule in policy(version).eligibility:
        assert rule.asked or rule.name in derived_conditions()
        assert rule.reason in REJECTION_REASONS and rule.fa and rule.en


def test_trace_follows_the_policy() -> None:
    found = trace(policy("1404-1"), WEAVER, {**ALL, "resident": False})
    assert [(each.rule, each.holds, each.source) for each in found] == [
        ("minimum_age", True, "derived"),
        ("field_of_round", True, "derived"),
        ("not_insured", True, "telephone"),
        ("resident", False, "telephone"),
        ("complete", True, "telephone"),
    ]
    assert [each.holds for each in trace(policy("1404-1"), WEAVER)] == [True, True, None, None, None]


def test_approval_needs_all_conditions() -> None:
    rules = policy("1404-1")
    assert violated(rules, WEAVER, ALL) == ()
    assert violated(rules, WEAVER, None) == (), "without a checklist the officer vouches for the asked conditions"
    assert violated(rules, WEAVER, {}) == ("not_insured", "resident", "complete"), "a missing answer is not a yes"
    assert violated(rules, Facts("", "JF999"), None) == ("minimum_age", "field_of_round"), (
        "an officer cannot vouch for derived conditions"
    )


def test_trace_of_a_decision_follows_from_its_reasons_only() -> None:
    rejected = trace_of_decision(policy("1404-1"), WEAVER, False, ("insured",))
    assert {each.rule: each.holds for each in rejected if each.source == "officer"} == {"not_insured": False}
    approved = trace_of_decision(policy("1404-1"), WEAVER, True, ("meets_conditions",))
    assert all(each.holds for each in approved)
