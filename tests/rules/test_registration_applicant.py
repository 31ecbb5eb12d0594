"""An applicant registers, withdraws, registers again, and competes for a seat."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from base.clock import Moment
from contracts.commands import EventWithContext, Refused
from contracts.envelope import Context, Envelope, encode
from contracts.events import (
    ApplicantAdmitted,
    ApplicantIdentityChecked,
    ApplicantReactivated,
    ApplicantRegistered,
    ApplicantSeatReleased,
    ApplicantUpdated,
    CapacityIdentified,
    CaseAppealDecided,
    CaseAppealed,
    CaseDecided,
    CaseOpened,
    Event,
)
from kernel.record import Message, Record, consume, emit
from programme.policies import CURRENT, policy
from registration.domain import applicant as rules
from registration.domain.applicant import (
    Admit,
    Command,
    Erase,
    RecordIdentityCheck,
    Register,
    ReissueCode,
    ReleaseSeat,
    State,
    Waitlist,
    Withdraw,
    seating,
    status,
)
from registration.domain.application import FIELDS, accept
from registration.domain.identity import MAX_CORRECTIONS, RECHECK_AFTER, Correct
from registration.domain.progress import Application

AT = datetime(2025, 9, 27, 8, tzinfo=UTC)
SUBJECT = "0199a000-0000-7000-8000-000000000001"
SEMNAN = Context(round="1404", province="IR-20", county="2001", field="JF001", policy="1404-1")
PROFILE = accept({each.name: each.example for each in FIELDS}, AT.date(), policy(CURRENT), SEMNAN).profile
FARS = Context(round="1404", province="IR-07", county="0701", field="JF002", policy="1404-1")


class Applicant:
    """One record that executes commands and consumes events of screening."""

    def __init__(self) -> None:
        self.record = Record(subject=SUBJECT, state=State())
        self.at = AT
        self.sequence = 0

    def execute(self, command: Command) -> list[Event]:
        self.at += timedelta(minutes=1)
        events = rules.decide(self.record.state, command, self.at)
        self.record = emit(self.record, rules, "registration", events, Moment(self.at, self.at))
        return [e.event if isinstance(e, EventWithContext) else e for e in events]

    def consume(self, event: Event) -> "Applicant":
        self.sequence += 1
        self.at += timedelta(minutes=1)
        envelope = Envelope(source="screening", subject=SUBJECT, sequence=self.sequence, time=self.at, event=event)
        message = Message(envelope, encode(envelope))
        self.record, parked = consume(self.record, rules, "registration", [message], Moment(self.at, self.at))
        assert not parked
        return self

    @property
    def state(self) -> State:
        state: State = self.record.state
        return state

    @property
    def indexed(self) -> Mapping[str, Any]:
        return self.record.indexed


def register(context: Context = SEMNAN) -> Register:
    return Register(context=context, profile=PROFILE, intake_channel="web")


def approved(application: int = 1) -> CaseDecided:
    return CaseDecided(application=application, outcome="approved", reasons=("meets_conditions",))


def test_a_first_registration_emits_profile_and_context() -> None:
    one = Applicant()
    [event] = one.execute(register())
    assert event == ApplicantRegistered(application=1, intake_channel="web", **PROFILE)
    assert one.indexed["scope"] == "IR-20/2001" and one.indexed["status"] == "registered"
    assert one.indexed["registered_at"] == one.indexed["check_due"] == one.at
    assert "seating" not in one.indexed and "ledger" not in one.indexed


def test_a_second_registration_is_refused_and_after_a_withdrawal_it_is_a_new_application() -> None:
    one = Applicant()
    one.execute(register())
    first = one.indexed["registered_at"]
    with pytest.raises(Refused, match="already_registered"):
        one.execute(register(FARS))
    one.execute(Withdraw("own_request"))
    assert one.indexed["status"] == "withdrawn" and "check_due" not in one.indexed
    [event] = one.execute(register(FARS))
    assert isinstance(event, ApplicantReactivated) and event.application == 2
    assert one.indexed["registered_at"] > first and one.indexed["scope"] == "IR-07/0701"


def test_no_officer_voids_codes_or_applications_without_end_or_for_ever() -> None:
    """A limit by the day: neither a full record nor an applicant who can never return."""
    one = Applicant()
    one.execute(register())
    one.execute(ReissueCode())
    one.execute(Withdraw("moved"))
    one.execute(register())
    with pytest.raises(Refused, match="codes_of_the_day") as refused:
        one.execute(ReissueCode())
    assert 0 < refused.value.details["seconds"] <= 86_400
    one.execute(Withdraw("moved"))
    with pytest.raises(Refused, match="codes_of_the_day"):
        one.execute(register())
    one.at += timedelta(days=1)
    one.execute(register())
    one.execute(ReissueCode())
    assert one.execute(Erase("request")), "erasure is always possible"


def test_each_registration_and_each_reissue_counts_a_tracking_code() -> None:
    one = Applicant()
    counted = []
    for command in (register(), ReissueCode(), Withdraw("moved"), ReissueCode(), register()):
        one.at += timedelta(days=1)
        one.execute(command)
        counted.append(one.state.codes)
    assert counted == [1, 2, 2, 3, 4]


def test_events_about_an_earlier_application_are_ignored() -> None:
    one = Applicant()
    one.execute(register())
    one.execute(Withdraw("own_request"))
    one.execute(register())
    one.consume(CaseOpened(application=1, due=date(2025, 10, 11))).consume(approved(1))
    assert status(one.state) == "registered" and seating(one.state) == ""
    assert one.execute(RecordIdentityCheck(1, "match")) == []
    one.consume(CaseOpened(application=2, due=date(2025, 10, 11))).consume(approved(2))
    assert seating(one.state) == "awaiting"


def test_an_approval_marks_and_only_the_allocator_gives_seats() -> None:
    one = Applicant()
    one.execute(register())
    assert one.execute(Admit()) == [] and one.execute(Waitlist()) == []
    one.consume(CaseOpened(due=date(2025, 10, 11)))
    assert one.indexed["status"] == "screening"
    one.consume(approved())
    assert one.indexed["seating"] == "awaiting" and one.indexed["ledger"] == "ledger:1404/IR-20"
    assert one.execute(Waitlist()) and one.indexed["seating"] == "waiting"
    assert one.execute(Waitlist()) == []
    assert one.execute(Admit()) == [ApplicantAdmitted(application=1, promoted=True)]
    assert "seating" not in one.indexed and one.execute(Admit()) == []
    one.consume(CapacityIdentified(product_group="x", unit="piece", monthly_band="1-9", skill_level="skilled"))
    assert one.indexed["status"] == "capacity_identified"


def test_a_withdrawal_marks_and_the_seat_is_released_once() -> None:
    one = Applicant()
    one.execute(register())
    one.consume(approved())
    one.execute(Admit())
    one.execute(Withdraw("moved"))
    assert one.indexed["seating"] == "releasing" and one.indexed["ledger"] == "ledger:1404/IR-20"
    assert one.execute(ReleaseSeat()) == [ApplicantSeatReleased(application=1, reason="withdrawn")]
    assert "seating" not in one.indexed and one.execute(ReleaseSeat()) == []


def test_a_withdrawal_from_the_waiting_list_releases_no_seat() -> None:
    one = Applicant()
    one.execute(register())
    one.consume(approved())
    one.execute(Waitlist())
    one.execute(Withdraw("other"))
    assert "seating" not in one.indexed and one.execute(ReleaseSeat()) == [] and one.execute(Admit()) == []


def test_a_new_application_waits_until_the_earlier_seat_is_released_to_its_own_province() -> None:
    one = Applicant()
    one.execute(register(SEMNAN))
    one.consume(approved())
    one.execute(Admit())
    one.execute(Withdraw("moved"))
    one.execute(register(FARS))
    one.consume(approved(2))
    assert one.indexed["seating"] == "releasing" and one.indexed["ledger"] == "ledger:1404/IR-20"
    assert one.execute(Admit()) == [], "no second seat while one is held"
    assert one.execute(ReleaseSeat()) == [ApplicantSeatReleased(application=1, reason="withdrawn")]
    assert one.indexed["seating"] == "awaiting" and one.indexed["ledger"] == "ledger:1404/IR-07"
    assert one.execute(Admit()) == [ApplicantAdmitted(application=2)]
    assert one.state.seat and one.state.seat.ledger == "ledger:1404/IR-07"


@pytest.mark.parametrize(
    ("before", "command", "code"),
    [
        ([], Withdraw("moved"), "not_registered"),
        ([], ReissueCode(), "not_registered"),
        ([register()], Withdraw("because"), "reason_unknown"),
        ([register(), Withdraw("moved")], Withdraw("moved"), "already_withdrawn"),
        ([register(), CaseDecided(outcome="rejected", reasons=("insured",))], Withdraw("moved"), "already_decided"),
    ],
)
def test_refused_withdrawals(before: list[Any], command: Withdraw, code: str) -> None:
    one = Applicant()
    for each in before:
        one.consume(each) if isinstance(each, CaseDecided) else one.execute(each)
    with pytest.raises(Refused, match=code):
        one.execute(command)


def test_an_overturned_rejection_stands_in_the_line_for_a_seat_from_then_on() -> None:
    """At its place in the published order, which is that of the registration."""
    one = Applicant()
    one.execute(register())
    registered_at = one.indexed["registered_at"]
    one.consume(CaseDecided(outcome="rejected", reasons=("insured",)))
    assert one.indexed["status"] == "rejected" and "seating" not in one.indexed
    one.consume(CaseAppealed(due=date(2025, 10, 25), form="20-1404-173"))
    assert one.indexed["status"] == "appealed" and one.state.current.appeal_due == date(2025, 10, 25)
    with pytest.raises(Refused, match="already_decided"):  # it would undo the rejection
        one.execute(Withdraw("moved"))
    assert one.execute(Admit()) == [] and one.execute(Waitlist()) == []
    first = one.state.current.decided_at
    one.consume(CaseAppealDecided(outcome="approved", reasons=("meets_conditions",)))
    assert (one.indexed["status"], one.indexed["seating"]) == ("approved", "awaiting")
    assert one.indexed["registered_at"] == registered_at and one.state.current.decided_at == first
    assert isinstance(one.execute(Admit())[0], ApplicantAdmitted)


def test_an_appeal_that_is_rejected_changes_nothing() -> None:
    one = Applicant()
    one.execute(register())
    for event in (
        CaseDecided(outcome="rejected", reasons=("insured",)),
        CaseAppealed(due=date(2025, 10, 25), form="20-1404-173"),
        CaseAppealDecided(outcome="rejected", reasons=("not_resident",)),
    ):
        one.consume(event)
    assert one.indexed["status"] == "rejected" and "seating" not in one.indexed
    assert one.state.current.reasons == ("not_resident",), "those of the last decision"
    with pytest.raises(Refused, match="already_decided"):
        one.execute(Withdraw("moved"))


def test_an_appeal_of_an_earlier_application_gives_no_seat() -> None:
    one = Applicant()
    one.execute(register())
    one.execute(Withdraw("moved"))
    one.execute(register())
    one.consume(CaseAppealDecided(application=1, outcome="approved"))
    assert one.indexed["status"] == "registered" and "seating" not in one.indexed


def test_identity_checks_are_repeated_with_growing_pauses_up_to_a_limit() -> None:
    one = Applicant()
    one.execute(register())
    for pause in RECHECK_AFTER:
        assert one.execute(RecordIdentityCheck(1, "unavailable"))
        assert one.indexed["check_due"] == one.at + pause
    one.execute(RecordIdentityCheck(1, "unavailable"))
    assert "check_due" not in one.indexed


def test_a_final_answer_ends_the_checks() -> None:
    one = Applicant()
    one.execute(register())
    assert one.execute(RecordIdentityCheck(1, "unavailable")) and one.execute(RecordIdentityCheck(1, "match"))
    assert "check_due" not in one.indexed and one.execute(RecordIdentityCheck(1, "mismatch")) == []


MOVES = st.sampled_from(
    ["register", "withdraw", "approve", "reject", "appeal", "overturn", "admit", "waitlist", "release", "match",
     "earlier", "open"]
)  # fmt: skip


def move(one: Applicant, name: str) -> list[Event]:
    """Make a move; return the emitted events."""
    n = one.state.application
    match name:
        case "approve":
            one.consume(approved(n))
        case "earlier":
            one.consume(approved(max(1, n - 1)))
        case "reject":
            one.consume(CaseDecided(application=n, outcome="rejected"))
        case "appeal":
            one.consume(CaseAppealed(application=n, due=date(2025, 10, 25), form="20-1404-173"))
        case "overturn":
            one.consume(CaseAppealDecided(application=n, outcome="approved", reasons=("meets_conditions",)))
        case "open":
            one.consume(CaseOpened(application=n, due=date(2025, 10, 11)))
        case _:
            commands: dict[str, Command] = {
                "register": register(SEMNAN if n % 2 else FARS),
                "withdraw": Withdraw("moved"),
                "admit": Admit(),
                "waitlist": Waitlist(),
                "release": ReleaseSeat(),
                "match": RecordIdentityCheck(n, "match"),
            }
            return one.execute(commands[name])
    return []


@given(st.lists(MOVES, max_size=25))
def test_a_seat_is_given_once_and_released_once_in_every_story(moves: list[str]) -> None:
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
        unwanted = state.seat and (state.current.withdrawn_at or state.seat.application != state.application)
        assert (one.indexed.get("seating") == "releasing") == bool(unwanted)


# Corrections


def correct(one: Applicant, **changes: Any) -> Correct:
    """Return a correction of the date of birth, or of something else, of an applicant as they are."""
    now = {"context": one.state.context, "profile": one.state.current.profile, "identity": True}
    return Correct(**{**now, "corrections": one.state.current.corrections, **changes})


def refused_by_the_registry() -> Applicant:
    one = Applicant()
    one.execute(register())
    one.execute(RecordIdentityCheck(1, "mismatch"))
    assert "check_due" not in one.indexed
    return one


def test_a_refused_identity_is_corrected_and_checked_again() -> None:
    one = refused_by_the_registry()
    older: dict[str, Any] = {**PROFILE, "age_band": "35-44"}
    [event] = one.execute(correct(one, profile=older))
    assert event == ApplicantUpdated(identity_changed=True, **older)
    assert one.indexed["check_due"] <= one.at and one.state.current.identity == ""
    assert one.execute(RecordIdentityCheck(1, "match", 1)) == [ApplicantIdentityChecked(result="match")]
    assert one.state.current.profile["age_band"] == "35-44" and "check_due" not in one.indexed


def test_an_answer_about_the_data_before_the_correction_does_not_count() -> None:
    one = Applicant()
    one.execute(register())
    one.execute(correct(one))
    assert one.execute(RecordIdentityCheck(1, "mismatch", 0)) == [], "it was asked before the correction"
    assert one.execute(RecordIdentityCheck(1, "match", 1))


def test_a_correction_of_the_place_moves_the_scope_and_leaves_the_identity_as_it_is() -> None:
    one = refused_by_the_registry()
    moved = replace(SEMNAN, county="2003", field="JF002")
    one.execute(correct(one, context=moved, identity=False))
    assert one.indexed["scope"] == "IR-20/2003" and one.state.context == moved
    assert one.state.current.identity == "mismatch" and "check_due" not in one.indexed
    one.execute(correct(one, identity=False, contact=True))
    assert one.state.current.corrections == 2


def test_what_is_not_a_correction_is_refused() -> None:
    one = refused_by_the_registry()
    with pytest.raises(Refused, match="nothing_changed"):
        one.execute(correct(one, identity=False))
    before = correct(one)
    one.execute(before)
    with pytest.raises(Refused, match="changed_meanwhile"):
        one.execute(before)
    one.consume(approved())
    with pytest.raises(Refused, match="already_decided"):
        one.execute(correct(one, context=replace(SEMNAN, field="JF002")))
    one.execute(correct(one, context=replace(SEMNAN, county="2003")))
    for _ in range(MAX_CORRECTIONS - 2):
        one.execute(correct(one))
    with pytest.raises(Refused, match="corrections_used_up"):
        one.execute(correct(one))
    one.execute(Withdraw("moved"))
    with pytest.raises(Refused, match="already_withdrawn"):
        one.execute(correct(one))
    one.execute(register())
    one.execute(correct(one))
    one.execute(Erase("request"))
    with pytest.raises(Refused, match="erased"):
        one.execute(correct(one))
    assert one.state.current == Application() and one.state.context.county == ""


def test_no_one_is_corrected_who_never_applied() -> None:
    with pytest.raises(Refused, match="not_registered"):
        Applicant().execute(Correct(context=SEMNAN, profile=PROFILE, identity=True, corrections=0))
