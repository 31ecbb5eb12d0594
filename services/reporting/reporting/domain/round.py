"""A round: when it takes applications, for which job fields, and under which policy."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
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
    simulated_per_mille: int = 0  # size of a simulation; 0 for a real round
    simulated_whole: tuple[str, ...] = ()  # provinces that have their whole size in it
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
        case RoundOpened() as announced:
            policy(envelope.context.policy)  # raises here, where the event is parked, not in the figures
            return msgspec.structs.replace(
                known,
                policy=envelope.context.policy,
                fields=announced.fields,
                opened=state.opened or envelope.time,
                opens=announced.opens,
                closes=announced.closes,
                simulated_per_mille=announced.simulated_per_mille,
                simulated_whole=announced.simulated_whole,
            )
        case RoundWindowSet(opens=opens, closes=closes):
            return msgspec.structs.replace(known, windows={**state.windows, envelope.context.province: (opens, closes)})
    return known


def simulated_scale(state: State, province: str) -> Fraction | None:
    """Return the share of its size that a province has in a simulated round, or None for a real round."""
    if not state.simulated_per_mille:
        return None
    return Fraction(1) if province in state.simulated_whole else Fraction(state.simulated_per_mille, 1_000)


def indexed(state: State) -> Mapping[str, Any]:
    """Return the round and its opening."""
    return {"round": state.round, "opens": state.opens}


def context(state: State) -> Context:
    """Return the context of events about the round; reporting emits none."""
    return Context(round=state.round, policy=state.policy)
