"""Possible histories of one applicant, as the events of three services, drawn by Hypothesis."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from contracts.envelope import Context, Envelope
from contracts.events import (
    ApplicantAdmitted,
    ApplicantCodeReissued,
    ApplicantIdentityChecked,
    ApplicantReactivated,
    ApplicantRegistered,
    ApplicantSeatReleased,
    ApplicantUpdated,
    ApplicantWithdrawn,
    CapacityBreached,
    CapacityIdentified,
    CapacityRequested,
    CaseAppealDecided,
    CaseAppealed,
    CaseBreached,
    CaseDecided,
    CaseInfoRequested,
    CaseInfoSupplied,
    CaseOpened,
    ConnectionEnded,
    ConnectionEvidenced,
    ConnectionSustained,
    Event,
    ProducerConnected,
    ProducerReadied,
)
from programme.calendar import day_end, tehran_day
from programme.work_calendar import work_calendar

START = datetime(2025, 9, 23, 5, tzinfo=UTC)
PERSON: dict[str, Any] = {"sex": "female", "age_band": "25-34", "work_mode": "independent", "intake_channel": "web"}


class History:
    """A possible history of one applicant, as the events of three services."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw, self.at = draw, START
        self.events: list[Envelope] = []
        self.sequences: Counter[str] = Counter()
        self.province = draw(st.sampled_from(["IR-20", "IR-08"]))

    def emit(self, source: str, event: Event, at: datetime | None = None, actor: str = "") -> None:
        self.sequences[source] += 1
        province = self.province if source == "registration" else "IR-99"  # a stale copy, which must not count
        self.events.append(
            Envelope(
                source=source,
                subject="0199",
                sequence=self.sequences[source],
                time=at or self.at,
                event=event,
                context=Context(round="1404", province=province, county="2001", field="JF001", policy="1404-1"),
                recorded=self.at,
                actor=actor,
            )
        )

    def actor(self) -> str:
        return self.draw(st.sampled_from(["web:", "registrar:a", "manager:b"]))

    def advance(self, days: int = 40) -> None:
        hours = self.draw(st.integers(0, days * 24))
        self.at += timedelta(hours=hours)

    def happens(self) -> bool:
        return self.draw(st.booleans())


@st.composite
def histories(draw: st.DrawFn) -> list[Envelope]:
    h = History(draw)
    for application in range(1, draw(st.integers(1, 3)) + 1):
        if application > 1:
            h.advance(10)
            h.province = draw(st.sampled_from(["IR-20", "IR-08"]))
        first = ApplicantRegistered if application == 1 else ApplicantReactivated
        h.emit("registration", first(application=application, **PERSON))
        ended = _apply(h, application)
        if not ended:
            break
    return h.events


def _apply(h: History, application: int) -> bool:
    """Draw one application; return whether it ended, so that another one may follow."""
    n: dict[str, Any] = {"application": application}
    if h.happens():
        _checked(h, n)
    due = work_calendar().add_working_days(tehran_day(h.at), 10)
    h.emit("screening", CaseOpened(due=due, **n))
    h.advance()
    for _ in range(h.draw(st.integers(0, 2))):
        due = _asked(h, due, n)
    withdrawn = h.draw(st.sampled_from([False, False, True]))
    if withdrawn:
        h.emit("registration", ApplicantWithdrawn(reason="moved", **n), actor=h.actor())
        if h.happens():
            h.advance(1)
    if tehran_day(h.at) > due:
        h.emit("screening", CaseBreached(due=due, **n))
    if withdrawn and h.happens():
        return True
    outcome = h.draw(st.sampled_from(["approved", "approved", "rejected"]))
    h.emit("screening", CaseDecided(outcome=outcome, **n))  # possibly at the instant of the withdrawal
    if outcome == "rejected" and h.happens():
        outcome = _appealed(h, n)
    if withdrawn or outcome == "rejected":
        return withdrawn
    h.advance(5)
    h.emit("registration", ApplicantAdmitted(**n))
    _seated(h, n)
    if h.happens():
        h.emit("registration", ApplicantWithdrawn(reason="health", **n), actor=h.actor())
        h.advance(2)
        h.emit("registration", ApplicantSeatReleased(reason="withdrawn", **n))
        return True
    return False


def _asked(h: History, due: date, n: dict[str, Any]) -> date:
    """Ask for papers, which come in time, late, or not at all; return the due day of the case."""
    calendar, first = work_calendar(), tehran_day(h.at)
    last = calendar.add_working_days(first, 15)

    def moved(to: date) -> date:
        if due < first:
            return due
        later = calendar.add_working_days(due, calendar.working_days_between(first, to))
        return later if later >= to else calendar.add_working_days(to, 1)

    asked = CaseInfoRequested(items=("sample_photo",), due=last, case_due=moved(last), **n)
    h.emit("screening", asked)
    h.advance()
    if not h.happens():
        h.at = max(h.at, day_end(last))  # no request before this one has lapsed
        return asked.case_due
    supplied = CaseInfoSupplied(items=("sample_photo",), case_due=moved(min(last, tehran_day(h.at))), **n)
    h.emit("screening", supplied)
    h.advance(5)
    return supplied.case_due


def _checked(h: History, n: dict[str, Any]) -> None:
    """Check the identity, correct it and issue codes, as an officer or as the applicant."""
    for result in h.draw(st.lists(st.sampled_from(["match", "mismatch", "unavailable"]), max_size=3)):
        h.emit("registration", ApplicantIdentityChecked(result=result, **n))
        h.advance(3)
        if h.happens():
            changed = h.draw(st.booleans())
            profile = {name: PERSON[name] for name in ("sex", "age_band", "work_mode")}
            updated = ApplicantUpdated(identity_changed=changed, **profile, **n)
            h.emit("registration", updated, actor=h.actor())
            if h.happens():
                h.emit("registration", ApplicantCodeReissued(**n), actor=h.actor())
            h.advance(3)


def _appealed(h: History, n: dict[str, Any]) -> str:
    """Appeal against a rejection, and decide the appeal or not yet; return the outcome of the screening."""
    h.advance(10)
    h.emit("screening", CaseAppealed(due=work_calendar().add_working_days(tehran_day(h.at), 10), form="20-1404-1", **n))
    if not h.happens():
        return "rejected"
    h.advance(20)
    outcome: str = h.draw(st.sampled_from(["approved", "rejected"]))
    h.emit("screening", CaseAppealDecided(outcome=outcome, **n))
    return outcome


def _seated(h: History, n: dict[str, Any]) -> None:
    due = work_calendar().add_working_days(tehran_day(h.at), 20)
    h.emit("screening", CapacityRequested(due=due, **n))
    h.advance()
    if tehran_day(h.at) > due:
        h.emit("screening", CapacityBreached(due=due, **n))
    if not h.happens():
        return
    h.emit(
        "screening",
        CapacityIdentified(product_group="textiles", unit="piece", monthly_band="1-9", skill_level="skilled", **n),
    )
    h.emit("market", ProducerReadied(product_group="textiles", **n))
    for i in range(h.draw(st.integers(0, 2))):
        h.advance(15)
        name, grade = f"0199.c{i}", h.draw(st.sampled_from(["E0", "E1", "E2", "E3"]))
        h.emit(
            "market",
            ProducerConnected(connection=name, channel="direct", counterparty_kind="consumer", evidence=grade, **n),
        )
        if grade < "E2" and h.happens():
            h.advance(15)
            h.emit("market", ConnectionEvidenced(connection=name, from_=grade, to="E2", **n))
            grade = "E2"
        if grade >= "E2" and h.happens():
            h.at += timedelta(days=91)
            h.emit("market", ConnectionSustained(connection=name, **n))
        if h.happens():
            h.advance(10)
            h.emit("market", ConnectionEnded(connection=name, reason="completed", **n))
