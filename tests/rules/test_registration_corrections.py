"""A correction: what of an application may change, and when the identity registry is queried again."""

from typing import Any

import pytest
from msgspec.structs import replace

from contracts.commands import Refused
from contracts.events import (
    ApplicantIdentityChecked,
    ApplicantUpdated,
)
from registration.domain.applicant import (
    Erase,
    RecordIdentityCheck,
    Withdraw,
)
from registration.domain.identity import MAX_CORRECTIONS, Correct
from registration.domain.progress import Application
from tests.support.registration_rules import FARS, PROFILE, SEMNAN, Applicant, approved, register


def correct(one: Applicant, **changes: Any) -> Correct:
    """Return a correction of the date of birth, or of something else, of an applicant as they are."""
    now = {"context": one.state.context, "profile": one.state.current.profile, "identity": True}
    now["application"] = one.state.application
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


def test_a_correction_of_an_earlier_application_changes_no_other() -> None:
    """Read before a withdrawal, written after the person has registered again in another province."""
    one = Applicant()
    one.execute(register())
    before = correct(one, context=replace(SEMNAN, county="2003"))
    one.execute(Withdraw("moved"))
    one.execute(register(FARS))
    for stale in (before, replace(before, application=2)):
        with pytest.raises(Refused, match="changed_meanwhile"):
            one.execute(stale)
    assert one.state.context == FARS


def test_no_one_is_corrected_who_never_applied() -> None:
    with pytest.raises(Refused, match="not_registered"):
        Applicant().execute(Correct(application=0, context=SEMNAN, profile=PROFILE, identity=True, corrections=0))


def test_a_correction_of_the_job_field_that_overtook_the_decision_is_taken_back() -> None:
    """The decision was about the former field. What else was corrected stays, and a seat is awaited as ever."""
    one = Applicant()
    one.execute(register())
    older: dict[str, Any] = {**PROFILE, "age_band": "35-44"}
    moved = replace(SEMNAN, county="2003", field="JF002")
    one.execute(correct(one, context=moved, profile=older))
    one.consume(approved(), replace(SEMNAN, county="2001"))
    assert one.emitted()[-1] == ApplicantUpdated(identity_changed=False, **older)
    assert one.state.context == replace(moved, field="JF001") and one.indexed["seating"] == "awaiting"
    assert one.state.current.profile == older


def test_a_decision_about_the_present_job_field_takes_nothing_back() -> None:
    one = Applicant()
    one.execute(register())
    moved = replace(SEMNAN, county="2003", field="JF002")
    one.execute(correct(one, context=moved))
    before = len(one.emitted())
    one.consume(approved(), replace(moved, county="2001"))
    assert len(one.emitted()) == before and one.state.context == moved


def test_a_late_decision_changes_nothing_of_who_has_withdrawn_or_returned() -> None:
    for again in (False, True):
        one = Applicant()
        one.execute(register())
        one.execute(correct(one, context=replace(SEMNAN, field="JF002")))
        one.execute(Withdraw("moved"))
        if again:
            one.execute(register(FARS))
        before = len(one.emitted())
        one.consume(approved(), SEMNAN)
        assert len(one.emitted()) == before
