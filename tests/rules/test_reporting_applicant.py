"""Reporting only consumes: it emits nothing, and what comes before the registration counts with it."""

from datetime import UTC, datetime

from contracts.commands import Tick
from contracts.envelope import Envelope
from contracts.events import CaseOpened
from reporting.domain import applicant
from reporting.domain.contributions import contributions

START = datetime(2025, 9, 23, 5, tzinfo=UTC)


def test_reporting_emits_nothing() -> None:
    state, at = applicant.State(), START
    assert not applicant.decide(state, Tick(at), at)
    assert "due" not in applicant.indexed(state)


def test_facts_from_other_sources_do_not_count_before_the_registration() -> None:
    opened = Envelope(source="screening", subject="0199", sequence=1, time=START, event=CaseOpened(due=START.date()))
    state = applicant.evolve(applicant.State(), opened)
    assert state.applications and contributions(state) == {}
