"""An applicant registers, withdraws, registers again, and competes for a seat."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.commands import Refused
from contracts.events import (
    ApplicantAdmitted,
    ApplicantReactivated,
    ApplicantRegistered,
    ApplicantSeatReleased,
    ApplicantWithdrawn,
    CapacityIdentified,
    CaseAppealDecided,
    CaseAppealed,
    CaseClaimed,
    CaseDecided,
    CaseInfoLapsed,
    CaseInfoRequested,
    CaseInfoSupplied,
    CaseOpened,
    Event,
)
from registration.domain.applicant import (
    Admit,
    Command,
    Erase,
    RecordIdentityCheck,
    ReissueCode,
    ReleaseSeat,
    Waitlist,
    Withdraw,
    seating,
    status,
)
from registration.domain.identity import RECHECK_AFTER
from registration.domain.next_step import next_step
from tests.support.registration_rules import FARS, PROFILE, SEMNAN, Applicant, approved, register


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
    ],
)
def test_refused_withdrawals(before: list[Any], command: Withdraw, code: str) -> None:
    one = Applicant()
    for each in before:
        one.execute(each)
    with pytest.raises(Refused, match=code):
        one.execute(command)


REJECTION = CaseDecided(outcome="rejected", reasons=("insured",))
FILED = CaseAppealed(due=date(2025, 10, 25), form="20-1404-173")
KNOWN = CapacityIdentified(product_group="x", unit="piece", monthly_band="1-9", skill_level="skilled")


@pytest.mark.parametrize(
    "events",
    [
        (),
        (CaseOpened(due=date(2025, 10, 25)),),
        (REJECTION,),
        (REJECTION, FILED),
        (REJECTION, FILED, CaseAppealDecided(outcome="rejected", reasons=("not_resident",))),
        (CaseDecided(outcome="approved"),),
        (CaseDecided(outcome="approved"), Waitlist()),
        (CaseDecided(outcome="approved"), Admit()),
        (CaseDecided(outcome="approved"), Admit(), KNOWN),
    ],
    ids=[
        "registered",
        "screening",
        "rejected",
        "appealed",
        "rejected finally",
        "approved",
        "waiting",
        "seated",
        "known",
    ],
)
def test_an_applicant_may_withdraw_in_every_state(events: tuple[Any, ...]) -> None:
    """And register again, unless that would undo a rejection: as an application that is there already."""
    one = Applicant()
    one.execute(register())
    for each in events:
        one.execute(each) if isinstance(each, Waitlist | Admit) else one.consume(each)
    assert one.execute(Withdraw("moved")) == [ApplicantWithdrawn(application=1, reason="moved")]
    assert one.indexed["status"] == "withdrawn"
    rejected = one.state.current.outcome == "rejected"
    assert next_step(one.state) == ("none" if rejected else "register_again")
    if rejected:
        with pytest.raises(Refused, match="already_registered"):
            one.execute(register())
    else:
        assert isinstance(one.execute(register())[0], ApplicantReactivated)


def test_a_rejection_of_what_was_withdrawn_before_binds_no_one() -> None:
    """Screening decided before it knew of the withdrawal: the decision does not count."""
    one = Applicant()
    one.execute(register())
    one.execute(Withdraw("moved"))
    one.at += timedelta(hours=1)
    one.consume(REJECTION)
    assert isinstance(one.execute(register())[0], ApplicantReactivated)


def test_an_overturned_rejection_stands_in_the_line_for_a_seat_from_then_on() -> None:
    """At its place in the published order, which is that of the registration."""
    one = Applicant()
    one.execute(register())
    registered_at = one.indexed["registered_at"]
    one.consume(CaseDecided(outcome="rejected", reasons=("insured",)))
    assert one.indexed["status"] == "rejected" and "seating" not in one.indexed
    one.consume(CaseAppealed(due=date(2025, 10, 25), form="20-1404-173"))
    assert one.indexed["status"] == "appealed" and one.state.current.appeal_due == date(2025, 10, 25)
    assert one.execute(Admit()) == [] and one.execute(Waitlist()) == []
    first = one.state.current.decided_at
    one.consume(CaseAppealDecided(outcome="approved", reasons=("meets_conditions",)))
    assert (one.indexed["status"], one.indexed["seating"]) == ("approved", "awaiting")
    assert one.indexed["registered_at"] == registered_at and one.state.current.decided_at == first
    assert isinstance(one.execute(Admit())[0], ApplicantAdmitted)


def test_papers_that_screening_asks_for_are_the_next_step_until_they_come_or_the_day_passes() -> None:
    ask = CaseInfoRequested(items=("sample_photo",), due=date(2025, 10, 18), case_due=date(2025, 10, 26))
    one = Applicant()
    one.execute(register())
    one.consume(CaseOpened(due=date(2025, 10, 8)))
    one.consume(CaseClaimed(until=one.at + timedelta(hours=2)))
    one.consume(ask)
    assert one.state.current.claimed_until is None, "a request ends the claim"
    assert (one.indexed["status"], next_step(one.state)) == ("info_requested", "bring_papers")
    assert (one.state.current.info_due, one.state.current.case_due) == (ask.due, ask.case_due)
    one.consume(CaseInfoSupplied(items=("sample_photo",), case_due=date(2025, 10, 15)))
    assert (one.indexed["status"], next_step(one.state)) == ("screening", "screening_call")
    assert one.state.current.case_due == date(2025, 10, 15)
    one.consume(ask)
    assert one.indexed["status"] == "info_requested", "asked again"
    one.consume(CaseInfoLapsed(due=ask.due))
    assert one.indexed["status"] == "screening" and one.state.current.info_lapsed
    one.consume(ask)
    one.consume(CaseDecided(outcome="approved", reasons=("meets_conditions",)))
    assert one.indexed["status"] == "approved", "a decision ends the turn"


def test_a_request_about_an_earlier_application_and_one_after_the_erasure_change_nothing() -> None:
    ask = CaseInfoRequested(items=("sample_photo",), due=date(2025, 10, 18), case_due=date(2025, 10, 26))
    one = Applicant()
    one.execute(register())
    one.execute(Withdraw("own_request"))
    one.consume(ask)
    assert one.indexed["status"] == "withdrawn"
    one.execute(register())
    one.consume(ask)
    assert one.state.current.info_requested_at is None
    one.execute(Erase("request"))
    one.consume(replace(ask, application=2))
    assert one.indexed["status"] == "erased" and one.state.current.info_items == ()


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
