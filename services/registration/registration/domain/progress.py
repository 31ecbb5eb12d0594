"""How far an application has come, and how the events of screening move it on."""

from datetime import date, datetime

import msgspec
from msgspec.structs import replace

from contracts.envelope import Envelope
from contracts.events import (
    CapacityIdentified,
    CapacityRequested,
    CaseAppealDecided,
    CaseAppealed,
    CaseClaimed,
    CaseDecided,
    CaseInfoLapsed,
    CaseInfoRequested,
    CaseInfoSupplied,
    CaseOpened,
    CaseReleased,
)


class Application(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The current application and when it changed."""

    profile: dict[str, str] = {}  # by event field, see `application.PROFILE`
    intake_channel: str = ""
    registered_at: datetime | None = None
    case_due: date | None = None
    case_opened_at: datetime | None = None
    claimed_by: str = ""  # the officer who works on the case, as in the envelope's actor
    claimed_until: datetime | None = None
    info_requests: int = 0  # how often screening asked for papers
    info_items: tuple[str, ...] = ()  # the papers that screening asked for last
    info_requested_at: datetime | None = None
    info_due: date | None = None  # the last day to bring them
    info_supplied_at: datetime | None = None
    info_lapsed: bool = False
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


def awaits_info(current: Application) -> bool:
    """Return whether it is the applicant's turn to bring papers."""
    asked = current.info_requested_at is not None and not current.outcome
    return asked and current.info_supplied_at is None and not current.info_lapsed


def under_appeal(current: Application) -> bool:
    """Return whether an appeal against the rejection waits for a decision."""
    return current.appealed_at is not None and current.appeal_decided_at is None


def is_assigned(current: Application, officer: str, at: datetime) -> bool:
    """Return whether a screener with this pseudonymous id has a reason to call: they have claimed the open case.

    Appeals and capacities are not claimed; any screener of the province may call. No one calls who has withdrawn.
    """
    if current.withdrawn_at:
        return False
    if under_appeal(current) or (current.capacity_due and not current.identified_at):
        return True
    claimed = current.claimed_until is not None and current.claimed_until > at
    return not current.outcome and claimed and current.claimed_by.partition(":")[2] == officer


def rejected_before(current: Application, at: datetime) -> bool:
    """Return whether the application was rejected by then and the rejection stands, or is under appeal."""
    return current.outcome == "rejected" and current.decided_at is not None and current.decided_at <= at


def evolve_screening(current: Application, envelope: Envelope) -> Application:
    """Return the application after an event of screening about it."""
    at = envelope.time
    match envelope.event:
        case CaseOpened(due=due):
            return replace(current, case_due=due, case_opened_at=at)
        case CaseClaimed(until=until):
            return replace(current, claimed_by=envelope.actor, claimed_until=until)
        case CaseReleased():
            return replace(current, claimed_by="", claimed_until=None)
        case CaseInfoRequested(items=items, due=due, case_due=case_due):
            asked = replace(current, info_items=items, info_requested_at=at, info_due=due, case_due=case_due)
            asked = replace(asked, info_requests=current.info_requests + 1, info_supplied_at=None, info_lapsed=False)
            return replace(asked, claimed_by="", claimed_until=None)
        case CaseInfoSupplied(case_due=case_due):
            return replace(current, info_supplied_at=at, case_due=case_due)
        case CaseInfoLapsed():
            return replace(current, info_lapsed=True)
        case CaseDecided(outcome=outcome, reasons=reasons) if not current.outcome:
            decided = replace(current, outcome=outcome, reasons=reasons, decided_at=at)
            return replace(decided, claimed_by="", claimed_until=None)
        case CaseAppealed(due=due):
            return replace(current, appealed_at=at, appeal_due=due)
        case CaseAppealDecided(outcome=outcome, reasons=reasons):
            return replace(current, outcome=outcome, reasons=reasons, appeal_decided_at=at)
        case CapacityRequested(due=due):
            return replace(current, capacity_due=due)
        case CapacityIdentified():
            return replace(current, identified_at=at)
    return current
