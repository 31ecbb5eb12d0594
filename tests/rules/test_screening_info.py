"""Requests for papers: the clock is paused while it is the applicant's turn, whose days are counted to no one else."""

from datetime import date, datetime, timedelta

import pytest

from contracts.commands import Tick
from contracts.events import (
    ApplicantErased,
    ApplicantReactivated,
    ApplicantWithdrawn,
    CaseBreached,
    CaseDecided,
    CaseInfoLapsed,
    CaseInfoRequested,
    CaseInfoSupplied,
)
from programme.calendar import day_end, day_start
from screening.domain import applicant
from screening.domain.applicant import CLAIMED, INFO_REQUESTED, OPEN, holder_of, indexed, status_of
from screening.domain.claim import ClaimCase
from screening.domain.info import RecordInfo, RequestInfo, days_of_applicant
from screening.domain.pause import moved
from tests.support.screening_scenario import APPROVE, PERSON, REJECT, ScreeningScenario, refusal, registered

ASK = RequestInfo(("skill_certificate", "sample_photo"), by="screener:of-1")
CAME = RecordInfo(("sample_photo",))
DUE = date(2025, 10, 8)  # of the case: 10 working days after Saturday 27 September
LAST = date(2025, 10, 18)  # to bring the papers: 15 working days after Tuesday 30 September
NOON = timedelta(hours=12)


@pytest.fixture
def asked() -> ScreeningScenario:
    """A case on its third day, whose applicant was asked for two papers."""
    scenario = ScreeningScenario()
    scenario.consume(registered())
    scenario.now = day_start(date(2025, 9, 30)) + NOON
    scenario.execute(ASK)
    return scenario


def at(scenario: ScreeningScenario, day: date) -> datetime:
    """Move the time to the noon of a day."""
    scenario.now = day_start(day) + NOON
    return scenario.now


def test_a_request_gives_the_turn_to_the_applicant_and_pauses_the_clock(asked: ScreeningScenario) -> None:
    request = asked.emitted[-1].event
    assert isinstance(request, CaseInfoRequested)
    assert (request.items, request.due) == (ASK.items, LAST)
    assert request.case_due == date(2025, 10, 26), "as if all 15 days were used"
    assert (status_of(asked.state), holder_of(asked.state)) == (INFO_REQUESTED, "applicant")
    found = indexed(asked.state)
    assert (found["state"], found["deadline"], found["due"]) == (INFO_REQUESTED, day_end(LAST), day_end(LAST))
    asked.now = day_end(DUE)
    assert asked.execute(Tick(asked.now)) == [], "the due day of the case passes without a breach"


def test_when_the_papers_come_the_due_day_is_later_by_the_days_that_the_applicant_took(
    asked: ScreeningScenario,
) -> None:
    now = at(asked, date(2025, 10, 7))  # six working days later: a Friday and no holiday between
    (supplied,) = asked.execute(CAME, actor="registrar:of-9")
    assert supplied == CaseInfoSupplied(items=("sample_photo",), case_due=date(2025, 10, 15))
    assert (status_of(asked.state), holder_of(asked.state)) == (OPEN, "screening")
    assert indexed(asked.state)["deadline"] == day_end(date(2025, 10, 15))
    assert days_of_applicant(asked.state.info, asked.state.case, now, "IR-20") == 6
    assert refusal(asked, CAME).code == "no_info_requested", "what came is recorded once"
    at(asked, date(2025, 10, 15))
    (decided,) = asked.execute(APPROVE)
    assert isinstance(decided, CaseDecided) and decided.within_sla
    assert days_of_applicant(asked.state.info, asked.state.case, asked.now, "IR-20") == 6


def test_without_papers_the_turn_is_screenings_after_the_last_day(asked: ScreeningScenario) -> None:
    asked.now = day_end(LAST) - timedelta(seconds=1)
    assert asked.execute(Tick(asked.now)) == []
    asked.now += timedelta(seconds=1)
    assert asked.execute(Tick(asked.now)) == [CaseInfoLapsed(due=LAST)]
    assert (status_of(asked.state), holder_of(asked.state)) == (OPEN, "screening")
    assert asked.execute(Tick(asked.now)) == [], "once"
    assert indexed(asked.state)["due"] == day_end(date(2025, 10, 26)), "as many days are left as when it was asked"
    (decided,) = asked.execute(REJECT)
    assert isinstance(decided, CaseDecided) and decided.within_sla


def test_papers_that_come_late_are_recorded_and_move_the_due_day_no_further(asked: ScreeningScenario) -> None:
    asked.now = day_end(LAST)
    asked.execute(Tick(asked.now))
    at(asked, date(2025, 10, 21))
    assert asked.execute(CAME) == [CaseInfoSupplied(items=("sample_photo",), case_due=date(2025, 10, 26))]
    assert days_of_applicant(asked.state.info, asked.state.case, asked.now, "IR-20") == 15


def test_a_late_tick_changes_nothing_about_the_days(asked: ScreeningScenario) -> None:
    at(asked, date(2025, 10, 21))
    (supplied,) = asked.execute(CAME)  # the scheduler did not run since the last day
    assert supplied == CaseInfoSupplied(items=("sample_photo",), case_due=date(2025, 10, 26))
    assert asked.execute(Tick(asked.now)) == []
    assert asked.state.info.periods == ((date(2025, 9, 30), LAST),)


def test_an_applicant_who_has_days_left_is_not_rejected_but_may_be_approved(asked: ScreeningScenario) -> None:
    refused = refusal(asked, REJECT)
    assert (refused.code, dict(refused.details)["until"]) == ("applicant_has_time", LAST)
    at(asked, date(2025, 10, 7))
    (decided,) = asked.execute(APPROVE)
    assert isinstance(decided, CaseDecided) and decided.within_sla
    assert holder_of(asked.state) == "registration" and "due" not in indexed(asked.state)
    assert refusal(asked, CAME).code == refusal(asked, ASK).code == "already_decided"
    asked.now = day_end(LAST)
    assert asked.execute(Tick(asked.now)) == [], "nothing lapses after the decision"
    assert days_of_applicant(asked.state.info, asked.state.case, asked.now, "IR-20") == 6, "until the decision"


def test_a_case_that_is_overdue_stays_overdue_whatever_is_asked() -> None:
    scenario = ScreeningScenario()
    scenario.consume(registered())
    at(scenario, date(2025, 10, 9))
    assert scenario.execute(Tick(scenario.now)) == [CaseBreached(due=DUE)]
    (request,) = scenario.execute(ASK)
    assert isinstance(request, CaseInfoRequested) and request.case_due == DUE
    at(scenario, date(2025, 10, 12))
    assert scenario.execute(CAME) == [CaseInfoSupplied(items=("sample_photo",), case_due=DUE)]
    (decided,) = scenario.execute(APPROVE)
    assert isinstance(decided, CaseDecided) and not decided.within_sla


def test_there_are_three_requests_one_after_the_other(asked: ScreeningScenario) -> None:
    assert refusal(asked, ASK).code == "info_already_requested"
    for _ in range(2):
        asked.execute(CAME)
        asked.execute(ASK)
    asked.execute(CAME)
    assert dict(refusal(asked, ASK).details) == {"limit": 3}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (RequestInfo((), by="screener:of-1"), "items_missing"),
        (RequestInfo(("passport_of_a_neighbour",), by="screener:of-1"), "code_unknown"),
        (RequestInfo(("sample_photo",), by="manager:of-9"), "registrar_may_not_screen"),
        (CAME, "no_info_requested"),
    ],
)
def test_what_is_asked_is_on_the_list_by_someone_who_did_not_register_the_applicant(
    command: RequestInfo | RecordInfo, code: str
) -> None:
    scenario = ScreeningScenario()
    scenario.consume(registered())
    assert refusal(scenario, command).code == code


def test_a_request_ends_the_claim_and_no_one_claims_the_case_before_the_turn_is_screenings_again() -> None:
    scenario = ScreeningScenario()
    scenario.consume(registered())
    scenario.execute(ClaimCase("screener:of-1"))
    assert indexed(scenario.state)["state"] == CLAIMED
    scenario.execute(ASK)
    assert indexed(scenario.state)["state"] == INFO_REQUESTED and not scenario.state.claim.by
    assert refusal(scenario, ClaimCase("screener:of-2")).code == "info_already_requested"
    scenario.execute(CAME)
    scenario.execute(ClaimCase("screener:of-2"), actor="screener:of-2")
    assert indexed(scenario.state)["claimer"] == "of-2"


def test_what_came_was_asked_for_and_repeats_count_once(asked: ScreeningScenario) -> None:
    assert refusal(asked, RecordInfo(())).code == "items_missing"
    assert refusal(asked, RecordInfo(("military_card",))).code == "code_unknown"
    asked.execute(RecordInfo(("sample_photo", "sample_photo")))
    assert asked.state.info.received == ("sample_photo",)


def test_a_withdrawal_ends_the_turn_and_the_next_application_starts_afresh(asked: ScreeningScenario) -> None:
    asked.consume(ApplicantWithdrawn(reason="own_request"))
    assert "due" not in indexed(asked.state) and holder_of(asked.state) == ""
    assert refusal(asked, CAME).code == refusal(asked, ASK).code == "no_open_case"
    asked.now = day_end(LAST)
    assert asked.execute(Tick(asked.now)) == []
    asked.consume(ApplicantReactivated(application=2, **PERSON))
    assert (status_of(asked.state), asked.state.info.number) == (OPEN, 0)
    assert refusal(asked, CAME).code == "no_info_requested", "the request was about the earlier application"


def test_of_an_erased_applicant_nothing_that_was_asked_is_left(asked: ScreeningScenario) -> None:
    asked.consume(ApplicantErased(reason="request"))
    assert asked.state.info == applicant.State().info and indexed(asked.state) == {}
    assert refusal(asked, ASK).code == "no_open_case"


def test_a_due_day_moves_by_working_days_of_the_province_only() -> None:
    thursday, saturday = date(2025, 10, 2), date(2025, 10, 4)
    assert moved(DUE, thursday, saturday, "IR-20") == date(2025, 10, 9), "one working day: Friday is none"
    assert moved(DUE, thursday, thursday, "IR-20") == DUE
    assert moved(DUE, DUE, DUE + timedelta(days=1), "IR-20") == date(2025, 10, 9), "asked on the last day is in time"
    assert moved(DUE, DUE + timedelta(days=1), date(2025, 10, 20), "IR-20") == DUE


@pytest.mark.parametrize(("came", "due"), [(1, 1), (2, 4), (3, 4), (4, 4), (5, 5)])
def test_papers_that_come_on_a_day_off_make_no_case_overdue(came: int, due: int) -> None:
    """Asked for on the last day of the case, a Thursday before a Friday and a holiday."""
    thursday = date(2026, 1, 1)
    assert moved(thursday, thursday, date(2026, 1, came), "IR-20") == date(2026, 1, due)
