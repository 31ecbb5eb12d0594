"""What screening says: eligible or not, and what this applicant can make."""

from datetime import date

from contracts.events.event import ApplicantEvent


class CaseOpened(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A screening case was opened, to be decided on or before a day (in Tehran)."""

    TYPE = "ir.peyvand.screening.case.opened.v1"
    due: date


class CaseDecided(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The case was decided; `within_sla` is information only, reporting computes its own."""

    TYPE = "ir.peyvand.screening.case.decided.v1"
    outcome: str  # approved | rejected
    reasons: tuple[str, ...] = ()
    rule_version: str = ""
    working_hours: int = 0  # whole working hours from opening to decision, eight a working day
    within_sla: bool = True


class CaseBreached(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The due day of an open case passed without a decision."""

    TYPE = "ir.peyvand.screening.case.breached.v1"
    due: date


class CapacityRequested(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An admitted applicant's capacity is to be identified on or before a day."""

    TYPE = "ir.peyvand.screening.capacity.requested.v1"
    due: date


class CapacityBreached(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The due day passed and the capacity is not identified."""

    TYPE = "ir.peyvand.screening.capacity.breached.v1"
    due: date


class CapacityIdentified(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """What this applicant can make, and how much a month."""

    TYPE = "ir.peyvand.screening.capacity.identified.v1"
    product_group: str  # a code of the job field's group
    unit: str  # piece | kilogram | metre | square_metre | litre | hour | pair | set
    monthly_band: str  # 1-9 | 10-49 | 50-199 | 200-999 | 1000+
    skill_level: str  # beginner | skilled | master
    needs: tuple[str, ...] = ()  # training | counselling | tools | material | finance | permit | packaging
