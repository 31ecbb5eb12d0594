"""The quota of one province in one round, day by day, as registration has set it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from contracts.commands import EventWithContext
from contracts.envelope import Context, Envelope
from contracts.events import Event, QuotaMoved, QuotaSet
from reporting.domain.time_encoding import day_of, newest

VERSION = 1


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """Each quota with its day: (day, quota), in the order of the events."""

    round: str = ""
    province: str = ""
    quotas: tuple[tuple[int, int], ...] = ()
    recorded: int = 0  # machine time of the newest event, in milliseconds


def decide(state: State, command: object, at: datetime) -> Sequence[Event | EventWithContext]:
    """Return no events: reporting takes no commands."""
    return ()


def react(state: State, envelope: Envelope, at: datetime) -> Sequence[Event | EventWithContext]:
    """Return no events: reporting emits none."""
    return ()


def evolve(state: State, envelope: Envelope) -> State:
    """Return the state after one more event."""
    quotas = state.quotas
    if isinstance(envelope.event, QuotaSet | QuotaMoved):
        quotas = (*quotas, (day_of(envelope.time), envelope.event.quota))
    return State(
        round=envelope.context.round or state.round,
        province=envelope.context.province or state.province,
        quotas=quotas,
        recorded=newest(state.recorded, envelope.recorded),
    )


def indexed(state: State) -> Mapping[str, Any]:
    """Return the round and the province of the ledger."""
    return {"round": state.round, "scope": state.province}


def context(state: State) -> Context:
    """Return the context of events about the ledger; reporting emits none."""
    return Context(round=state.round, province=state.province)
