"""Rules about a lead enterprise: it joins one province and trains, counsels or buys there.

Its name is stored by market only, as private content; no event contains it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from contracts.codes import LEAD_SERVICES
from contracts.commands import EventWithContext, Refused, Tick
from contracts.envelope import Context, Envelope
from contracts.events import Event, LeadEnlisted
from programme.reference import job_fields, provinces

VERSION = 1


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """The services, job fields and province of a lead enterprise."""

    province: str = ""
    services: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    enlisted: datetime | None = None


class Enlist(msgspec.Struct, frozen=True):
    """Enlist a lead enterprise with its services and job fields."""

    services: tuple[str, ...]
    fields: tuple[str, ...]
    province: str


def decide(state: State, command: Enlist | Tick, at: datetime) -> Sequence[Event | EventWithContext]:
    """Return the event of a first enlistment; a second one has none. Raise Refused."""
    if isinstance(command, Tick) or state.enlisted:
        return []
    if command.province not in provinces():
        raise Refused("province_unknown", "province")
    for name, values, known in (
        ("services", command.services, LEAD_SERVICES),
        ("fields", command.fields, job_fields()),
    ):
        if not values:
            raise Refused("missing_field", name)
        if any(value not in known for value in values):
            raise Refused("field_unknown" if name == "fields" else "code_unknown", name)
    enlisted = LeadEnlisted(
        services=tuple(dict.fromkeys(command.services)), fields=tuple(dict.fromkeys(command.fields))
    )
    return [EventWithContext(enlisted, Context(province=command.province))]


def react(state: State, envelope: Envelope, at: datetime) -> Sequence[Event]:
    """Return nothing: no other service emits events about lead enterprises."""
    return []


def evolve(state: State, envelope: Envelope) -> State:
    """Return the state after one event."""
    match envelope.event:
        case LeadEnlisted() as event:
            return State(
                province=envelope.context.province,
                services=event.services,
                fields=event.fields,
                enlisted=envelope.time,
            )
    return state


def indexed(state: State) -> Mapping[str, Any]:
    """Return the area; empty before the enlistment."""
    return {"scope": state.province, "province": state.province} if state.enlisted else {}


def context(state: State) -> Context:
    """Return the context of the next event about the lead enterprise."""
    return Context(province=state.province)
