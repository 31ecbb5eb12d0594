"""Rules of screening about claims: an open case is worked on by one officer, for the hold of the policy."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from contracts.commands import Tick
from contracts.events import ApplicantErased, ApplicantReactivated, ApplicantWithdrawn, CaseClaimed, CaseReleased, Event
from programme.policies import policy, versions
from screening.domain.applicant import counted, status_of
from screening.domain.claim import CLAIMS, Claim, ClaimCase, ReleaseCase
from tests.support.screening_scenario import APPROVE, PERSON, ScreeningScenario, refusal, registered, updated

HOLD = timedelta(minutes=120)
MINE, THEIRS = ClaimCase("screener:of-1"), ClaimCase("manager:of-2")


@pytest.fixture
def scenario() -> ScreeningScenario:
    scenario = ScreeningScenario()
    scenario.consume(registered())
    return scenario


def claim(scenario: ScreeningScenario, command: ClaimCase = MINE) -> list[Event]:
    """Claim the case; return the events."""
    return scenario.execute(command, command.by)


def test_a_claim_lasts_as_long_as_the_policy_sets(scenario: ScreeningScenario) -> None:
    assert claim(scenario) == [CaseClaimed(until=scenario.now + HOLD)]
    assert scenario.state.claim == Claim("screener:of-1", scenario.now + HOLD)
    assert {policy(version).claim_minutes for version in versions()} == {120}
    assert status_of(scenario.state) == "open", "everywhere but in the index"
    assert scenario.record.indexed["state"] == "claimed" and scenario.record.indexed["due"] == scenario.now + HOLD


def test_a_claimed_case_counts_as_open_and_among_those_of_the_officer(scenario: ScreeningScenario) -> None:
    before = set(counted(scenario.record.indexed))
    claim(scenario)
    assert set(counted(scenario.record.indexed)) - before == {("claims/of-1", scenario.record.indexed["number"])}
    assert before < set(counted(scenario.record.indexed))


def test_no_one_else_claims_it_meanwhile_whatever_the_role(scenario: ScreeningScenario) -> None:
    claim(scenario)
    refused = refusal(scenario, THEIRS)
    assert refused.code == "case_claimed" and refused.details["until"] == scenario.now + HOLD
    assert claim(scenario, ClaimCase("manager:of-1")) == [], "the same person has it already"
    scenario.now += HOLD
    assert claim(scenario, THEIRS) == [CaseClaimed(until=scenario.now + HOLD)], "even before its end is recorded"


def test_a_claim_ends_with_its_time_once(scenario: ScreeningScenario) -> None:
    claim(scenario)
    assert scenario.execute(Tick(scenario.now + HOLD - timedelta(seconds=1))) == []
    assert scenario.execute(Tick(scenario.now + HOLD)) == [CaseReleased(reason="expired")]
    assert scenario.execute(Tick(scenario.now + HOLD)) == [] and scenario.record.indexed["state"] == "open"


def test_only_the_officer_who_has_it_returns_it(scenario: ScreeningScenario) -> None:
    assert refusal(scenario, ReleaseCase("screener:of-1")).code == "not_claimed"
    claim(scenario)
    assert refusal(scenario, ReleaseCase("screener:of-2")).code == "not_claimed"
    assert scenario.execute(ReleaseCase("manager:of-1")) == [CaseReleased(reason="returned")]
    assert claim(scenario, THEIRS)


def test_who_wrote_the_application_does_not_claim_it(scenario: ScreeningScenario) -> None:
    scenario.consume(updated(), actor="registrar:of-8")
    for person in ("of-9", "of-8"):
        assert refusal(scenario, ClaimCase(f"manager:{person}")).code == "registrar_may_not_screen"


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda scenario: scenario.execute(APPROVE), "already_decided"),
        (lambda scenario: scenario.consume(ApplicantWithdrawn(reason="moved")), "no_open_case"),
        (lambda scenario: scenario.consume(ApplicantErased(reason="request")), "no_open_case"),
    ],
    ids=["decided", "withdrawn", "erased"],
)
def test_a_claim_ends_with_the_case(
    scenario: ScreeningScenario, end: Callable[[ScreeningScenario], object], code: str
) -> None:
    claim(scenario)
    end(scenario)
    assert not scenario.state.claim.by and "claimer" not in scenario.record.indexed
    assert not any(group.startswith("claims/") for group, _ in counted(scenario.record.indexed))
    assert refusal(scenario, MINE).code == code and scenario.execute(Tick(scenario.now + HOLD)) == []


def test_a_second_application_begins_without_a_claim(scenario: ScreeningScenario) -> None:
    claim(scenario)
    scenario.consume(ApplicantWithdrawn(reason="moved"))
    scenario.consume(ApplicantReactivated(application=2, **PERSON))
    assert not scenario.state.claim.by and scenario.record.indexed["state"] == "open"


def test_a_claim_does_not_stop_others_from_deciding(scenario: ScreeningScenario) -> None:
    """Lists, and managers: it shows who works on a case and gives no right over it."""
    claim(scenario, THEIRS)
    assert scenario.execute(APPROVE) and scenario.state.case.outcome == "approved"


def test_cases_from_before_there_were_claims_can_be_claimed(scenario: ScreeningScenario) -> None:
    """Their state has no number; counters list claims by it."""
    old = replace(scenario.state, number="")
    scenario.record = type(scenario.record)(subject=scenario.record.subject, state=old)
    claim(scenario)
    assert scenario.record.indexed["state"] == "claimed" and len(scenario.record.indexed["number"]) == 10


def test_a_case_that_was_claimed_and_returned_very_often_can_still_be_decided(scenario: ScreeningScenario) -> None:
    for _ in range(CLAIMS):
        claim(scenario)
        scenario.execute(ReleaseCase(MINE.by))
    assert refusal(scenario, MINE).code == "record_full" and scenario.record.last_sequence < 300
    assert scenario.execute(APPROVE)
