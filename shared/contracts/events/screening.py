"""Events of screening: eligibility decisions and identified capacity."""

from typing import Annotated

from contracts.events.event import ApplicantEvent
from contracts.events.fields import (
    FEW,
    CalendarVersion,
    CallOutcome,
    ClaimReleaseReason,
    Condition,
    DecisionReason,
    FormNumber,
    InfoItem,
    MonthlyBand,
    Need,
    Outcome,
    PolicyVersion,
    ProductGroup,
    ProgrammeDay,
    ProgrammeInstant,
    ReviewReason,
    SkillLevel,
    Unit,
    WorkingHours,
)


class CaseOpened(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A screening case was opened, to be decided on or before the date `due`."""

    TYPE = "ir.peyvand.screening.case.opened.v1"
    due: ProgrammeDay
    calendar: CalendarVersion = ""


class CaseClaimed(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An officer, the actor, claimed the screening case: it is offered to no other before `until`."""

    TYPE = "ir.peyvand.screening.case.claimed.v1"
    until: ProgrammeInstant


class CaseReleased(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The claim on the screening case ended before a decision; the next officer may be offered it."""

    TYPE = "ir.peyvand.screening.case.released.v1"
    reason: ClaimReleaseReason


class CaseCallLogged(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An officer, the actor, called the applicant."""

    TYPE = "ir.peyvand.screening.case.call_logged.v1"
    outcome: CallOutcome


class CaseCallAgreed(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The applicant asked to be called at another time, `at`; follows the call in which they did."""

    TYPE = "ir.peyvand.screening.case.call_agreed.v1"
    at: ProgrammeInstant


class CaseDecided(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A screening case was decided. `within_sla` is informative; reporting computes its own figure.

    `met` and `unmet` are the conditions to which the applicant's answer was yes and no; the others were not answered.
    """

    TYPE = "ir.peyvand.screening.case.decided.v1"
    outcome: Outcome
    reasons: Annotated[tuple[DecisionReason, ...], FEW] = ()
    rule_version: PolicyVersion = ""
    working_hours: WorkingHours = 0
    within_sla: bool = True
    met: Annotated[tuple[Condition, ...], FEW] = ()
    unmet: Annotated[tuple[Condition, ...], FEW] = ()


class CaseReviewed(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Another officer looked at a drawn approval again and agrees, or disagrees for reasons; the approval stands."""

    TYPE = "ir.peyvand.screening.case.reviewed.v1"
    reasons: Annotated[tuple[ReviewReason, ...], FEW] = ()


class CaseBreached(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The date `due` passed and the screening case is not decided."""

    TYPE = "ir.peyvand.screening.case.breached.v1"
    due: ProgrammeDay


class CaseInfoRequested(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The applicant was asked for papers: it is their turn, until the date `due` at the latest.

    The case is to be decided on or before `case_due`, or earlier if they come earlier: the working days of the
    applicant's turn are added to the due day. Of a case that was overdue already it stays as it was.
    """

    TYPE = "ir.peyvand.screening.case.info_requested.v1"
    items: Annotated[tuple[InfoItem, ...], FEW]
    due: ProgrammeDay
    case_due: ProgrammeDay
    calendar: CalendarVersion = ""


class CaseInfoSupplied(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Papers came, and the turn is screening's: the case is to be decided on or before the date `case_due`."""

    TYPE = "ir.peyvand.screening.case.info_supplied.v1"
    items: Annotated[tuple[InfoItem, ...], FEW]
    case_due: ProgrammeDay


class CaseInfoLapsed(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The date `due` passed without the papers, and the turn is screening's, which decides by what it has."""

    TYPE = "ir.peyvand.screening.case.info_lapsed.v1"
    due: ProgrammeDay


class CaseAppealed(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The applicant appealed against a rejection by a signed form; to be decided on or before the date `due`."""

    TYPE = "ir.peyvand.screening.case.appealed.v1"
    due: ProgrammeDay
    form: FormNumber
    calendar: CalendarVersion = ""


class CaseAppealDecided(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The appeal was decided by another person; `outcome` is the final one of the screening from now on."""

    TYPE = "ir.peyvand.screening.case.appeal_decided.v1"
    outcome: Outcome
    reasons: Annotated[tuple[DecisionReason, ...], FEW] = ()
    rule_version: PolicyVersion = ""
    met: Annotated[tuple[Condition, ...], FEW] = ()
    unmet: Annotated[tuple[Condition, ...], FEW] = ()


class CaseAppealBreached(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The date `due` passed and the appeal is not decided."""

    TYPE = "ir.peyvand.screening.case.appeal_breached.v1"
    due: ProgrammeDay


class CapacityRequested(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The capacity of an admitted applicant is to be identified on or before the date `due`."""

    TYPE = "ir.peyvand.screening.capacity.requested.v1"
    due: ProgrammeDay
    calendar: CalendarVersion = ""


class CapacityBreached(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The date `due` passed and the capacity is not identified."""

    TYPE = "ir.peyvand.screening.capacity.breached.v1"
    due: ProgrammeDay


class CapacityIdentified(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The capacity of the applicant was identified: what the applicant can produce, and how much a month."""

    TYPE = "ir.peyvand.screening.capacity.identified.v1"
    product_group: ProductGroup
    unit: Unit
    monthly_band: MonthlyBand
    skill_level: SkillLevel
    needs: Annotated[tuple[Need, ...], FEW] = ()
