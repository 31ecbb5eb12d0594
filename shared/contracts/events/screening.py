"""What screening says: eligible or not, and what this applicant can make."""

from contracts.events.event import ApplicantEvent
from contracts.events.words import (
    DecisionReason,
    MonthlyBand,
    Need,
    Outcome,
    PolicyVersion,
    ProductGroup,
    ProgrammeDay,
    SkillLevel,
    Unit,
    WorkingHours,
)


class CaseOpened(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A screening case was opened, to be decided on or before a day (in Tehran)."""

    TYPE = "ir.peyvand.screening.case.opened.v1"
    due: ProgrammeDay


class CaseDecided(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The case was decided; `within_sla` is information only, reporting computes its own."""

    TYPE = "ir.peyvand.screening.case.decided.v1"
    outcome: Outcome
    reasons: tuple[DecisionReason, ...] = ()
    rule_version: PolicyVersion = ""
    working_hours: WorkingHours = 0  # whole working hours from opening to decision, eight a working day
    within_sla: bool = True


class CaseBreached(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The due day of an open case passed without a decision."""

    TYPE = "ir.peyvand.screening.case.breached.v1"
    due: ProgrammeDay


class CapacityRequested(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An admitted applicant's capacity is to be identified on or before a day."""

    TYPE = "ir.peyvand.screening.capacity.requested.v1"
    due: ProgrammeDay


class CapacityBreached(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The due day passed and the capacity is not identified."""

    TYPE = "ir.peyvand.screening.capacity.breached.v1"
    due: ProgrammeDay


class CapacityIdentified(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """What this applicant can make, and how much a month."""

    TYPE = "ir.peyvand.screening.capacity.identified.v1"
    product_group: ProductGroup
    unit: Unit
    monthly_band: MonthlyBand
    skill_level: SkillLevel
    needs: tuple[Need, ...] = ()
