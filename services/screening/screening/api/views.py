"""How a case reads from outside, and what is asked of it: the shapes of screening's API."""

from datetime import date, datetime
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, Field

from contracts.envelope import Envelope
from kernel.commands import Result
from kernel.record import Record
from programme.messages import message_text
from programme.policies import policy
from screening.domain import applicant
from screening.domain.applicant import AWAITING_CAPACITY, DECIDED, IDENTIFIED, State, facts_of, holder_of, stage_of
from screening.domain.capacity import IdentifyCapacity
from screening.domain.case import APPROVED, Decide
from screening.domain.eligibility import Finding, trace, trace_of_decision
from web.app import Body

LIST = 500  # items that may come at once
Code = Field(max_length=40)
Stage = Literal["open", "decided", "awaiting_capacity", "identified", "closed"]


class Decision(Body):
    """What the officer decides; the checklist answers the conditions that are asked, by name."""

    outcome: str = Field(examples=["approved"], max_length=40)
    reasons: list[str] = Field(default=[], max_length=8, examples=[["meets_conditions"]])
    checklist: dict[str, bool] | None = Field(
        default=None, max_length=20, examples=[{"not_insured": True, "resident": True, "complete": True}]
    )

    def command(self, by: str) -> Decide:
        """What the rules are asked."""
        return Decide(self.outcome, tuple(self.reasons), self.checklist, by)


class ListedDecision(Decision):
    """One decision of a list."""

    id: str = Field(max_length=64)


class Decisions(Body):
    """Decisions on many cases; each stands for itself."""

    decisions: list[ListedDecision] = Field(max_length=LIST)


class Capacity(Body):
    """What the applicant can make, how much a month, how well, and what is lacking."""

    product_group: str = Field(max_length=40, examples=["handicrafts"])
    unit: str = Field(max_length=40, examples=["piece"])
    monthly_band: str = Field(max_length=40, examples=["10-49"])
    skill_level: str = Field(max_length=40, examples=["skilled"])
    needs: list[str] = Field(default=[], max_length=12, examples=[["training", "material"]])

    def command(self) -> IdentifyCapacity:
        """What the rules are asked."""
        return IdentifyCapacity(self.product_group, self.unit, self.monthly_band, self.skill_level, tuple(self.needs))


class ListedCapacity(Capacity):
    """One capacity of a list."""

    id: str = Field(max_length=64)


class Capacities(Body):
    """Capacities of many applicants; each stands for itself."""

    capacities: list[ListedCapacity] = Field(max_length=LIST)


class Row(BaseModel):
    """A case in the queue."""

    id: str
    state: Stage
    holder: str = Field(description="Who holds the ball: screening, registration, market; empty for nobody.")
    province: str
    county: str
    field: str
    since: datetime | None = Field(description="When its present state began.")
    due: date | None = Field(description="The day, in Tehran, by which its present state is to end.")
    breached: bool
    version: int


class Decided(BaseModel):
    """The decision."""

    outcome: str
    reasons: list[str]
    rule_version: str
    at: datetime | None
    within_sla: bool


class Identified(BaseModel):
    """The capacity as it was identified."""

    product_group: str
    unit: str
    monthly_band: str
    skill_level: str
    needs: list[str]
    at: datetime


class Rule(BaseModel):
    """What became of one condition of eligibility; `holds` is null where nobody has answered."""

    rule: str
    holds: bool | None
    source: str = Field(description="derived, telephone or officer; empty where nobody has answered.")
    reason: str
    fa: str
    en: str


class Told(BaseModel):
    """Something that screening said about the applicant."""

    sequence: int
    type: str
    time: datetime
    actor: str
    data: dict[str, Any]


class Case(Row):
    """A case with everything that screening knows; who it is about is not among it."""

    application: int
    work_mode: str
    age_band: str
    identity: str
    policy: str
    decision: Decided | None
    capacity: Identified | None
    rules: list[Rule]


class CaseFile(Case):
    """A case and its history."""

    history: list[Told]


class Outcome(BaseModel):
    """What became of one item of a list: the state it has now, or why it was refused."""

    id: str
    state: Stage | None = None
    repeated: bool | None = None
    code: str | None = None
    field: str | None = None
    detail: str | None = None
    detail_fa: str | None = None


class Outcomes(BaseModel):
    """What became of each item, in the order in which they came."""

    items: list[Outcome]
    done: int
    refused: int


class Count(BaseModel):
    """How many cases there are."""

    states: dict[str, int]
    overdue: int
    due_today: int


def row(record: Record) -> Row:
    """The case as it stands in the queue."""
    return Row.model_construct(**_row(record))


def case(record: Record) -> Case:
    """The case as an officer sees it."""
    return Case.model_construct(**_row(record), **_rest(record.state))


def case_file(record: Record, history: list[Envelope]) -> CaseFile:
    """The case and everything that was said about it."""
    return CaseFile.model_construct(
        **_row(record),
        **_rest(record.state),
        history=[
            Told(sequence=e.sequence, type=e.event.TYPE, time=e.time, actor=e.actor, data=msgspec.to_builtins(e.event))
            for e in history
        ],
    )


def outcome(subject: str, became: Result | Exception) -> Outcome:
    """What became of one item."""
    if isinstance(became, Result):
        stage = stage_of(became.record.state)
        return Outcome.model_construct(id=subject, state=stage, repeated=became.repeated or None)
    code, details = getattr(became, "code", "idempotency_key_reused"), getattr(became, "details", {})
    return Outcome(
        id=subject,
        code=code,
        field=getattr(became, "field", "") or None,
        detail=message_text(code, "en", **details),
        detail_fa=message_text(code, "fa", **details),
    )


def findings(state: State) -> tuple[Finding, ...]:
    """The conditions as they stand: before the decision, or as it left them."""
    rules, facts, decided = policy(state.policy), facts_of(state), state.case
    if decided.outcome:
        return trace_of_decision(rules, facts, decided.outcome == APPROVED, decided.reasons)
    return trace(rules, facts)


def due_of(state: State) -> date | None:
    """The day by which the present state is to end."""
    stage = stage_of(state)
    return state.case.due if stage == applicant.OPEN else state.capacity.due if stage == AWAITING_CAPACITY else None


def _row(record: Record) -> dict[str, Any]:
    state: State = record.state
    stage = stage_of(state)
    began = {
        DECIDED: state.case.decided,
        AWAITING_CAPACITY: state.capacity.requested,
        IDENTIFIED: state.capacity.identified,
    }
    return {
        "id": record.subject,
        "state": stage,
        "holder": holder_of(state),
        "province": state.province,
        "county": state.county,
        "field": state.field,
        "since": began.get(stage, state.case.opened),
        "due": due_of(state),
        "breached": state.capacity.breached if stage == AWAITING_CAPACITY else state.case.breached,
        "version": record.version,
    }


def _rest(state: State) -> dict[str, Any]:
    decided, known = state.case, state.capacity
    return {
        "application": state.application,
        "work_mode": state.work_mode,
        "age_band": state.age_band,
        "identity": state.identity,
        "policy": state.policy,
        "decision": Decided(
            outcome=decided.outcome,
            reasons=list(decided.reasons),
            rule_version=decided.rule_version,
            at=decided.decided,
            within_sla=decided.within_sla,
        )
        if decided.outcome
        else None,
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
        "rules": [
            Rule(rule=f.rule, holds=f.holds, source=f.source, reason=f.reason, fa=f.fa, en=f.en)
            for f in findings(state)
        ],
    }
