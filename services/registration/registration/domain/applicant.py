"""An applicant: one person in one round, who registers, may withdraw and return, and holds or awaits a seat."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any, Literal, get_args

import msgspec
from msgspec.structs import replace

from contracts.codes import ERASURE_REASONS, WITHDRAWAL_REASONS
from contracts.commands import EventWithContext, Refused
from contracts.envelope import Context, Envelope
from contracts.events import (
    ApplicantAdmitted,
    ApplicantCodeReissued,
    ApplicantErased,
    ApplicantEvent,
    ApplicantIdentityChecked,
    ApplicantReactivated,
    ApplicantRegistered,
    ApplicantSeatReleased,
    ApplicantUpdated,
    ApplicantWaitlisted,
    ApplicantWithdrawn,
    Event,
)
from contracts.subjects import ledger_subject
from registration.domain.application import PROFILE
from registration.domain.identity import FINAL, Correct, check_due, corrected, taken_back
from registration.domain.notifications import Notification, added, numbered, occasion_of
from registration.domain.progress import Application, awaits_info, evolve_screening, rejected_before, under_appeal

VERSION = 3  # 2: appeals; 3: notifications, claims and requests for papers, which older code would drop
COUNTED = 1  # raised when `counted` changes
MAX_APPLICATIONS = 1_000  # of one applicant in a round, as in the contract
CODES_A_DAY = 3  # tracking codes of one applicant, with those of applications: a limit that never ends would close out
PRIORITY = 0  # the only priority class in this release; the published order is class, registered_at, applicant id
Status = Literal[
    "registered",
    "screening",
    "info_requested",
    "approved",
    "rejected",
    "appealed",
    "waitlisted",
    "admitted",
    "capacity_identified",
    "withdrawn",
    "erased",
]
STATUSES: tuple[str, ...] = get_args(Status)


class Seat(msgspec.Struct, frozen=True):
    """A seat that the applicant holds: of which ledger, and for which of their applications."""

    ledger: str
    application: int


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of an applicant; `application` counts their applications in the round and is 0 before the first."""

    context: Context = Context()
    application: int = 0
    current: Application = Application()
    seat: Seat | None = None  # may belong to an earlier application until the allocator releases it
    codes: int = 0  # tracking codes that were issued; the last one is valid
    issued: tuple[datetime, ...] = ()  # when the last of them were, CODES_A_DAY at most
    erased_at: datetime | None = None
    notifications: tuple[Notification, ...] = ()  # which are not settled
    unidentified: bool = False  # after a restore: the identity, its key or the last correction is in no archive


class Register(msgspec.Struct, frozen=True, kw_only=True):
    """Register an application, the first or one after a withdrawal."""

    context: Context
    profile: Mapping[str, str]  # by event field
    intake_channel: str


class ReissueCode(msgspec.Struct, frozen=True):
    """Replace the applicant's tracking code, which is lost."""


class Withdraw(msgspec.Struct, frozen=True):
    """Withdraw from the round."""

    reason: str
    application: int = 0  # which the signed form is about; 0: the present one


class Erase(msgspec.Struct, frozen=True):
    """Erase what is known of the applicant, whatever their status."""

    reason: str


class RecordIdentityCheck(msgspec.Struct, frozen=True):
    """Record the answer of the identity registry about an application: match, mismatch or unavailable."""

    application: int
    result: str
    corrections: int = 0  # of the application when the registry was queried: what was corrected since is not answered


class Admit(msgspec.Struct, frozen=True):
    """Give the applicant a seat. Sent by the allocator."""


class Waitlist(msgspec.Struct, frozen=True):
    """Put the applicant on the waiting list. Sent by the allocator."""


class ReleaseSeat(msgspec.Struct, frozen=True):
    """Release a seat that is no longer wanted. Sent by the allocator."""


Command = Register | ReissueCode | Withdraw | Correct | Erase | RecordIdentityCheck | Admit | Waitlist | ReleaseSeat


def decide(state: State, command: Command, at: datetime) -> Sequence[Event | EventWithContext]:
    """Raise Refused: already_registered, not_registered, already_withdrawn, erased, reason_unknown, record_full,
    codes_of_the_day, changed_meanwhile; and of `corrected`.

    A command of the allocator or an identity check that no longer applies emits nothing.
    """
    match command:
        case Register():
            return [_register(state, command, at)]
        case ReissueCode():
            return [_reissue_code(state, at)]
        case Withdraw(reason=reason, application=application):
            return [_withdraw(state, reason, application)]
        case Correct():
            return [_correct(state, command)]
        case Erase(reason=reason):
            return _erase(state, reason)
        case _ if not state.application:
            return ()
        case RecordIdentityCheck() if _awaits(state, command):
            return [ApplicantIdentityChecked(application=state.application, result=command.result)]
        case Admit() if seating(state) in ("awaiting", "waiting"):
            return [ApplicantAdmitted(application=state.application, promoted=state.current.waitlisted_at is not None)]
        case Waitlist() if seating(state) == "awaiting":
            return [ApplicantWaitlisted(application=state.application)]
        case ReleaseSeat() if seating(state) == "releasing" and state.seat:
            return [ApplicantSeatReleased(application=state.seat.application, reason="withdrawn")]
    return ()


def react(state: State, consumed: Envelope, at: datetime) -> Sequence[Event | EventWithContext]:
    """Take back a correction of the job field that overtook the decision; the allocator gives seats."""
    return () if has_left(state) else taken_back(consumed, state.application, state.context, state.current.profile)


def evolve(state: State, envelope: Envelope) -> State:
    """Return the state after an event; events about an earlier application are ignored.

    What is erased stays erased: only the release of the seat still changes anything.
    """
    after = _evolve(state, envelope)
    if after is state or after.erased_at or not (occasion := occasion_of(envelope.event)):
        return after
    number = numbered(occasion, after.codes, after.current)
    notifications = added(state.notifications, occasion, after.application, number, envelope.time)
    return replace(after, notifications=notifications)


def _evolve(state: State, envelope: Envelope) -> State:
    event, at = envelope.event, envelope.time
    if state.erased_at and not isinstance(event, ApplicantSeatReleased):
        return state
    match event:
        case ApplicantErased():
            return _emptied(replace(state, erased_at=at))
        case ApplicantRegistered() | ApplicantReactivated():
            profile = {name: getattr(event, name) for name in PROFILE}
            current = Application(profile=profile, intake_channel=event.intake_channel, registered_at=at)
            state = replace(state, context=envelope.context, application=event.application, current=current)
            state = replace(state, unidentified=False)  # each application comes with the identity
            return _with_code(state, at)
        case ApplicantCodeReissued():
            return _with_code(state, at)
        case ApplicantSeatReleased():
            released = replace(state, seat=None)
            return _emptied(released) if state.erased_at else released
        case ApplicantEvent() if event.application == state.application:
            return _evolve_current(state, event, envelope)
    return state


def indexed(state: State) -> Mapping[str, Any]:
    """Return scope, status, position in the published order, and when the identity check is due."""
    if not state.application:
        return {}
    where = state.context
    fields: dict[str, Any] = {
        "province": where.province,
        "scope": f"{where.province}/{where.county}" if where.county else where.province,
        "round": where.round,
        "status": status(state),
        "priority": PRIORITY,
        "registered_at": state.current.registered_at or state.erased_at,  # in which order seats are released
    }
    if seating_now := seating(state):
        releasing = state.seat if seating_now == "releasing" else None
        fields["seating"] = seating_now
        fields["ledger"] = releasing.ledger if releasing else ledger_subject(where.round, where.province)
    if state.unidentified:
        fields["unidentified"] = f"{where.round}/{where.province}/{where.county}"
    if check_due := _check_due(state):
        fields["check_due"] = check_due
    if state.notifications:
        fields["notify_due"] = min(each.due for each in state.notifications)
    return fields


def counted(indexed: Mapping[str, Any]) -> Collection[tuple[str, str]]:
    """Count who waits for a seat by province, and in the published order by day and by ten minutes of a day."""
    if indexed.get("seating") != "waiting":
        return ()
    ledger, day, minutes = published_place(indexed)
    waiting = f"waiting/{indexed['round']}"
    return {(waiting, indexed["province"]), (f"waiting/{ledger}", day), (f"waiting/{ledger}/{day}", minutes)}


def published_place(indexed: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the ledger of an applicant, and day and ten minutes of their place in the published order.

    Those who come first have smaller ones.
    """
    at = indexed["registered_at"].astimezone(UTC)
    return indexed["ledger"], f"{indexed['priority']:03}-{at:%Y%m%d}", f"{at:%H%M}"[:3]


def context(state: State) -> Context:
    """Return the context of the applicant's events."""
    return state.context


def seating(state: State) -> str:
    """Return what the allocator has to do: `awaiting` a seat, `waiting` on the list, `releasing` a seat, or ``.

    Who is not identified gets no seat, but keeps one and may give it back.
    """
    if state.seat and (has_left(state) or state.seat.application != state.application):
        return "releasing"  # a new application waits until the seat of the earlier one is given back
    if state.seat or state.unidentified or state.current.withdrawn_at or state.current.outcome != "approved":
        return ""
    return "waiting" if state.current.waitlisted_at else "awaiting"


def identity_version(state: State) -> tuple[int, int]:
    """Return what grows whenever the identity may have changed: application, and corrections of it."""
    return state.application, state.current.corrections


def has_left(state: State) -> bool:
    """Return whether the applicant has withdrawn or was erased."""
    return state.erased_at is not None or state.current.withdrawn_at is not None


def may_register_again(state: State) -> bool:
    """Return whether an applicant who has withdrawn may return: it would undo a rejection, but not an approval."""
    withdrawn_at = state.current.withdrawn_at
    return withdrawn_at is not None and state.erased_at is None and not rejected_before(state.current, withdrawn_at)


def status(state: State) -> str:
    """Return the status of the current application, one of STATUSES."""
    current = state.current
    if state.erased_at:
        return "erased"
    if current.withdrawn_at:
        return "withdrawn"
    if current.identified_at:
        return "capacity_identified"
    if current.admitted_at:
        return "admitted"
    if current.waitlisted_at:
        return "waitlisted"
    if under_appeal(current):
        return "appealed"
    if awaits_info(current):
        return "info_requested"
    return current.outcome or ("screening" if current.case_opened_at else "registered")


def _awaits(state: State, check: RecordIdentityCheck) -> bool:
    """Return whether the answer is about the identity as it is now, and none has been final."""
    same = (check.application, check.corrections) == (state.application, state.current.corrections)
    return same and not has_left(state) and state.current.identity not in FINAL


def _with_code(state: State, at: datetime) -> State:
    return replace(state, codes=state.codes + 1, issued=(*state.issued, at)[-CODES_A_DAY:])


def _check_codes_of_the_day(state: State, at: datetime) -> None:
    """Raise Refused: codes_of_the_day, with the seconds until the next one may be issued."""
    if len(state.issued) == CODES_A_DAY and (rest := state.issued[0] + timedelta(days=1) - at) > timedelta():
        raise Refused("codes_of_the_day", limit=CODES_A_DAY, seconds=ceil(rest.total_seconds()))


def _register(state: State, command: Register, at: datetime) -> EventWithContext:
    if state.application and not may_register_again(state):
        raise Refused("already_registered", field="national_id")
    if state.application >= MAX_APPLICATIONS:
        raise Refused("record_full", limit=MAX_APPLICATIONS)
    _check_codes_of_the_day(state, at)
    kind = ApplicantReactivated if state.application else ApplicantRegistered
    event = kind(application=state.application + 1, intake_channel=command.intake_channel, **command.profile)
    return EventWithContext(event, command.context)


def _reissue_code(state: State, at: datetime) -> Event:
    _check_is_known(state)
    _check_codes_of_the_day(state, at)
    return ApplicantCodeReissued(application=state.application)


def _check_is_known(state: State) -> None:
    if not state.application:
        raise Refused("not_registered")
    if state.erased_at:
        raise Refused("erased")


def _check_takes_part(state: State, application: int = 0) -> None:
    _check_is_known(state)
    if state.current.withdrawn_at:
        raise Refused("already_withdrawn")
    if application not in (0, state.application):
        raise Refused("changed_meanwhile")


def _withdraw(state: State, reason: str, application: int) -> Event:
    if reason not in WITHDRAWAL_REASONS:
        raise Refused("reason_unknown", field="reason")
    _check_takes_part(state, application)
    return ApplicantWithdrawn(application=state.application, reason=reason)


def _correct(state: State, command: Correct) -> EventWithContext:
    _check_takes_part(state)
    now, application = state.current, state.application
    event = corrected(command, application, state.context, now.profile, now.corrections, now.outcome)
    return EventWithContext(event, command.context)


def _erase(state: State, reason: str) -> Sequence[Event]:
    """Withdraw an applicant who takes part, which is what consumers count, and erase them; once."""
    if not state.application:
        raise Refused("not_registered")
    if reason not in ERASURE_REASONS:
        raise Refused("reason_unknown", field="reason")
    if state.erased_at:
        return ()
    erased = ApplicantErased(application=state.application, reason=reason)
    if state.current.withdrawn_at or state.current.outcome == "rejected":
        return [erased]
    return [ApplicantWithdrawn(application=state.application, reason="erased"), erased]


def _emptied(state: State) -> State:
    """Keep what the seat and the count of a province need; the context of the event that releases a seat is whole."""
    where = state.context if state.seat else state.context.of_province()
    return State(context=where, application=state.application, seat=state.seat, erased_at=state.erased_at)


def _evolve_current(state: State, event: ApplicantEvent, envelope: Envelope) -> State:
    current, at = state.current, envelope.time
    match event:
        case ApplicantIdentityChecked(result=result):
            current = replace(current, identity=result, checks=current.checks + 1, checked_at=at)
        case ApplicantUpdated():
            state = replace(state, context=envelope.context)
            profile = {name: getattr(event, name) for name in PROFILE}
            current = replace(current, profile=profile, corrections=current.corrections + 1)
            if event.identity_changed:
                current = replace(current, identity="", checks=0, checked_at=None)
        case ApplicantWithdrawn():
            current = replace(current, withdrawn_at=at)
        case ApplicantWaitlisted():
            current = replace(current, waitlisted_at=at)
        case ApplicantAdmitted():
            seat = Seat(ledger_subject(state.context.round, state.context.province), event.application)
            return replace(state, seat=seat, current=replace(current, admitted_at=at))
        case _:
            current = evolve_screening(current, envelope)
    return replace(state, current=current)


def _check_due(state: State) -> datetime | None:
    current = state.current
    over = current.withdrawn_at or state.unidentified or current.identity in FINAL
    return None if over else check_due(current.registered_at, current.checks, current.checked_at)
