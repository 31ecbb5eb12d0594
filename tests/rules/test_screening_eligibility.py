"""Eligibility: screening knows every condition of every policy, and the trace names the source of each answer."""

import pytest

from contracts.codes import CONDITIONS, REJECTION_REASONS
from programme.policies import policy, versions
from screening.domain.eligibility import Facts, answers_kept, derived_conditions, trace, trace_of_decision, violated

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
    assert violated(rules, WEAVER, None) == ("not_insured", "resident", "complete"), "not even in a list"
    assert violated(rules, WEAVER, {}) == ("not_insured", "resident", "complete"), "a missing answer is not a yes"
    assert violated(rules, Facts("", "JF999"), ALL) == ("minimum_age", "field_of_round")


@pytest.mark.parametrize("version", versions())
def test_every_asked_condition_has_a_code_in_events(version: str) -> None:
    assert {rule.name for rule in policy(version).eligibility if rule.asked} <= CONDITIONS.keys()


def test_only_answers_to_what_was_asked_are_kept() -> None:
    rules = policy("1404-1")
    kept = answers_kept(rules, {"resident": False, "minimum_age": True, "income": True, "not_insured": True})
    assert kept == {True: ("not_insured",), False: ("resident",)}
    assert answers_kept(rules, None) == answers_kept(rules, {}) == {True: (), False: ()}


def decided(approved: bool, reasons: tuple[str, ...], answers: dict[str, bool]) -> dict[str, tuple[bool | None, str]]:
    """Return the asked conditions of a decision: whether each holds, and the source."""
    found = trace_of_decision(policy("1404-1"), WEAVER, approved, reasons, answers)
    return {each.rule: (each.holds, each.source) for each in found if each.source != "derived"}


def test_trace_of_a_decision_shows_the_answers_and_never_more() -> None:
    assert decided(True, ("meets_conditions",), ALL) == dict.fromkeys(ALL, (True, "telephone"))
    assert decided(False, ("not_resident",), {"resident": False, "not_insured": True}) == {
        "not_insured": (True, "telephone"),
        "resident": (False, "telephone"),
        "complete": (None, ""),
    }


def test_trace_of_a_rejection_without_answers_follows_from_its_reasons() -> None:
    assert decided(False, ("insured",), {}) == {
        "not_insured": (False, "officer"),
        "resident": (None, ""),
        "complete": (None, ""),
    }


def test_an_approval_from_before_answers_were_kept_was_vouched_for() -> None:
    assert decided(True, ("meets_conditions",), {}) == dict.fromkeys(ALL, (True, "officer"))
