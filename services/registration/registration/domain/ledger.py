"""The seats of one province in one round: quota = available + held + admitted, all of them at least 0.

The state is a fold of the ledger's own `quota.set` and `quota.moved`, and of registration's events about the seats of
the province's applicants. The allocator folds the latter into the ledger in the transaction that emits them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from contracts.codes import Label
from contracts.commands import EventWithContext, Refused
from contracts.envelope import Context, Envelope
from contracts.events import ApplicantAdmitted, ApplicantSeatReleased, ApplicantWaitlisted, Event, QuotaMoved, QuotaSet
from programme import reference

VERSION = 1
QUOTA_LIMIT = 1_000_000
HELD = 0  # seats offered and not accepted yet; this release has no offers with a deadline


class State(msgspec.Struct, frozen=True):
    """Seats of one province; `round` is empty before the first event."""

    round: str = ""
    province: str = ""
    policy: str = ""
    quota: int = 0
    admitted: int = 0


class SetQuota(msgspec.Struct, frozen=True, kw_only=True):
    """Set the quota, as two persons agreed on while it was `previous`; with a counterpart, seats move there or back."""

    round: str
    province: str
    policy: str
    quota: int
    previous: int
    counterpart: str = ""  # province
    proposal: str = ""


def decide(state: State, command: SetQuota, at: datetime) -> Sequence[Event | EventWithContext]:
    """Raise Refused: quota_invalid, quota_changed, quota_below_admitted."""
    if not 0 <= command.quota <= QUOTA_LIMIT:
        raise Refused("quota_invalid", field="quota", limit=QUOTA_LIMIT)
    name = reference.province(command.province)
    label = Label(name.name_fa, name.name_en)
    if command.previous != state.quota:
        raise Refused("quota_changed", field="quota", previous=command.previous, now=state.quota, province=label)
    if command.quota < state.admitted + HELD:
        raise Refused("quota_below_admitted", field="quota", admitted=state.admitted + HELD, province=label)
    if state.round and command.quota == state.quota:
        return ()
    context = Context(round=command.round, province=command.province, policy=command.policy)
    figures = {"quota": command.quota, "previous": state.quota}
    event: Event = (
        QuotaMoved(**figures, counterpart=command.counterpart, proposal=command.proposal)
        if command.counterpart
        else QuotaSet(**figures, proposal=command.proposal)
    )
    return [EventWithContext(event, context)]


def react(state: State, consumed: Envelope, at: datetime) -> Sequence[Event]:
    """Emit nothing: no other service has events about ledgers."""
    return ()


def evolve(state: State, envelope: Envelope) -> State:
    """Return the state after an event of the ledger, or one about the seat of an applicant of this province."""
    match envelope.event:
        case QuotaSet(quota=quota) | QuotaMoved(quota=quota):
            return replace(_located(state, envelope), quota=quota)
        case ApplicantAdmitted():
            return replace(_located(state, envelope), admitted=state.admitted + 1)
        case ApplicantSeatReleased():
            return replace(state, admitted=state.admitted - 1)
        case ApplicantWaitlisted():
            return _located(state, envelope)
    return state


def indexed(state: State) -> Mapping[str, Any]:
    """Return what the allocator and the list of seats query."""
    return {
        "scope": state.province,
        "round": state.round,
        "quota": state.quota,
        "admitted": state.admitted,
        "available": available(state),
    }


def context(state: State) -> Context:
    """Return the context of the ledger's events."""
    return Context(round=state.round, province=state.province, policy=state.policy)


def available(state: State) -> int:
    """Return how many seats are free."""
    return state.quota - HELD - state.admitted


def seats_for(people: int, free: int, waiting: int) -> tuple[int, int]:
    """Return how many of these people would get a seat, and how many would wait, if all were approved today.

    Those who wait already come first.
    """
    seats = min(people, max(0, free - waiting))
    return seats, people - seats


def _located(state: State, envelope: Envelope) -> State:
    """Take round and province from the first event, which is one about an applicant if no quota was set before."""
    if state.round:
        return state
    source = envelope.context
    return replace(state, round=source.round, province=source.province, policy=source.policy)
