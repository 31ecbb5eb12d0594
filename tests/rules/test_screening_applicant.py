"""Screening's rules about an applicant: what opens, what is decided, what the clock says."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.clock import Moment
from contracts.commands import Refused, Tick
from contracts.envelope import Context, Envelope, decode, encode
from contracts.events import (
    ApplicantAdmitted,
    ApplicantReactivated,
    ApplicantRegistered,
    ApplicantSeatReleased,
    ApplicantWithdrawn,
    CapacityBreached,
    CapacityIdentified,
    CapacityRequested,
    CaseBreached,
    CaseDecided,
    CaseOpened,
    Event,
    ProducerReadied,
)
from kernel.record import Message, Record, emit, receive
from programme.calendar import day_end
from screening.domain import applicant
from screening.domain.applicant import State, holder_of, stage_of
from screening.domain.capacity import IdentifyCapacity
from screening.domain.case import Decide

SUBJECT = "0199a000-0000-7000-8000-000000000001"
CONTEXT = Context(round="1404", province="IR-20", county="2001", field="JF001", policy="1404-1")
SATURDAY = datetime(2025, 9, 27, 6, tzinfo=UTC)  # 5 Mehr 1404, half past nine in Tehran
PERSON: dict[str, Any] = {"sex": "female", "age_band": "25-34", "work_mode": "independent", "intake_channel": "desk"}
APPROVE = Decide("approved", by="screener:of-1")
REJECT = Decide("rejected", ("unreachable",), by="screener:of-1")
KILIMS = IdentifyCapacity("handicrafts", "piece", "10-49", "skilled", ("training",))


class Desk:
    """One applicant before screening, with registration dictating."""

    def __init__(self) -> None:
        self.record = Record(subject=SUBJECT, state=State())
        self.sequence, self.now, self.said = 0, SATURDAY, list[Envelope]()

    @property
    def state(self) -> State:
        state: State = self.record.state
        return state

    def hears(self, event: Event, actor: str = "registrar:of-9", context: Context = CONTEXT) -> list[Event]:
        self.sequence += 1
        envelope = Envelope(
            source="registration", subject=SUBJECT, sequence=self.sequence, time=self.now, event=event,
            context=context, actor=actor,
        )  # fmt: skip
        moved = receive(self.record, applicant, "screening", Message(envelope, encode(envelope)), self.moment)
        return self._keep(moved)

    def asks(self, command: Any, actor: str = "screener:of-1") -> list[Event]:
        events = applicant.decide(self.state, command, self.now)
        return self._keep(emit(self.record, applicant, "screening", events, self.moment, actor=actor))

    @property
    def moment(self) -> Moment:
        return Moment(self.now, self.now)

    def _keep(self, moved: Record) -> list[Event]:
        assert not moved.parked
        new = [decode(raw) for raw in moved.emitted[len(self.record.emitted) :]]
        self.record = moved
        self.said += new
        return [each.event for each in new]


def registered(application: int = 1) -> ApplicantRegistered:
    return ApplicantRegistered(application=application, **PERSON)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def refusal(desk: Desk, command: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        desk.asks(command)
    return refused.value


def test_a_registration_opens_a_case_due_in_ten_working_days(desk: Desk) -> None:
    assert desk.hears(registered()) == [CaseOpened(due=date(2025, 10, 8))]  # two Fridays lie between
    assert stage_of(desk.state) == "open" and holder_of(desk.state) == "screening"
    assert desk.record.indexed["due"] == desk.record.indexed["deadline"] == day_end(date(2025, 10, 8))
    assert desk.record.indexed["scope"] == "IR-20/2001"
    assert desk.said[0].context == CONTEXT and desk.said[0].cause == "registration/1"


def test_a_decision_tells_reasons_rule_version_and_hours(desk: Desk) -> None:
    desk.hears(registered())
    desk.now += timedelta(days=2)
    decided = CaseDecided(
        outcome="approved", reasons=("meets_conditions",), rule_version="1404-1", working_hours=16, within_sla=True
    )
    assert desk.asks(APPROVE) == [decided]
    assert stage_of(desk.state) == "decided" and holder_of(desk.state) == "registration"
    assert "due" not in desk.record.indexed
    assert refusal(desk, REJECT).code == "already_decided"


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
    ],
)
def test_what_is_refused_on_an_open_case(desk: Desk, command: Decide, code: str) -> None:
    desk.hears(registered())
    assert refusal(desk, command).code == code
    assert stage_of(desk.state) == "open"


def test_nobody_decides_before_there_is_a_case_or_after_a_withdrawal(desk: Desk) -> None:
    assert refusal(desk, APPROVE).code == "no_open_case"
    desk.hears(registered())
    assert desk.hears(ApplicantWithdrawn(reason="moved")) == []
    assert refusal(desk, APPROVE).code == "no_open_case"
    assert stage_of(desk.state) == "closed" and "due" not in desk.record.indexed


def test_who_registers_on_the_web_bars_nobody(desk: Desk) -> None:
    desk.hears(registered(), actor="web:")
    assert desk.asks(Decide("approved", by="screener:"))


def test_an_applicant_of_unknown_age_is_not_approved(desk: Desk) -> None:
    desk.hears(ApplicantRegistered(**{**PERSON, "age_band": ""}))
    refused = refusal(desk, APPROVE)
    assert (refused.code, refused.details["rules"]) == ("not_eligible", ("minimum_age",))
    assert desk.asks(Decide("rejected", ("underage",)))


def test_the_clock_tells_a_breach_once_and_the_case_may_still_be_decided(desk: Desk) -> None:
    desk.hears(registered())
    end = desk.record.indexed["due"]
    desk.now = end - timedelta(milliseconds=1)
    assert desk.asks(Tick(desk.now)) == []
    desk.now = end
    assert desk.asks(Tick(end)) == [CaseBreached(due=date(2025, 10, 8))]
    assert desk.asks(Tick(end)) == [] and "due" not in desk.record.indexed
    assert next(each for each in desk.asks(APPROVE) if isinstance(each, CaseDecided)).within_sla is False


def test_a_seat_asks_for_the_capacity_once(desk: Desk) -> None:
    desk.hears(registered())
    desk.asks(APPROVE)
    assert refusal(desk, KILIMS).code == "not_admitted"
    assert desk.hears(ApplicantAdmitted()) == [CapacityRequested(due=date(2025, 10, 20))]
    assert stage_of(desk.state) == "awaiting_capacity" and holder_of(desk.state) == "screening"
    assert refusal(desk, IdentifyCapacity("rugs", "piece", "10-49", "skilled")).field == "product_group"
    assert refusal(desk, IdentifyCapacity("handicrafts", "piece", "10-49", "skilled", ("luck",))).field == "needs"
    assert isinstance(desk.asks(KILIMS)[0], CapacityIdentified)
    assert refusal(desk, KILIMS).code == "capacity_known"
    assert stage_of(desk.state) == "identified" and holder_of(desk.state) == "market"


def test_a_capacity_is_breached_by_the_clock_and_closed_with_the_seat(desk: Desk) -> None:
    desk.hears(registered())
    desk.asks(APPROVE)
    desk.hears(ApplicantAdmitted())
    end = desk.record.indexed["due"]
    desk.now = end
    assert desk.asks(Tick(end)) == [CapacityBreached(due=date(2025, 10, 20))]
    desk.hears(ApplicantSeatReleased(reason="withdrawn"))
    assert refusal(desk, KILIMS).code == "not_admitted"


def test_a_reactivation_starts_anew(desk: Desk) -> None:
    desk.hears(registered(), actor="registrar:of-1")
    desk.hears(ApplicantWithdrawn(reason="moved"))
    desk.now += timedelta(days=30)
    moved = Context(round="1404", province="IR-23", county="2301", field="JF002", policy="1404-1")
    opened = desk.hears(ApplicantReactivated(application=2, **PERSON), "registrar:of-7", moved)
    assert opened == [CaseOpened(application=2, due=date(2025, 11, 8))]
    assert desk.asks(APPROVE)[0].application == 2  # type: ignore[attr-defined]  # of-1 registered only the first
    assert desk.record.indexed["scope"] == "IR-23/2301"
    assert desk.hears(ApplicantAdmitted(application=1)) == [], "what concerns an earlier application is ignored"
    assert stage_of(desk.state) == "decided"


def test_others_events_change_nothing() -> None:
    told = Envelope(
        source="market", subject=SUBJECT, sequence=1, time=SATURDAY, event=ProducerReadied(product_group="art")
    )
    assert applicant.evolve(State(), told) == State()
    assert applicant.indexed(State()) == {}


STEPS = ("withdraw", "reactivate", "admit", "release", "approve", "reject", "identify", "tick", "wait")


@given(st.lists(st.sampled_from(STEPS), max_size=30))
def test_whatever_happens_due_means_that_the_clock_has_something_to_say(steps: Sequence[str]) -> None:
    desk, application = Desk(), 1
    desk.hears(registered())
    for step in steps:
        desk.now += timedelta(hours=5)
        try:
            match step:
                case "withdraw":
                    desk.hears(ApplicantWithdrawn(application=application, reason="other"))
                case "reactivate":
                    application += 1
                    desk.hears(ApplicantReactivated(application=application, **PERSON))
                case "admit":
                    desk.hears(ApplicantAdmitted(application=application))
                case "release":
                    desk.hears(ApplicantSeatReleased(application=application, reason="withdrawn"))
                case "approve":
                    desk.asks(APPROVE)
                case "reject":
                    desk.asks(REJECT)
                case "identify":
                    desk.asks(KILIMS)
                case "tick":
                    desk.asks(Tick(desk.now))
                case "wait":
                    desk.now += timedelta(days=9)
        except Refused:
            pass
        indexed = applicant.indexed(desk.state)
        assert indexed["state"] in applicant.STATES
        if due := indexed.get("due"):
            assert applicant.decide(desk.state, Tick(due), max(due, desk.now))
            assert not applicant.decide(desk.state, Tick(due - timedelta(milliseconds=1)), desk.now)
    for n in range(1, application + 1):
        of_n = [each.event for each in desk.said if each.event.application == n]  # type: ignore[attr-defined]
        assert sum(isinstance(each, CaseOpened) for each in of_n) <= 1
        assert sum(isinstance(each, CaseDecided) for each in of_n) <= 1
        assert sum(isinstance(each, CapacityIdentified) for each in of_n) <= 1
