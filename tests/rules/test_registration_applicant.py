"""An applicant registers, leaves, comes back, and stands in the queue for seats."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.clock import Moment
from contracts.commands import EventWithContext, Refused
from contracts.envelope import Context, Envelope, encode
from contracts.events import (
    ApplicantAdmitted,
    ApplicantReactivated,
    ApplicantRegistered,
    ApplicantSeatReleased,
    CapacityIdentified,
    CaseDecided,
    CaseOpened,
    Event,
)
from kernel.record import Message, Record, emit, receive
from registration.domain import applicant as rules
from registration.domain.applicant import (
    CHECK_AGAIN,
    Admit,
    Command,
    IdentityChecked,
    Register,
    ReleaseSeat,
    State,
    Waitlist,
    Withdraw,
    seating,
    status,
)

AT = datetime(2025, 9, 27, 8, tzinfo=UTC)
SEMNAN = Context(round="1404", province="IR-20", county="2001", field="JF001", policy="1404-1")
FARS = Context(round="1404", province="IR-07", county="0701", field="JF002", policy="1404-1")


class Applicant:
    """One record, driven by commands and by what screening says."""

    def __init__(self) -> None:
        self.record = Record(subject="0199", state=State())
        self.at = AT
        self.heard = 0

    def do(self, command: Command) -> list[Event]:
        self.at += timedelta(minutes=1)
        events = rules.decide(self.record.state, command, self.at)
        self.record = emit(self.record, rules, "registration", events, Moment(self.at, self.at))
        return [e.event if isinstance(e, EventWithContext) else e for e in events]

    def hear(self, event: Event) -> "Applicant":
        self.heard += 1
        self.at += timedelta(minutes=1)
        envelope = Envelope(source="screening", subject="0199", sequence=self.heard, time=self.at, event=event)
        message = Message(envelope, encode(envelope))
        self.record = receive(self.record, rules, "registration", message, Moment(self.at, self.at))
        return self

    @property
    def state(self) -> State:
        state: State = self.record.state
        return state

    @property
    def indexed(self) -> Mapping[str, Any]:
        return self.record.indexed


def register(place: Context = SEMNAN) -> Register:
    return Register(place=place, sex="female", age_band="25-34", work_mode="independent", intake_channel="web")


def approved(application: int = 1) -> CaseDecided:
    return CaseDecided(application=application, outcome="approved", reasons=("meets_conditions",))


def test_a_first_registration_says_who_in_bands_and_where() -> None:
    one = Applicant()
    [event] = one.do(register())
    assert event == ApplicantRegistered(
        application=1, sex="female", age_band="25-34", work_mode="independent", intake_channel="web"
    )
    assert one.indexed["scope"] == "IR-20/2001" and one.indexed["status"] == "registered"
    assert one.indexed["registered_at"] == one.indexed["check_due"] == one.at
    assert "seating" not in one.indexed and "ledger" not in one.indexed


def test_a_second_registration_is_refused_and_after_a_withdrawal_it_is_another_application() -> None:
    one = Applicant()
    one.do(register())
    first = one.indexed["registered_at"]
    with pytest.raises(Refused, match="already_registered"):
        one.do(register(FARS))
    one.do(Withdraw("own_request"))
    assert one.indexed["status"] == "withdrawn" and "check_due" not in one.indexed
    [event] = one.do(register(FARS))
    assert isinstance(event, ApplicantReactivated) and event.application == 2
    assert one.indexed["registered_at"] > first and one.indexed["scope"] == "IR-07/0701"


def test_what_was_said_about_an_earlier_application_no_longer_counts() -> None:
    one = Applicant()
    one.do(register())
    one.do(Withdraw("own_request"))
    one.do(register())
    one.hear(CaseOpened(application=1, due=date(2025, 10, 11))).hear(approved(1))
    assert status(one.state) == "registered" and seating(one.state) == ""
    assert one.do(IdentityChecked(1, "match")) == []
    one.hear(CaseOpened(application=2, due=date(2025, 10, 11))).hear(approved(2))
    assert seating(one.state) == "awaiting"


def test_an_approval_marks_and_only_the_allocator_seats() -> None:
    one = Applicant()
    one.do(register())
    assert one.do(Admit()) == [] and one.do(Waitlist()) == []
    one.hear(CaseOpened(due=date(2025, 10, 11)))
    assert one.indexed["status"] == "screening"
    one.hear(approved())
    assert one.indexed["seating"] == "awaiting" and one.indexed["ledger"] == "ledger:1404/IR-20"
    assert one.do(Waitlist()) and one.indexed["seating"] == "waiting"
    assert one.do(Waitlist()) == []
    assert one.do(Admit()) == [ApplicantAdmitted(application=1, promoted=True)]
    assert "seating" not in one.indexed and one.do(Admit()) == []
    one.hear(CapacityIdentified(product_group="x", unit="piece", monthly_band="1-9", skill_level="skilled"))
    assert one.indexed["status"] == "capacity_identified"


def test_a_withdrawal_marks_and_the_seat_is_taken_back_once() -> None:
    one = Applicant()
    one.do(register())
    one.hear(approved())
    one.do(Admit())
    one.do(Withdraw("moved"))
    assert one.indexed["seating"] == "releasing" and one.indexed["ledger"] == "ledger:1404/IR-20"
    assert one.do(ReleaseSeat()) == [ApplicantSeatReleased(application=1, reason="withdrawn")]
    assert "seating" not in one.indexed and one.do(ReleaseSeat()) == []


def test_who_leaves_the_waiting_list_has_nothing_to_give_back() -> None:
    one = Applicant()
    one.do(register())
    one.hear(approved())
    one.do(Waitlist())
    one.do(Withdraw("other"))
    assert "seating" not in one.indexed and one.do(ReleaseSeat()) == [] and one.do(Admit()) == []


def test_back_before_the_seat_is_taken_back_the_old_seat_goes_first_and_to_its_own_province() -> None:
    one = Applicant()
    one.do(register(SEMNAN))
    one.hear(approved())
    one.do(Admit())
    one.do(Withdraw("moved"))
    one.do(register(FARS))
    one.hear(approved(2))
    assert one.indexed["seating"] == "releasing" and one.indexed["ledger"] == "ledger:1404/IR-20"
    assert one.do(Admit()) == [], "no second seat while one is held"
    assert one.do(ReleaseSeat()) == [ApplicantSeatReleased(application=1, reason="withdrawn")]
    assert one.indexed["seating"] == "awaiting" and one.indexed["ledger"] == "ledger:1404/IR-07"
    assert one.do(Admit()) == [ApplicantAdmitted(application=2)]
    assert one.state.seat and one.state.seat.ledger == "ledger:1404/IR-07"


@pytest.mark.parametrize(
    ("before", "command", "code"),
    [
        ([], Withdraw("moved"), "not_registered"),
        ([register()], Withdraw("because"), "reason_unknown"),
        ([register(), Withdraw("moved")], Withdraw("moved"), "already_withdrawn"),
        ([register(), CaseDecided(outcome="rejected", reasons=("insured",))], Withdraw("moved"), "already_decided"),
    ],
)
def test_withdrawals_that_are_refused(before: list[Any], command: Withdraw, code: str) -> None:
    one = Applicant()
    for each in before:
        one.hear(each) if isinstance(each, CaseDecided) else one.do(each)
    with pytest.raises(Refused, match=code):
        one.do(command)


def test_an_unavailable_registry_is_asked_again_with_growing_pauses_and_not_for_ever() -> None:
    one = Applicant()
    one.do(register())
    for pause in CHECK_AGAIN:
        assert one.do(IdentityChecked(1, "unavailable"))
        assert one.indexed["check_due"] == one.at + pause
    one.do(IdentityChecked(1, "unavailable"))
    assert "check_due" not in one.indexed


def test_a_final_answer_is_asked_for_once() -> None:
    one = Applicant()
    one.do(register())
    assert one.do(IdentityChecked(1, "unavailable")) and one.do(IdentityChecked(1, "match"))
    assert "check_due" not in one.indexed and one.do(IdentityChecked(1, "mismatch")) == []


MOVES = st.sampled_from(
    ["register", "withdraw", "approve", "reject", "admit", "waitlist", "release", "match", "earlier", "open"]
)


def move(one: Applicant, name: str) -> list[Event]:
    """What one of the moves says here."""
    n = one.state.application
    match name:
        case "approve":
            one.hear(approved(n))
        case "earlier":
            one.hear(approved(max(1, n - 1)))
        case "reject":
            one.hear(CaseDecided(application=n, outcome="rejected"))
        case "open":
            one.hear(CaseOpened(application=n, due=date(2025, 10, 11)))
        case _:
            commands: dict[str, Command] = {
                "register": register(SEMNAN if n % 2 else FARS),
                "withdraw": Withdraw("moved"),
                "admit": Admit(),
                "waitlist": Waitlist(),
                "release": ReleaseSeat(),
                "match": IdentityChecked(n, "match"),
            }
            return one.do(commands[name])
    return []


@given(st.lists(MOVES, max_size=25))
def test_whatever_happens_a_seat_is_given_once_and_given_back_once(moves: list[str]) -> None:
    one, held = Applicant(), 0
    for name in moves:
        try:
            events = move(one, name)
        except Refused:
            continue
        held += sum(isinstance(e, ApplicantAdmitted) for e in events)
        held -= sum(isinstance(e, ApplicantSeatReleased) for e in events)
        state = one.state
        assert held in (0, 1) and held == (state.seat is not None)
        unwanted = state.seat and (state.now.withdrawn_at or state.seat.application != state.application)
        assert (one.indexed.get("seating") == "releasing") == bool(unwanted)
