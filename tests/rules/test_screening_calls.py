"""Rules of screening about calls: what is logged, and when "could not be reached" becomes a reason to reject."""

from datetime import UTC, date, datetime, timedelta

import pytest

from contracts.events import ApplicantReactivated, ApplicantWithdrawn, CaseCallAgreed, CaseCallLogged, CaseDecided
from screening.domain.appeal import DecideAppeal, FileAppeal
from screening.domain.applicant import counted, facts_of
from screening.domain.calls import CALLS, LogCall
from screening.domain.case import Decide
from tests.support.screening_scenario import APPROVE, PERSON, ScreeningScenario, refusal, registered

UNREACHABLE = Decide("rejected", ("unreachable",), by="screener:of-1")
MIDNIGHT = datetime(2025, 9, 27, 20, 30, tzinfo=UTC)  # in Tehran


@pytest.fixture
def scenario() -> ScreeningScenario:
    scenario = ScreeningScenario()
    scenario.consume(registered())
    return scenario


def call(
    scenario: ScreeningScenario, outcome: str, at: datetime | None = None, next_call: datetime | None = None
) -> None:
    scenario.now = at or scenario.now
    scenario.execute(LogCall(outcome, next_call, "screener:of-1"))


def test_a_call_is_logged_with_its_outcome_and_who_made_it(scenario: ScreeningScenario) -> None:
    agreed = scenario.now + timedelta(days=1, hours=2)
    call(scenario, "no_answer")
    call(scenario, "call_back", next_call=agreed)
    first, second = scenario.state.calls
    assert (first.at, first.by, first.outcome, first.next_call) == (scenario.now, "screener:of-1", "no_answer", None)
    assert (second.outcome, second.next_call) == ("call_back", agreed)
    assert [each.event for each in scenario.emitted[-2:]] == [
        CaseCallLogged(outcome="call_back"),
        CaseCallAgreed(at=agreed),
    ]


def test_a_next_call_counts_only_where_another_time_was_asked_for(scenario: ScreeningScenario) -> None:
    call(scenario, "reached", next_call=scenario.now + timedelta(days=1))
    assert scenario.state.calls[0].next_call is None


@pytest.mark.parametrize(
    ("command", "code", "field"),
    [
        (LogCall("asleep"), "call_outcome_unknown", "call"),
        (LogCall("call_back"), "next_call_missing", "next_call"),
        (LogCall("call_back", MIDNIGHT - timedelta(days=1)), "next_call_out_of_range", "next_call"),
        (LogCall("call_back", MIDNIGHT + timedelta(days=31)), "next_call_out_of_range", "next_call"),
        (LogCall("reached", by="manager:of-9"), "registrar_may_not_screen", ""),
    ],
)
def test_what_is_no_call_is_refused(scenario: ScreeningScenario, command: LogCall, code: str, field: str) -> None:
    refused = refusal(scenario, command)
    assert (refused.code, refused.field or "") == (code, field) and not scenario.state.calls


def test_calls_belong_to_an_open_case(scenario: ScreeningScenario) -> None:
    scenario.execute(APPROVE)
    assert refusal(scenario, LogCall("reached")).code == "already_decided"
    withdrawn = ScreeningScenario()
    withdrawn.consume(registered())
    withdrawn.consume(ApplicantWithdrawn(reason="moved"))
    assert refusal(withdrawn, LogCall("reached")).code == "no_open_case"


def test_an_agreed_call_is_counted_on_its_day_until_the_next_call(scenario: ScreeningScenario) -> None:
    agreed = MIDNIGHT + timedelta(minutes=1)  # of the day after, in Tehran
    call(scenario, "call_back", next_call=agreed)
    number = scenario.record.indexed["number"]
    listed = {(f"calls/{area}/2025-09-28", number) for area in ("IR-20", "IR-20/2001")}
    assert {each for each in counted(scenario.record.indexed) if each[0].startswith("calls/")} == listed
    call(scenario, "no_answer")
    assert not any(group.startswith("calls/") for group, _ in counted(scenario.record.indexed))


@pytest.mark.parametrize(
    ("minutes", "calls", "days"),
    [
        ((), 3, 2),
        ((-3, -2), 1, 1),
        ((-3, -2, -1), 0, 1),  # all on one day
        ((-3, -1), 1, 1),
        ((-1, 0), 1, 0),  # midnight in Tehran is between them, and none in UTC
        ((-3, -2, 0), 0, 0),
        ((-1, 0, 1, 2), 0, 0),
    ],
)
def test_three_unanswered_calls_on_two_days_precede_it(
    scenario: ScreeningScenario, minutes: tuple[int, ...], calls: int, days: int
) -> None:
    for each in minutes:
        call(scenario, "no_answer", MIDNIGHT + timedelta(minutes=each))
    if calls or days:
        refused = refusal(scenario, UNREACHABLE)
        assert (refused.code, refused.field) == ("not_called_enough", "reasons")
        assert refused.details == {"calls": 3, "days": 2, "missing": calls, "missing_days": days}
    else:
        assert isinstance(scenario.execute(UNREACHABLE)[0], CaseDecided)


def test_calls_before_the_applicant_was_reached_count_no_longer(scenario: ScreeningScenario) -> None:
    """Those before the applicant asked for another time still do."""
    for minute, outcome in ((-3, "no_answer"), (-2, "call_back"), (-1, "no_answer"), (1, "no_answer")):
        at = MIDNIGHT + timedelta(minutes=minute)
        call(scenario, outcome, at, at + timedelta(hours=1))
    assert facts_of(scenario.state).unanswered == (date(2025, 9, 27), date(2025, 9, 27), date(2025, 9, 28))
    call(scenario, "reached")
    assert refusal(scenario, UNREACHABLE).details["missing"] == 3


def test_it_is_no_reason_beside_another_one_or_in_an_appeal_either(scenario: ScreeningScenario) -> None:
    both = Decide("rejected", ("incomplete", "unreachable"), by="screener:of-1")
    assert refusal(scenario, both).code == "not_called_enough"
    scenario.execute(Decide("rejected", ("incomplete",), by="screener:of-1"))
    scenario.execute(FileAppeal("20-1404-173"), "registrar:of-3")
    appeal = DecideAppeal(Decide("rejected", ("unreachable",), by="manager:of-4"))
    assert refusal(scenario, appeal).code == "not_called_enough"


def test_a_second_application_begins_without_calls(scenario: ScreeningScenario) -> None:
    call(scenario, "no_answer")
    scenario.consume(ApplicantWithdrawn(reason="moved"))
    scenario.consume(ApplicantReactivated(application=2, **PERSON))
    assert scenario.state.calls == ()


def test_a_case_with_very_many_calls_can_still_be_decided(scenario: ScreeningScenario) -> None:
    for _ in range(CALLS):
        call(scenario, "reached")
    assert refusal(scenario, LogCall("reached", by="screener:of-1")).code == "record_full"
    assert isinstance(scenario.execute(APPROVE)[0], CaseDecided)
