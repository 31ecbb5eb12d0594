"""An applicant: one person in one round, who registers, may leave and come back, and has a seat or waits for one."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from contracts.codes import WITHDRAWAL_REASONS
from contracts.commands import EventWithContext, Refused
from contracts.envelope import Context, Envelope
from contracts.events import (
    ApplicantAdmitted,
    ApplicantEvent,
    ApplicantIdentityChecked,
    ApplicantReactivated,
    ApplicantRegistered,
    ApplicantSeatReleased,
    ApplicantWaitlisted,
    ApplicantWithdrawn,
    CapacityIdentified,
    CapacityRequested,
    CaseDecided,
    CaseOpened,
    Event,
)
from contracts.subjects import ledger_subject

VERSION = 1
PRIORITY = 0  # the class of everybody in this release; the published order is class, registered_at, applicant id
CHECK_AGAIN = (timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=3), timedelta(days=7))
STATUSES = (
    "registered",
    "screening",
    "approved",
    "rejected",
    "waitlisted",
    "admitted",
    "capacity_identified",
    "withdrawn",
)


class Seat(msgspec.Struct, frozen=True):
    """A seat in hand: of which ledger, and for which of the person's applications."""

    ledger: str
    application: int


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """The present application and the days on which it moved."""

    sex: str = ""
    age_band: str = ""
    work_mode: str = ""
    intake_channel: str = ""
    registered_at: datetime | None = None
    case_due: date | None = None
    case_opened_at: datetime | None = None
    outcome: str = ""  # approved | rejected
    reasons: tuple[str, ...] = ()
    decided_at: datetime | None = None
    waitlisted_at: datetime | None = None
    admitted_at: datetime | None = None
    capacity_due: date | None = None
    identified_at: datetime | None = None
    withdrawn_at: datetime | None = None
    identity: str = ""  # match | mismatch | unavailable
    checks: int = 0
    checked_at: datetime | None = None


class State(msgspec.Struct, frozen=True):
    """What is known of an applicant; `application` counts their applications in the round and is 0 before the first."""

    place: Context = Context()
    application: int = 0
    now: Application = Application()
    seat: Seat | None = None  # may be of an earlier application until the allocator has taken it back


class Register(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody applies, for the first time or after a withdrawal."""

    place: Context
    sex: str
    age_band: str
    work_mode: str
    intake_channel: str


class Withdraw(msgspec.Struct, frozen=True):
    """The applicant leaves the round."""

    reason: str


class IdentityChecked(msgspec.Struct, frozen=True):
    """The identity registry answered about this application: match, mismatch or unavailable."""

    application: int
    result: str


class Admit(msgspec.Struct, frozen=True):
    """The allocator gives a seat."""


class Waitlist(msgspec.Struct, frozen=True):
    """The allocator has no seat."""


class ReleaseSeat(msgspec.Struct, frozen=True):
    """The allocator takes back a seat that is no longer wanted."""


Command = Register | Withdraw | IdentityChecked | Admit | Waitlist | ReleaseSeat


def decide(state: State, command: Command, at: datetime) -> Sequence[Event | EventWithContext]:
    """Raises Refused: already_registered, not_registered, already_withdrawn, already_decided, reason_unknown.

    What the allocator and the registry say meanwhile too late says nothing.
    """
    match command:
        case Register():
            return [_registered(state, command)]
        case Withdraw(reason=reason):
            return [_withdrawn(state, reason)]
        case IdentityChecked(application=application, result=result):
            if application != state.application or state.now.withdrawn_at or state.now.identity in _FINAL:
                return ()
            return [ApplicantIdentityChecked(application=application, result=result)]
        case Admit() if seating(state) in ("awaiting", "waiting"):
            return [ApplicantAdmitted(application=state.application, promoted=state.now.waitlisted_at is not None)]
        case Waitlist() if seating(state) == "awaiting":
            return [ApplicantWaitlisted(application=state.application)]
        case ReleaseSeat() if seating(state) == "releasing" and state.seat:
            return [ApplicantSeatReleased(application=state.seat.application, reason="withdrawn")]
    return ()


def react(state: State, heard: Envelope, at: datetime) -> Sequence[Event]:
    """An approval only marks that a seat is awaited: seats are given by the allocator."""
    return ()


def evolve(state: State, envelope: Envelope) -> State:
    """The state after one event; what was said about an earlier application no longer counts."""
    event, at = envelope.event, envelope.time
    match event:
        case ApplicantRegistered() | ApplicantReactivated():
            now = Application(
                sex=event.sex,
                age_band=event.age_band,
                work_mode=event.work_mode,
                intake_channel=event.intake_channel,
                registered_at=at,
            )
            return replace(state, place=envelope.context, application=event.application, now=now)
        case ApplicantSeatReleased():
            return replace(state, seat=None)
        case ApplicantEvent() if event.application == state.application:
            return _moved(state, event, at)
    return state


def indexed(state: State) -> Mapping[str, Any]:
    """Scope, status, the queue for seats in the published order, and when the identity is to be checked."""
    if not state.application:
        return {}
    place = state.place
    found: dict[str, Any] = {
        "scope": f"{place.province}/{place.county}",
        "round": place.round,
        "status": status(state),
        "priority": PRIORITY,
        "registered_at": state.now.registered_at,
    }
    if waits := seating(state):
        releasing = state.seat if waits == "releasing" else None
        found["seating"] = waits
        found["ledger"] = releasing.ledger if releasing else ledger_subject(place.round, place.province)
    if check_due := _check_due(state):
        found["check_due"] = check_due
    return found


def context(state: State) -> Context:
    """Where the applicant stands."""
    return state.place


def seating(state: State) -> str:
    """awaiting a first answer, waiting on the list, releasing a seat, or nothing that concerns the allocator."""
    if state.seat and (state.now.withdrawn_at or state.seat.application != state.application):
        return "releasing"  # a new application waits until the seat of the earlier one is given back
    if state.seat or state.now.withdrawn_at or state.now.outcome != "approved":
        return ""
    return "waiting" if state.now.waitlisted_at else "awaiting"


def status(state: State) -> str:
    """One of STATUSES."""
    now = state.now
    if now.withdrawn_at:
        return "withdrawn"
    if now.identified_at:
        return "capacity_identified"
    if now.admitted_at:
        return "admitted"
    if now.waitlisted_at:
        return "waitlisted"
    return now.outcome or ("screening" if now.case_opened_at else "registered")


_FINAL = frozenset({"match", "mismatch"})


def _registered(state: State, command: Register) -> EventWithContext:
    if state.application and not state.now.withdrawn_at:
        raise Refused("already_registered", field="national_id")
    kind = ApplicantReactivated if state.application else ApplicantRegistered
    event = kind(
        application=state.application + 1,
        sex=command.sex,
        age_band=command.age_band,
        work_mode=command.work_mode,
        intake_channel=command.intake_channel,
    )
    return EventWithContext(event, command.place)


def _withdrawn(state: State, reason: str) -> Event:
    if not state.application:
        raise Refused("not_registered")
    if reason not in WITHDRAWAL_REASONS:
        raise Refused("reason_unknown", field="reason")
    if state.now.withdrawn_at:
        raise Refused("already_withdrawn")
    if state.now.outcome == "rejected":  # else a refusal would be undone by leaving and coming back
        raise Refused("already_decided")
    return ApplicantWithdrawn(application=state.application, reason=reason)


def _moved(state: State, event: ApplicantEvent, at: datetime) -> State:
    now = state.now
    match event:
        case ApplicantIdentityChecked(result=result):
            now = replace(now, identity=result, checks=now.checks + 1, checked_at=at)
        case ApplicantWithdrawn():
            now = replace(now, withdrawn_at=at)
        case ApplicantWaitlisted():
            now = replace(now, waitlisted_at=at)
        case ApplicantAdmitted():
            seat = Seat(ledger_subject(state.place.round, state.place.province), event.application)
            return replace(state, seat=seat, now=replace(now, admitted_at=at))
        case CaseOpened(due=due):
            now = replace(now, case_due=due, case_opened_at=at)
        case CaseDecided(outcome=outcome, reasons=reasons) if not now.outcome:
            now = replace(now, outcome=outcome, reasons=reasons, decided_at=at)
        case CapacityRequested(due=due):
            now = replace(now, capacity_due=due)
        case CapacityIdentified():
            now = replace(now, identified_at=at)
    return replace(state, now=now)


def _check_due(state: State) -> datetime | None:
    """At once, and again with growing pauses while the registry is away; at last a person looks."""
    now = state.now
    if now.withdrawn_at or now.identity in _FINAL or now.checks > len(CHECK_AGAIN):
        return None
    return now.registered_at if now.checked_at is None else now.checked_at + CHECK_AGAIN[now.checks - 1]
