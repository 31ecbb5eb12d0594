"""How far an application has come, and how the events of screening move it on."""

from datetime import date, datetime

import msgspec
from msgspec.structs import replace

from contracts.events import (
    CapacityIdentified,
    CapacityRequested,
    CaseAppealDecided,
    CaseAppealed,
    CaseDecided,
    CaseOpened,
    Event,
)


class Application(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The current application and when it changed."""

    profile: dict[str, str] = {}  # by event field, see `application.PROFILE`
    intake_channel: str = ""
    registered_at: datetime | None = None
    case_due: date | None = None
    case_opened_at: datetime | None = None
    outcome: str = ""  # approved | rejected; after an appeal, its outcome
    reasons: tuple[str, ...] = ()
    decided_at: datetime | None = None  # the first decision
    appealed_at: datetime | None = None
    appeal_due: date | None = None
    appeal_decided_at: datetime | None = None
    waitlisted_at: datetime | None = None
    admitted_at: datetime | None = None
    capacity_due: date | None = None
    identified_at: datetime | None = None
    withdrawn_at: datetime | None = None
    identity: str = ""  # match | mismatch | unavailable
    checks: int = 0  # answers of the identity registry
    checked_at: datetime | None = None
    corrections: int = 0


def under_appeal(current: Application) -> bool:
    """Return whether an appeal against the rejection waits for a decision."""
    return current.appealed_at is not None and current.appeal_decided_at is None


def evolve_screening(current: Application, event: Event, at: datetime) -> Application:
    """Return the application after an event of screening about it."""
    match event:
        case CaseOpened(due=due):
            return replace(current, case_due=due, case_opened_at=at)
        case CaseDecided(outcome=outcome, reasons=reasons) if not current.outcome:
            return replace(current, outcome=outcome, reasons=reasons, decided_at=at)
        case CaseAppealed(due=due):
            return replace(current, appealed_at=at, appeal_due=due)
        case CaseAppealDecided(outcome=outcome, reasons=reasons):
            return replace(current, outcome=outcome, reasons=reasons, appeal_decided_at=at)
        case CapacityRequested(due=due):
            return replace(current, capacity_due=due)
        case CapacityIdentified():
            return replace(current, identified_at=at)
    return current
