"""Appeals: once, within the window, against a rejection only, and decided by someone else than who decided first."""

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.codes import CONDITIONS
from contracts.commands import Refused, Tick
from contracts.events import (
    ApplicantErased,
    ApplicantReactivated,
    ApplicantWithdrawn,
    CaseAppealBreached,
    CaseAppealDecided,
    CaseAppealed,
)
from programme.calendar import TEHRAN, day_end
from programme.work_calendar import CURRENT as CALENDAR
from programme.work_calendar import work_calendar
from screening.domain import applicant
from screening.domain.appeal import DecideAppeal, FileAppeal
from screening.domain.applicant import holder_of, outcome_of, status_of
from screening.domain.case import Decide
from tests.support.screening_scenario import (
    APPROVE,
    CONTEXT,
    PERSON,
    REJECT,
    ScreeningScenario,
    refusal,
    registered,
    updated,
)

FILE = FileAppeal("20-1404-173")
OVERTURN = DecideAppeal(replace(APPROVE, by="manager:of-2"))
UPHOLD = DecideAppeal(Decide("rejected", ("insured",), by="labour_expert:of-3"))
LAST_DAY = date(2025, 10, 8)  # the tenth working day after the rejection on 27 September


@pytest.fixture
def rejected() -> ScreeningScenario:
    """An application of the registrar of-8, corrected by of-7, that the screener of-1 rejected on the same day."""
    scenario = ScreeningScenario()
    scenario.consume(registered(), "registrar:of-8")
    scenario.consume(updated(), "manager:of-7")
    scenario.execute(REJECT)
    return scenario


@pytest.fixture
def appealed(rejected: ScreeningScenario) -> ScreeningScenario:
    rejected.execute(FILE, "registrar:of-9")
    return rejected


def test_an_appeal_is_due_in_ten_working_days(rejected: ScreeningScenario) -> None:
    rejected.now += timedelta(days=3)
    filed = CaseAppealed(due=date(2025, 10, 12), form="20-1404-173", calendar=CALENDAR)
    assert rejected.execute(FILE) == [filed]
    assert status_of(rejected.state) == "appealed" and holder_of(rejected.state) == "screening"
    assert rejected.record.indexed["due"] == rejected.record.indexed["deadline"] == day_end(filed.due)
    assert outcome_of(rejected.state) == "rejected"
    assert refusal(rejected, FILE).code == "already_appealed"


def test_an_overturned_decision_is_an_approval(appealed: ScreeningScenario) -> None:
    decided = CaseAppealDecided(
        outcome="approved", reasons=("meets_conditions",), rule_version="1404-1", met=tuple(CONDITIONS)
    )
    assert appealed.execute(OVERTURN) == [decided]
    assert status_of(appealed.state) == "decided" and holder_of(appealed.state) == "registration"
    assert outcome_of(appealed.state) == "approved" and appealed.state.case.outcome == "rejected"
    assert refusal(appealed, UPHOLD).code == "already_decided" and refusal(appealed, FILE).code == "already_appealed"
    assert "due" not in appealed.record.indexed


def test_an_appeal_that_is_rejected_changes_nothing_and_is_final(appealed: ScreeningScenario) -> None:
    assert appealed.execute(UPHOLD) == [
        CaseAppealDecided(outcome="rejected", reasons=("insured",), rule_version="1404-1")
    ]
    assert status_of(appealed.state) == "decided" and holder_of(appealed.state) == ""
    assert outcome_of(appealed.state) == "rejected" and refusal(appealed, FILE).code == "already_appealed"


@pytest.mark.parametrize(
    ("by", "code"),
    [
        ("screener:of-1", "first_decider_may_not"),
        ("manager:of-1", "first_decider_may_not"),  # in whatever role
        ("manager:of-9", "filer_may_not"),
        ("manager:of-8", "registrar_may_not_screen"),
        ("manager:of-7", "registrar_may_not_screen"),  # who corrected it
    ],
)
def test_who_decided_first_filed_it_or_wrote_the_application_does_not_decide_the_appeal(
    appealed: ScreeningScenario, by: str, code: str
) -> None:
    for command in (OVERTURN, UPHOLD):
        assert refusal(appealed, DecideAppeal(replace(command.decision, by=by))).code == code
    assert status_of(appealed.state) == "appealed"


@given(
    first=st.sampled_from(["screener:a", "manager:a", "manager:b"]),
    second=st.sampled_from(["manager:a", "manager:b", "labour_expert:a"]),
)
def test_no_person_decides_twice(first: str, second: str) -> None:
    """Invariant D5 of the domain."""
    scenario = ScreeningScenario()
    scenario.consume(registered(), actor="web:")
    scenario.execute(replace(REJECT, by=first), first)
    scenario.execute(FILE)
    same = first.partition(":")[2] == second.partition(":")[2]
    try:
        scenario.execute(DecideAppeal(replace(APPROVE, by=second)), second)
    except Refused as refused:
        assert same and refused.code == "first_decider_may_not"
    else:
        assert not same


@pytest.mark.parametrize(("when", "accepted"), [((23, 59), True), ((24, 0), False)], ids=["last minute", "too late"])
def test_the_window_ends_with_its_last_day_in_tehran(
    rejected: ScreeningScenario, when: tuple[int, int], accepted: bool
) -> None:
    midnight = datetime(LAST_DAY.year, LAST_DAY.month, LAST_DAY.day, tzinfo=TEHRAN)
    rejected.now = midnight + timedelta(hours=when[0], minutes=when[1])
    if accepted:
        assert rejected.execute(FILE)
    else:
        error = refusal(rejected, FILE)
        assert (error.code, error.details["until"]) == ("appeal_too_late", LAST_DAY)


def test_only_a_rejection_is_appealed(rejected: ScreeningScenario) -> None:
    scenario = ScreeningScenario()
    assert refusal(scenario, FILE).code == "not_rejected"
    scenario.consume(registered())
    assert refusal(scenario, FILE).code == "not_rejected" and refusal(scenario, OVERTURN).code == "no_open_appeal"
    scenario.execute(APPROVE)
    assert refusal(scenario, FILE).code == "not_rejected"
    assert refusal(rejected, OVERTURN).code == "no_open_appeal"


def test_who_left_appeals_no_more_and_a_new_application_has_an_appeal_of_its_own(rejected: ScreeningScenario) -> None:
    rejected.execute(FILE)
    rejected.consume(ApplicantWithdrawn(reason="moved"))
    assert refusal(rejected, OVERTURN).code == "no_open_case" and "due" not in rejected.record.indexed
    assert applicant.decide(rejected.state, Tick(rejected.now + timedelta(90)), rejected.now) == []
    rejected.consume(ApplicantReactivated(application=2, **PERSON))
    assert status_of(rejected.state) == "open"
    rejected.execute(REJECT)
    assert rejected.execute(FILE)[0].application == 2  # type: ignore[attr-defined]


def test_an_erased_applicant_has_no_appeal(appealed: ScreeningScenario) -> None:
    appealed.consume(ApplicantErased(reason="request"))
    assert applicant.indexed(appealed.state) == {} and appealed.state.appeal.form == ""
    assert refusal(appealed, OVERTURN).code == refusal(appealed, FILE).code == "no_open_case"


@pytest.mark.parametrize(
    ("typed", "form"),
    [
        ("20-1404-173", "20-1404-173"),
        (" ۲۰-۱۴۰۴-۱۷۳ ", "20-1404-173"),
        ("20-1404-00173", "20-1404-173"),
        ("23-1404-173", ""),  # of another province
        ("20-1304-173", ""),
        ("20-1404-", ""),
        ("20-1404-1234567", ""),
        ("9990000018", ""),
        ("زهرا", ""),
        ("", ""),
    ],
)
def test_form_numbers_have_one_shape(rejected: ScreeningScenario, typed: str, form: str) -> None:
    if form:
        assert rejected.execute(FileAppeal(typed))[0].form == form  # type: ignore[attr-defined]
    else:
        error = refusal(rejected, FileAppeal(typed))
        assert (error.code, error.field) == ("form_number_invalid", "form")


@pytest.mark.parametrize(
    ("decision", "code"),
    [
        (Decide("rejected"), "reasons_missing"),
        (Decide("perhaps"), "outcome_unknown"),
        (Decide("approved", checklist={"not_insured": True}), "not_eligible"),
    ],
)
def test_the_conditions_are_those_of_a_first_decision(appealed: ScreeningScenario, decision: Decide, code: str) -> None:
    assert refusal(appealed, DecideAppeal(replace(decision, by="manager:of-2"))).code == code


def test_a_breach_is_emitted_once_and_the_appeal_may_still_be_decided(appealed: ScreeningScenario) -> None:
    end = appealed.record.indexed["due"]
    assert applicant.decide(appealed.state, Tick(end - timedelta(milliseconds=1)), appealed.now) == []
    appealed.now = end
    assert appealed.execute(Tick(end)) == [CaseAppealBreached(due=LAST_DAY)]
    assert appealed.execute(Tick(end)) == [] and appealed.execute(OVERTURN)


def test_an_appeal_beyond_the_calendar_is_refused() -> None:
    scenario = ScreeningScenario()
    scenario.now = day_end(work_calendar().ends - timedelta(20))
    scenario.consume(registered())
    scenario.execute(REJECT)
    scenario.now += timedelta(10)
    assert refusal(scenario, FILE).code == "calendar_ended"


def test_events_of_the_appeal_carry_the_context_of_the_application(appealed: ScreeningScenario) -> None:
    appealed.execute(OVERTURN, "manager:of-2")
    assert {each.context for each in appealed.emitted} == {CONTEXT}
    assert appealed.emitted[-1].actor == "manager:of-2"
