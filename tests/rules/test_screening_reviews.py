"""Rules of screening about second looks: at a drawn share of the approvals, by another officer, at no one's cost."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from contracts.events import ApplicantReactivated, ApplicantWithdrawn, CaseReviewed
from programme.policies import policy, versions
from screening.domain.applicant import counted, outcome_of, status_of
from screening.domain.case import Decide
from screening.domain.review import ReviewCase
from tests.support.screening_scenario import APPROVE, PERSON, ScreeningScenario, refusal, registered

AGREE = ReviewCase(agrees=True, by="manager:of-2")
DISAGREE = ReviewCase(agrees=False, reasons=("question_open",), by="manager:of-2")


def decided(command: Decide = APPROVE, seconds: int = 0) -> ScreeningScenario:
    """Return an application that was decided some seconds after it was registered."""
    scenario = ScreeningScenario()
    scenario.consume(registered())
    scenario.now += timedelta(seconds=seconds)
    scenario.execute(command)
    return scenario


@pytest.fixture
def drawn() -> ScreeningScenario:
    """Return an approval that was drawn."""
    return next(each for each in map(lambda n: decided(seconds=n), range(1_000)) if each.state.review.drawn)


def reviews(scenario: ScreeningScenario) -> set[tuple[str, str]]:
    """Return the counters of second looks in which the case counts."""
    return {each for each in counted(scenario.record.indexed) if each[0].startswith("reviews/")}


def test_five_of_a_hundred_approvals_are_drawn() -> None:
    assert {policy(version).second_look_percent for version in versions()} == {5}
    share = sum(decided(seconds=n).state.review.drawn for n in range(600))
    assert 15 <= share <= 45


def test_rejections_and_approvals_without_answers_are_not_drawn() -> None:
    reject = Decide("rejected", ("incomplete",), checklist=APPROVE.checklist, by="screener:of-1")
    assert not any(decided(reject, n).state.review.drawn for n in range(200))


def test_a_drawn_approval_takes_effect_and_waits_for_a_second_look(drawn: ScreeningScenario) -> None:
    assert status_of(drawn.state) == "decided" and outcome_of(drawn.state) == "approved"
    number = drawn.record.indexed["number"]
    assert reviews(drawn) == {("reviews/IR-20", number), ("reviews/IR-20/2001", number)}


@pytest.mark.parametrize(("command", "result"), [(AGREE, "agreed"), (DISAGREE, "disagreed")])
def test_its_result_is_counted_once_and_the_approval_stands(
    drawn: ScreeningScenario, command: ReviewCase, result: str
) -> None:
    assert drawn.execute(command, command.by) == [CaseReviewed(reasons=command.reasons)]
    assert reviews(drawn) == {("reviews/IR-20", result), ("reviews/IR-20/2001", result)}
    assert outcome_of(drawn.state) == "approved" and drawn.state.review.by == "manager:of-2"
    assert refusal(drawn, AGREE).code == "already_reviewed"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (replace(AGREE, by="manager:of-1"), "decider_may_not_review"),
        (replace(AGREE, by="manager:of-9"), "registrar_may_not_screen"),
        (replace(DISAGREE, reasons=()), "review_reason_missing"),
        (replace(DISAGREE, reasons=("i_say_so",)), "review_reason_missing"),
    ],
)
def test_who_may_not_and_what_is_no_reason(drawn: ScreeningScenario, command: ReviewCase, code: str) -> None:
    drawn.record = replace(
        drawn.record, state=replace(drawn.state, case=replace(drawn.state.case, decider="screener:of-1"))
    )
    assert refusal(drawn, command).code == code


def test_what_was_not_drawn_is_not_reviewed() -> None:
    other = next(each for each in map(lambda n: decided(seconds=n), range(1_000)) if not each.state.review.drawn)
    assert refusal(other, AGREE).code == "not_drawn" and not reviews(other)


def test_a_withdrawal_ends_the_wait(drawn: ScreeningScenario) -> None:
    drawn.consume(ApplicantWithdrawn(reason="moved"))
    assert not reviews(drawn) and refusal(drawn, AGREE).code == "no_open_case"
    drawn.consume(ApplicantReactivated(application=2, **PERSON))
    assert not drawn.state.review.drawn
