"""Request and response models of the screening API."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, Field

from contracts.envelope import Envelope, type_of
from kernel.commands import Outcome as CommandOutcome
from kernel.commands import Result
from kernel.record import Record
from programme.deadlines import appeal_until
from programme.numbers import case_number
from programme.policies import policy
from programme.work_calendar import UnknownDay
from screening.domain import applicant
from screening.domain.appeal import DecideAppeal, FileAppeal
from screening.domain.applicant import (
    APPEALED,
    AWAITING_CAPACITY,
    DECIDED,
    IDENTIFIED,
    INFO_REQUESTED,
    State,
    facts_of,
    holder_of,
    outcome_of,
    status_of,
)
from screening.domain.case import APPROVED, REJECTED, Decide
from screening.domain.eligibility import Finding, trace, trace_of_decision
from screening.schemas_calls import LoggedCall, logged_calls
from screening.schemas_info import InfoAsked, asked
from web.app import Body
from web.idempotency import ItemOutcome, Outcomes
from web.problems import refusal_fields

LIST = 500  # items that may come at once
Stage = Literal["open", "info_requested", "decided", "appealed", "awaiting_capacity", "identified", "closed"]


class Decision(Body):
    """A decision; the checklist answers the conditions that an officer asks about, by name."""

    outcome: str = Field(examples=["approved"], max_length=40)
    reasons: list[str] = Field(default=[], max_length=8, examples=[["meets_conditions"]])
    checklist: dict[str, bool] | None = Field(
        default=None, max_length=20, examples=[{"not_insured": True, "resident": True, "complete": True}]
    )

    def command(self, by: str) -> Decide:
        """Return the command."""
        return Decide(self.outcome, tuple(self.reasons), self.checklist, by)


class ListedDecision(Decision):
    """One decision in a list."""

    id: str = Field(max_length=64)


class Decisions(Body):
    """Decisions on many cases, each independent of the others."""

    decisions: list[ListedDecision] = Field(max_length=LIST)


class AppealForm(Body):
    """An appeal, filed for the applicant."""

    form: str = Field(
        max_length=20,
        examples=["20-1404-173"],
        description="Number of the form that the applicant signed: the province's two digits, year, number.",
    )

    def command(self) -> FileAppeal:
        """Return the command."""
        return FileAppeal(self.form)


class AppealDecision(Decision):
    """A decision on an appeal, by the same conditions as a first decision."""

    def appeal_command(self, by: str) -> DecideAppeal:
        """Return the command."""
        return DecideAppeal(self.command(by))


class Row(BaseModel):
    """A case in the queue."""

    id: str
    number: str = Field(description="What people call the case: `20-4812-7306`, the province and eight digits.")
    state: Stage
    holder: str = Field(description="Who acts next: screening, applicant, registration or market; empty for none.")
    province: str
    county: str
    field: str
    since: datetime | None = Field(description="When its present state began.")
    due: date | None = Field(description="The day, in Tehran, by which its present state is to end.")
    breached: bool
    claimed_by: str = Field(description="Role and pseudonymous id of the officer who claimed the case; empty for none.")
    claimed_until: datetime | None = Field(description="When the claim ends, if it is not decided before.")
    version: int


class Decided(BaseModel):
    """The decision."""

    outcome: str
    reasons: list[str]
    rule_version: str
    at: datetime | None
    within_sla: bool


class Appealed(BaseModel):
    """The appeal against a rejection; `outcome` is empty and `at` null until it is decided."""

    filed: datetime
    form: str
    due: date
    breached: bool
    outcome: str
    reasons: list[str]
    at: datetime | None


class AppealFile(BaseModel):
    """What concerns an appeal, without the answers and the rest of the case."""

    id: str
    state: Stage
    province: str
    decision: Decided | None = Field(description="The first decision.")
    until: date | None = Field(description="The last day to appeal; null unless the first decision rejects.")
    appeal: Appealed | None
    version: int


class Identified(BaseModel):
    """The capacity as it was identified."""

    product_group: str
    unit: str
    monthly_band: str
    skill_level: str
    needs: list[str]
    at: datetime


class Rule(BaseModel):
    """One condition of eligibility; `holds` is null while it is unanswered."""

    rule: str
    holds: bool | None
    source: str = Field(description="derived, telephone or officer; empty while it is unanswered.")
    reason: str
    fa: str
    en: str


class HistoryItem(BaseModel):
    """An event that screening emitted about the applicant."""

    sequence: int
    type: str
    time: datetime
    actor: str
    data: dict[str, Any]


class Case(Row):
    """A case with all data of screening; no identity."""

    application: int
    work_mode: str
    age_band: str
    identity: str
    policy: str
    info: InfoAsked | None
    decision: Decided | None = Field(description="The first decision.")
    appeal: Appealed | None
    capacity: Identified | None
    rules: list[Rule]
    calls: list[LoggedCall]


class CaseFile(Case):
    """A case and its history."""

    history: list[HistoryItem]


class Outcome(ItemOutcome):
    """The outcome of one item: the new state, or why it was refused."""

    id: str
    state: Stage | None = None


class Count(BaseModel):
    """How many cases there are."""

    states: dict[str, int]
    overdue: int
    due_today: int


def row(record: Record) -> Row:
    """Return a case as it is in the queue."""
    return Row.model_construct(**_row(record))


def case(record: Record) -> Case:
    """Return a case with its details."""
    return Case.model_construct(**_row(record), **_rest(record.state))


def case_file(record: Record, history: list[Envelope]) -> CaseFile:
    """Return a case with its details and its history."""
    return CaseFile.model_construct(
        **_row(record),
        **_rest(record.state),
        history=[
            HistoryItem(
                sequence=e.sequence,
                type=type_of(e.event),
                time=e.time,
                actor=e.actor,
                data=msgspec.to_builtins(e.event),
            )
            for e in history
        ],
    )


def outcome(subject: str, result: CommandOutcome) -> Outcome:
    """Return the outcome of one item."""
    if isinstance(result, Result):
        status = status_of(result.record.state)
        return Outcome.model_construct(id=subject, state=status)
    return Outcome.model_construct(id=subject, **refusal_fields(result))


def outcomes(items: Sequence[tuple[str, CommandOutcome]]) -> Outcomes[Outcome]:
    """Return the outcomes of a list."""
    return Outcomes.of([outcome(subject, each) for subject, each in items])


def appeal_file(record: Record) -> AppealFile:
    """Return what concerns the appeal of a case."""
    state: State = record.state
    return AppealFile.model_construct(
        id=record.subject,
        state=status_of(state),
        province=state.province,
        decision=_decision(state),
        until=_appeal_until(state),
        appeal=_appeal(state),
        version=record.version,
    )


def _appeal_until(state: State) -> date | None:
    """Return the last day to appeal against the first decision; None where the calendar ends before it."""
    if state.case.outcome != REJECTED or state.case.decided is None:
        return None
    try:
        return appeal_until(state.case.decided, state.policy, state.province)
    except UnknownDay:
        return None


def _decision(state: State) -> Decided | None:
    decided = state.case
    if not decided.outcome:
        return None
    return Decided(
        outcome=decided.outcome,
        reasons=list(decided.reasons),
        rule_version=decided.rule_version,
        at=decided.decided,
        within_sla=decided.within_sla,
    )


def _appeal(state: State) -> Appealed | None:
    appeal = state.appeal
    if not appeal.filed or not appeal.due:
        return None
    return Appealed(
        filed=appeal.filed,
        form=appeal.form,
        due=appeal.due,
        breached=appeal.breached,
        outcome=appeal.outcome,
        reasons=list(appeal.reasons),
        at=appeal.decided,
    )


def findings(state: State) -> tuple[Finding, ...]:
    """Return the conditions of eligibility: as they are, or as they were when the case was decided."""
    rules, facts = policy(state.policy), facts_of(state)
    if outcome := outcome_of(state):
        last = state.appeal if state.appeal.outcome else state.case
        answers = dict.fromkeys(last.met, True) | dict.fromkeys(last.unmet, False)
        return trace_of_decision(rules, facts, outcome == APPROVED, last.reasons, answers)
    return trace(rules, facts)


def due_of(state: State) -> date | None:
    """Return the day by which the present state has to end."""
    due = {
        applicant.OPEN: state.case.due,
        INFO_REQUESTED: state.info.due,
        APPEALED: state.appeal.due,
        AWAITING_CAPACITY: state.capacity.due,
    }
    return due.get(status_of(state))


def _row(record: Record) -> dict[str, Any]:
    state: State = record.state
    status = status_of(state)
    began = {
        DECIDED: state.appeal.decided or state.case.decided,
        APPEALED: state.appeal.filed,
        INFO_REQUESTED: state.info.requested,
        AWAITING_CAPACITY: state.capacity.requested,
        IDENTIFIED: state.capacity.identified,
    }
    breached = {APPEALED: state.appeal.breached, AWAITING_CAPACITY: state.capacity.breached}
    return {
        "id": record.subject,
        "number": case_number(record.subject, state.province),
        "state": status,
        "holder": holder_of(state),
        "province": state.province,
        "county": state.county,
        "field": state.field,
        "since": began.get(status, state.case.opened),
        "due": due_of(state),
        "breached": breached.get(status, state.case.breached),
        "claimed_by": state.claim.by,
        "claimed_until": state.claim.until,
        "version": record.version,
    }


def _rest(state: State) -> dict[str, Any]:
    known = state.capacity
    return {
        "application": state.application,
        "work_mode": state.work_mode,
        "age_band": state.age_band,
        "identity": state.identity,
        "policy": state.policy,
        "info": asked(state),
        "decision": _decision(state),
        "appeal": _appeal(state),
        "capacity": Identified(
            product_group=known.product_group,
            unit=known.unit,
            monthly_band=known.monthly_band,
            skill_level=known.skill_level,
            needs=list(known.needs),
            at=known.identified,
        )
        if known.identified
        else None,
        "calls": logged_calls(state.calls),
        "rules": [
            Rule(rule=f.rule, holds=f.holds, source=f.source, reason=f.reason, fa=f.fa, en=f.en)
            for f in findings(state)
        ],
    }
