"""The quota of one province in one round, as registration set it, day by day."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from contracts.commands import EventWithContext
from contracts.envelope import Context, Envelope
from contracts.events import Event, QuotaSet
from reporting.domain.instants import day_of, newest

VERSION = 1


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was set when: (day, quota) in the order of the events."""

    round: str = ""
    province: str = ""
    quotas: tuple[tuple[int, int], ...] = ()
    recorded: int = 0  # machine time of the newest event, in milliseconds


def decide(state: State, command: object, at: datetime) -> Sequence[Event | EventWithContext]:
    """Nobody asks reporting anything about a ledger."""
    return ()


def react(state: State, heard: Envelope, at: datetime) -> Sequence[Event | EventWithContext]:
    """Reporting remembers; it says nothing."""
    return ()


def evolve(state: State, envelope: Envelope) -> State:
    """The ledger after one more event."""
    quotas = state.quotas
    if isinstance(envelope.event, QuotaSet):
        quotas = (*quotas, (day_of(envelope.time), envelope.event.quota))
    return State(
        round=envelope.context.round or state.round,
        province=envelope.context.province or state.province,
        quotas=quotas,
        recorded=newest(state.recorded, envelope.recorded),
    )


def indexed(state: State) -> Mapping[str, Any]:
    """The province the ledger belongs to."""
    return {"round": state.round, "scope": state.province}


def context(state: State) -> Context:
    """Reporting emits nothing about ledgers."""
    return Context(round=state.round, province=state.province)
