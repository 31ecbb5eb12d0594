"""The seats of one province in one round: quota = available + held + admitted, never negative, never over.

The state is a fold of the ledger's own `quota.set` and of what registration says about the seats of the province's
applicants; the allocator hands it the latter in the transaction in which they are said.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from contracts.commands import EventWithContext, Refused
from contracts.envelope import Context, Envelope
from contracts.events import ApplicantAdmitted, ApplicantSeatReleased, ApplicantWaitlisted, Event, QuotaSet

VERSION = 1
QUOTA_LIMIT = 1_000_000
HELD = 0  # seats promised and not taken; a promise with a deadline comes later


class State(msgspec.Struct, frozen=True):
    """Seats of one province; `round` is empty until somebody says something about them."""

    round: str = ""
    province: str = ""
    policy: str = ""
    quota: int = 0
    admitted: int = 0


class SetQuota(msgspec.Struct, frozen=True, kw_only=True):
    """The quota that a province was notified of."""

    round: str
    province: str
    policy: str
    quota: int


def decide(state: State, command: SetQuota, at: datetime) -> Sequence[Event | EventWithContext]:
    """Raises Refused: quota_invalid, quota_below_admitted."""
    if not 0 <= command.quota <= QUOTA_LIMIT:
        raise Refused("quota_invalid", field="quota", limit=QUOTA_LIMIT)
    if command.quota < state.admitted + HELD:
        raise Refused("quota_below_admitted", field="quota", admitted=state.admitted + HELD)
    if state.round and command.quota == state.quota:
        return ()
    context = Context(round=command.round, province=command.province, policy=command.policy)
    return [EventWithContext(QuotaSet(quota=command.quota, previous=state.quota), context)]


def react(state: State, heard: Envelope, at: datetime) -> Sequence[Event]:
    """Nobody else speaks about seats."""
    return ()


def evolve(state: State, envelope: Envelope) -> State:
    """The state after one event: its own, or one about the seat of an applicant of this province."""
    match envelope.event:
        case QuotaSet(quota=quota):
            return replace(_placed(state, envelope), quota=quota)
        case ApplicantAdmitted():
            return replace(_placed(state, envelope), admitted=state.admitted + 1)
        case ApplicantSeatReleased():
            return replace(state, admitted=state.admitted - 1)
        case ApplicantWaitlisted():
            return _placed(state, envelope)
    return state


def indexed(state: State) -> Mapping[str, Any]:
    """The allocator looks for what is available."""
    return {
        "scope": state.province,
        "round": state.round,
        "quota": state.quota,
        "admitted": state.admitted,
        "available": available(state),
    }


def context(state: State) -> Context:
    """Where the seats stand."""
    return Context(round=state.round, province=state.province, policy=state.policy)


def available(state: State) -> int:
    """Seats that nobody holds."""
    return state.quota - HELD - state.admitted


def _placed(state: State, envelope: Envelope) -> State:
    """An event about an applicant may be the first that is said here: nobody has set a quota yet."""
    if state.round:
        return state
    said = envelope.context
    return replace(state, round=said.round, province=said.province, policy=said.policy)
