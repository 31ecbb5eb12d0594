"""A round: when it takes applications, for which job fields, and under which policy."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from contracts.commands import EventWithContext
from contracts.envelope import Context, Envelope
from contracts.events import Event, RoundOpened, RoundWindowSet
from programme.policies import policy
from reporting.domain.time_encoding import newest

VERSION = 1


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """The round as registration has set it; `windows` are those of single provinces, (opens, closes)."""

    round: str = ""
    policy: str = ""
    fields: tuple[str, ...] = ()
    opened: datetime | None = None  # when it was announced
    opens: datetime | None = None
    closes: datetime | None = None
    windows: dict[str, tuple[datetime, datetime]] = {}
    recorded: int = 0  # machine time of the newest event, in milliseconds


def decide(state: State, command: object, at: datetime) -> Sequence[Event | EventWithContext]:
    """Return no events: reporting takes no commands."""
    return ()


def react(state: State, envelope: Envelope, at: datetime) -> Sequence[Event | EventWithContext]:
    """Return no events: reporting emits none."""
    return ()


def evolve(state: State, envelope: Envelope) -> State:
    """Return the state after one more event."""
    known = msgspec.structs.replace(
        state, round=envelope.context.round or state.round, recorded=newest(state.recorded, envelope.recorded)
    )
    match envelope.event:
        case RoundOpened(fields=fields, opens=opens, closes=closes):
            policy(envelope.context.policy)  # raises here, where the event is parked, not in the figures
            return msgspec.structs.replace(
                known,
                policy=envelope.context.policy,
                fields=fields,
                opened=state.opened or envelope.time,
                opens=opens,
                closes=closes,
            )
        case RoundWindowSet(opens=opens, closes=closes):
            return msgspec.structs.replace(known, windows={**state.windows, envelope.context.province: (opens, closes)})
    return known


def indexed(state: State) -> Mapping[str, Any]:
    """Return the round and its opening."""
    return {"round": state.round, "opens": state.opens}


def context(state: State) -> Context:
    """Return the context of events about the round; reporting emits none."""
    return Context(round=state.round, policy=state.policy)
