"""Rules of screening about an applicant: cases, decisions, capacities, breaches."""

import contextlib
from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.commands import Refused, Tick
from contracts.envelope import Context, Envelope, encode
from contracts.events import (
    ApplicantAdmitted,
    ApplicantReactivated,
    ApplicantRegistered,
    ApplicantSeatReleased,
    ApplicantWithdrawn,
    CapacityBreached,
    CapacityIdentified,
    CapacityRequested,
    CaseAppealDecided,
    CaseAppealed,
    CaseBreached,
    CaseDecided,
    CaseOpened,
    ProducerReadied,
)
from kernel.record import Message, Record, consume
from programme.calendar import day_end
from programme.work_calendar import CURRENT as CALENDAR
from programme.work_calendar import DayOff, work_calendar
from screening.domain import applicant
from screening.domain import capacity as capacities
from screening.domain import case as cases
from screening.domain.appeal import DecideAppeal, FileAppeal
from screening.domain.applicant import State, holder_of, status_of
from screening.domain.capacity import IdentifyCapacity
from screening.domain.case import Decide
from tests.support.screening_scenario import (
    APPROVE,
    CONTEXT,
    KILIMS,
    PERSON,
    REJECT,
    SATURDAY,
    SUBJECT,
    ScreeningScenario,
    refusal,
    registered,
    updated,
)


@pytest.fixture
def scenario() -> ScreeningScenario:
    return ScreeningScenario()


def test_registration_opens_a_case_due_in_ten_working_days(scenario: ScreeningScenario) -> None:
    assert scenario.consume(registered()) == [CaseOpened(due=date(2025, 10, 8), calendar=CALENDAR)]  # over two Fridays
    assert status_of(scenario.state) == "open" and holder_of(scenario.state) == "screening"
    assert scenario.record.indexed["due"] == scenario.record.indexed["deadline"] == day_end(date(2025, 10, 8))
    assert scenario.record.indexed["scope"] == "IR-20/2001"
    assert scenario.emitted[0].context == CONTEXT and scenario.emitted[0].cause == "registration/1"


def test_a_deadline_keeps_the_calendar_with_which_it_was_made(
    scenario: ScreeningScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closure by decree in one province: an open case keeps its deadline, a new one gets a later one there."""
    scenario.consume(registered())
    decree = DayOff(date(2025, 9, 30), "", "", "decree", "certain", "x", ("IR-20",))
    before = work_calendar()
    later = replace(before, version="1404-2", days_off=(*before.days_off, decree))
    for module in (cases, capacities):
        monkeypatch.setattr(module, "work_calendar", lambda: later)
    assert scenario.state.case.due == date(2025, 10, 8)
    other = ScreeningScenario()
    assert other.consume(registered()) == [CaseOpened(due=date(2025, 10, 9), calendar="1404-2")]
    elsewhere = replace(CONTEXT, province="IR-23", county="2301")
    assert ScreeningScenario().consume(registered(), context=elsewhere) == [
        CaseOpened(due=date(2025, 10, 8), calendar="1404-2")
    ]
    scenario.execute(APPROVE)
    assert scenario.consume(ApplicantAdmitted()) == [CapacityRequested(due=date(2025, 10, 21), calendar="1404-2")]


def test_no_deadline_lies_beyond_the_calendar(scenario: ScreeningScenario) -> None:
    """What needs one is parked until a version with a longer calendar is deployed."""
    scenario.now = day_end(work_calendar().ends - timedelta(5))
    envelope = Envelope(
        source="registration", subject=SUBJECT, sequence=1, time=scenario.now, event=registered(), context=CONTEXT
    )
    empty = Record(subject=SUBJECT, state=State())
    after, parked = consume(empty, applicant, "screening", [Message(envelope, encode(envelope))], scenario.moment)
    assert not after.version and [each.reason for each in parked] == ["unknown_type"]


def test_a_decision_beyond_the_calendar_is_refused(scenario: ScreeningScenario) -> None:
    scenario.now = day_end(work_calendar().ends - timedelta(60))
    scenario.consume(registered())
    scenario.now += timedelta(61)
    assert refusal(scenario, APPROVE).code == "calendar_ended"


def test_decision_contains_reasons_rule_version_and_hours(scenario: ScreeningScenario) -> None:
    scenario.consume(registered())
    scenario.now += timedelta(days=2)
    decided = CaseDecided(
        outcome="approved",
        reasons=("meets_conditions",),
        rule_version="1404-1",
        working_hours=16,
        within_sla=True,
        met=("not_insured", "resident", "complete"),
    )
    assert scenario.execute(APPROVE) == [decided]
    assert status_of(scenario.state) == "decided" and holder_of(scenario.state) == "registration"
    assert "due" not in scenario.record.indexed
    assert refusal(scenario, REJECT).code == "already_decided"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (Decide("rejected"), "reasons_missing"),
        (Decide("rejected", ("meets_conditions",)), "reason_unknown"),
        (Decide("approved", ("insured",)), "reason_unknown"),
        (Decide("perhaps"), "outcome_unknown"),
        (Decide("approved", by="manager:of-9"), "registrar_may_not_screen"),
        (Decide("approved", checklist={"not_insured": False, "resident": True, "complete": True}), "not_eligible"),
        (Decide("approved", checklist={"not_insured": True}), "not_eligible"),
        (Decide("approved"), "not_eligible"),
    ],
)
def test_invalid_decision_on_an_open_case_is_refused(scenario: ScreeningScenario, command: Decide, code: str) -> None:
    scenario.consume(registered())
    assert refusal(scenario, command).code == code
    assert status_of(scenario.state) == "open"


def test_who_corrected_an_application_does_not_screen_it(scenario: ScreeningScenario) -> None:
    scenario.consume(registered())
    for actor in ("manager:of-7", "registrar:of-6", "web:"):
        scenario.consume(updated(), actor)
    for person in ("of-6", "of-7", "of-9"):
        assert refusal(scenario, replace(APPROVE, by=f"screener:{person}")).code == "registrar_may_not_screen"
    scenario.consume(ApplicantWithdrawn(reason="moved"))
    scenario.consume(ApplicantReactivated(application=2, **PERSON), "web:")
    assert scenario.execute(replace(APPROVE, by="screener:of-7"), "screener:of-7"), "another application"


def test_no_decision_before_the_case_opens_or_after_a_withdrawal(scenario: ScreeningScenario) -> None:
    assert refusal(scenario, APPROVE).code == "no_open_case"
    scenario.consume(registered())
    assert scenario.consume(ApplicantWithdrawn(reason="moved")) == []
    assert refusal(scenario, APPROVE).code == "no_open_case"
    assert status_of(scenario.state) == "closed" and "due" not in scenario.record.indexed


def test_registration_on_the_web_excludes_no_officer(scenario: ScreeningScenario) -> None:
    scenario.consume(registered(), actor="web:")
    assert scenario.execute(replace(APPROVE, by="screener:"))


def test_applicant_of_unknown_age_is_not_approved(scenario: ScreeningScenario) -> None:
    scenario.consume(ApplicantRegistered(**{**PERSON, "age_band": ""}))
    error = refusal(scenario, APPROVE)
    assert (error.code, error.details["rules"]) == ("not_eligible", ("minimum_age",))
    assert scenario.execute(Decide("rejected", ("underage",)))


def test_breach_is_emitted_once_and_the_case_may_still_be_decided(scenario: ScreeningScenario) -> None:
    scenario.consume(registered())
    end = scenario.record.indexed["due"]
    scenario.now = end - timedelta(milliseconds=1)
    assert scenario.execute(Tick(scenario.now)) == []
    scenario.now = end
    assert scenario.execute(Tick(end)) == [CaseBreached(due=date(2025, 10, 8))]
    assert scenario.execute(Tick(end)) == [] and "due" not in scenario.record.indexed
    assert next(each for each in scenario.execute(APPROVE) if isinstance(each, CaseDecided)).within_sla is False


def test_seat_requests_the_capacity_once(scenario: ScreeningScenario) -> None:
    scenario.consume(registered())
    scenario.execute(APPROVE)
    assert refusal(scenario, KILIMS).code == "not_admitted"
    assert scenario.consume(ApplicantAdmitted()) == [CapacityRequested(due=date(2025, 10, 20), calendar=CALENDAR)]
    assert status_of(scenario.state) == "awaiting_capacity" and holder_of(scenario.state) == "screening"
    assert refusal(scenario, IdentifyCapacity("rugs", "piece", "10-49", "skilled")).field == "product_group"
    assert refusal(scenario, IdentifyCapacity("handicrafts", "piece", "10-49", "skilled", ("luck",))).field == "needs"
    assert isinstance(scenario.execute(KILIMS)[0], CapacityIdentified)
    assert refusal(scenario, KILIMS).code == "capacity_known"
    assert status_of(scenario.state) == "identified" and holder_of(scenario.state) == "market"


def test_capacity_is_breached_after_its_due_day_and_closed_with_the_seat(scenario: ScreeningScenario) -> None:
    scenario.consume(registered())
    scenario.execute(APPROVE)
    scenario.consume(ApplicantAdmitted())
    end = scenario.record.indexed["due"]
    scenario.now = end
    assert scenario.execute(Tick(end)) == [CapacityBreached(due=date(2025, 10, 20))]
    scenario.consume(ApplicantSeatReleased(reason="withdrawn"))
    assert refusal(scenario, KILIMS).code == "not_admitted"


def test_reactivation_opens_a_new_case(scenario: ScreeningScenario) -> None:
    scenario.consume(registered(), actor="registrar:of-1")
    scenario.consume(ApplicantWithdrawn(reason="moved"))
    scenario.now += timedelta(days=30)
    after = Context(round="1404", province="IR-23", county="2301", field="JF002", policy="1404-1")
    opened = scenario.consume(ApplicantReactivated(application=2, **PERSON), "registrar:of-7", after)
    assert opened == [CaseOpened(application=2, due=date(2025, 11, 8), calendar=CALENDAR)]
    assert scenario.execute(APPROVE)[0].application == 2  # type: ignore[attr-defined]  # of-1 registered only the first
    assert scenario.record.indexed["scope"] == "IR-23/2301"
    assert scenario.consume(ApplicantAdmitted(application=1)) == [], "events about an earlier application are ignored"
    assert status_of(scenario.state) == "decided"


def test_events_of_other_services_change_nothing() -> None:
    envelope = Envelope(
        source="market", subject=SUBJECT, sequence=1, time=SATURDAY, event=ProducerReadied(product_group="art")
    )
    assert applicant.evolve(State(), envelope) == State()
    assert applicant.indexed(State()) == {}


def step(scenario: ScreeningScenario, name: str, application: int) -> int:
    """Carry out one step; return the application that is current afterwards. Raise Refused."""
    consumed = {
        "withdraw": ApplicantWithdrawn(application=application, reason="other"),
        "reactivate": ApplicantReactivated(application=application + 1, **PERSON),
        "admit": ApplicantAdmitted(application=application),
        "release": ApplicantSeatReleased(application=application, reason="withdrawn"),
    }
    commands = {
        "approve": APPROVE,
        "reject": REJECT,
        "appeal": FileAppeal("20-1404-173"),
        "overturn": DecideAppeal(replace(APPROVE, by="manager:of-2")),
        "uphold": DecideAppeal(replace(REJECT, by="manager:of-2")),
        "identify": KILIMS,
        "tick": Tick(scenario.now),
    }
    if name in consumed:
        scenario.consume(consumed[name])
    elif name in commands:
        scenario.execute(commands[name])
    else:
        assert name == "wait"
        scenario.now += timedelta(days=9)
    return application + (name == "reactivate")


STEPS = (
    "withdraw", "reactivate", "admit", "release", "approve", "reject", "appeal", "overturn", "uphold", "identify",
    "tick", "wait",
)  # fmt: skip


@given(st.lists(st.sampled_from(STEPS), max_size=30))
def test_tick_at_due_emits_and_no_tick_before_does(steps: Sequence[str]) -> None:
    scenario, application = ScreeningScenario(), 1
    scenario.consume(registered())
    for name in steps:
        scenario.now += timedelta(hours=5)
        with contextlib.suppress(Refused):
            application = step(scenario, name, application)
        indexed = applicant.indexed(scenario.state)
        assert indexed["state"] in applicant.STATES
        if due := indexed.get("due"):
            assert applicant.decide(scenario.state, Tick(due), max(due, scenario.now))
            assert not applicant.decide(scenario.state, Tick(due - timedelta(milliseconds=1)), scenario.now)
    for n in range(1, application + 1):
        of_n = [each.event for each in scenario.emitted if each.event.application == n]  # type: ignore[attr-defined]
        assert sum(isinstance(each, CaseOpened) for each in of_n) <= 1
        assert sum(isinstance(each, CaseDecided) for each in of_n) <= 1
        assert sum(isinstance(each, CapacityIdentified) for each in of_n) <= 1
        assert sum(isinstance(each, CaseAppealed) for each in of_n) <= 1
        assert sum(isinstance(each, CaseAppealDecided) for each in of_n) <= 1
