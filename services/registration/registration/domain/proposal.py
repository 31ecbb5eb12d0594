"""A proposal to change quotas: one person makes it, and it takes effect when a second person signs exactly that.

The signature and the quotas change in one transaction, see `registration.quota_changes`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec.structs import replace

from contracts.codes import PROPOSAL_ACTIONS, PROPOSAL_REASONS, PROPOSAL_REFUSALS
from contracts.commands import EventWithContext, Refused, Tick
from contracts.envelope import Context, Envelope
from contracts.events import (
    Event,
    ProposalDeclined,
    ProposalExpired,
    ProposalMade,
    ProposalSigned,
    ProposalWithdrawn,
)
from registration.domain.ledger import QUOTA_LIMIT

VERSION = 1
CONTROL_DIGITS = 9
OPEN, SIGNED, DECLINED, WITHDRAWN, EXPIRED = "open", "signed", "declined", "withdrawn", "expired"


class Change(msgspec.Struct, frozen=True):
    """The quota of one province, before and after."""

    province: str
    before: int
    after: int


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """A proposal; `status` is empty until it is made."""

    round: str = ""
    policy: str = ""
    action: str = ""
    reason: str = ""
    changes: tuple[Change, ...] = ()
    proposer: str = ""  # actor: role and pseudonym
    made: datetime | None = None
    expires: datetime | None = None
    status: str = ""
    closed: datetime | None = None
    closed_by: str = ""
    refusal: str = ""


class Make(msgspec.Struct, frozen=True, kw_only=True):
    """Make a proposal."""

    round: str
    policy: str
    action: str
    reason: str
    changes: tuple[Change, ...]
    expires: datetime


class Sign(msgspec.Struct, frozen=True):
    """Sign what has this control number."""

    by: str
    control: str


class Decline(msgspec.Struct, frozen=True):
    """Do not sign, for a reason; this closes the proposal."""

    by: str
    reason: str


class Withdraw(msgspec.Struct, frozen=True):
    """Withdraw one's own proposal."""

    by: str


Command = Make | Sign | Decline | Withdraw | Tick


def decide(state: State, command: Command, at: datetime) -> Sequence[Event | EventWithContext]:
    """Raise Refused.

    Of a new one: quota_invalid, proposal_empty, code_unknown. Of an existing one:
    proposal_closed, proposal_own, proposal_of_another, control_differs, code_unknown.
    """
    match command:
        case Make():
            return _made(command)
        case Tick(now=now):
            return [ProposalExpired()] if state.status == OPEN and state.expires and now >= state.expires else []
    if state.status != OPEN or (state.expires and at >= state.expires):
        raise Refused("proposal_closed")
    own = person_of(command.by) == person_of(state.proposer)
    match command:
        case Withdraw():
            if not own:
                raise Refused("proposal_of_another")
            return [ProposalWithdrawn()]
        case Decline(reason=reason):
            if own:
                raise Refused("proposal_own")
            if reason not in PROPOSAL_REFUSALS:
                raise Refused("code_unknown", field="reason")
            return [ProposalDeclined(reason=reason)]
        case Sign(control=control):
            if own:
                raise Refused("proposal_own")
            if control != control_number(state):
                raise Refused("control_differs", field="control")
            return [ProposalSigned()]


def react(state: State, consumed: Envelope, at: datetime) -> Sequence[Event]:
    """Emit nothing: no other service has events about proposals."""
    return ()


def evolve(state: State, envelope: Envelope) -> State:
    """Return the state after an event."""
    match envelope.event:
        case ProposalMade() as event:
            return State(
                round=envelope.context.round,
                policy=envelope.context.policy,
                action=event.action,
                reason=event.reason,
                changes=tuple(map(Change, event.provinces, event.before, event.after)),
                proposer=envelope.actor,
                made=envelope.time,
                expires=event.expires,
                status=OPEN,
            )
        case ProposalSigned():
            return _closed(state, SIGNED, envelope)
        case ProposalWithdrawn():
            return _closed(state, WITHDRAWN, envelope)
        case ProposalExpired():
            return _closed(state, EXPIRED, envelope)
        case ProposalDeclined(reason=reason):
            return replace(_closed(state, DECLINED, envelope), refusal=reason)
    return state


def indexed(state: State) -> Mapping[str, Any]:
    """Return the round and, while it is open, when it expires."""
    return {"round": state.round, "due": state.expires if state.status == OPEN else None}


def context(state: State) -> Context:
    """Return the context of the proposal's events."""
    return Context(round=state.round, policy=state.policy)


def person_of(actor: str) -> str:
    """Return the pseudonym in `role:pseudonym`: who has two roles is one person."""
    return actor.partition(":")[2]


def control_number(state: State) -> str:
    """Return digits that people compare and dictate, `841207336`: of a digest of exactly what takes effect.

    It covers the quotas before and after, why, by whom and when; no event could hold it, as it could be a hash.
    """
    content = (state.round, state.policy, state.action, state.reason, state.changes)
    times = [each.astimezone(UTC) for each in (state.made, state.expires) if each]  # a store returns them in UTC
    signed = msgspec.json.encode((*content, state.proposer, *times))
    return str(int(blake2b(signed, digest_size=16).hexdigest(), 16) % 10**CONTROL_DIGITS).zfill(CONTROL_DIGITS)


def _made(command: Make) -> Sequence[EventWithContext]:
    for name, value, known in (
        ("action", command.action, PROPOSAL_ACTIONS),
        ("reason", command.reason, PROPOSAL_REASONS),
    ):
        if value not in known:
            raise Refused("code_unknown", field=name)
    if any(not 0 <= each.after <= QUOTA_LIMIT for each in command.changes):
        raise Refused("quota_invalid", field="quota", limit=QUOTA_LIMIT)
    changes = [each for each in command.changes if each.before != each.after]
    if not changes:
        raise Refused("proposal_empty", field="quota")
    made = ProposalMade(
        action=command.action,
        reason=command.reason,
        provinces=tuple(each.province for each in changes),
        before=tuple(each.before for each in changes),
        after=tuple(each.after for each in changes),
        expires=command.expires,
    )
    return [EventWithContext(made, Context(round=command.round, policy=command.policy))]


def _closed(state: State, status: str, envelope: Envelope) -> State:
    return replace(state, status=status, closed=envelope.time, closed_by=envelope.actor)
