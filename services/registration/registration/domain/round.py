"""A round: the job fields that it accepts, and the intake window of each province."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from contracts.commands import EventWithContext, Refused
from contracts.envelope import Context, Envelope
from contracts.events import Event, RoundOpened, RoundWindowSet

VERSION = 1


class Window(msgspec.Struct, frozen=True):
    """From `opens` until before `closes`."""

    opens: datetime
    closes: datetime


class Simulation(msgspec.Struct, frozen=True):
    """How large a simulated round is: `per_mille` of a real one, and the provinces that have their whole size."""

    per_mille: int
    whole: tuple[str, ...] = ()


class State(msgspec.Struct, frozen=True):
    """The state of a round; `round` is empty until it is opened."""

    round: str = ""
    policy: str = ""
    fields: tuple[str, ...] = ()
    window: Window | None = None
    windows: dict[str, Window] = {}  # by province, where one has its own
    simulation: Simulation | None = None


class OpenRound(msgspec.Struct, frozen=True, kw_only=True):
    """Open a round, or amend one: the complete round as it should be. Other provinces have the window of the round."""

    round: str
    policy: str
    fields: tuple[str, ...]
    window: Window
    windows: Mapping[str, Window] = {}
    simulation: Simulation | None = None  # for good: a simulated round never becomes a real one, nor the other way


def decide(state: State, command: OpenRound, at: datetime) -> Sequence[Event | EventWithContext]:
    """Raise Refused: missing_field, closes_before_opens, window_outside_round, round_exists.

    The round exists if it has another policy, or is a simulation where this one is real, or the other way.
    """
    if not command.fields:
        raise Refused("missing_field", field="fields")
    if state.round and state.policy != command.policy:
        raise Refused("round_exists", field="policy")
    if state.round and state.simulation != command.simulation:
        raise Refused("round_exists", field="simulation")
    _check(command)
    events: list[Event | EventWithContext] = []
    if (command.fields, command.window) != (state.fields, state.window):
        opened = RoundOpened(
            fields=command.fields,
            opens=command.window.opens,
            closes=command.window.closes,
            simulated_per_mille=command.simulation.per_mille if command.simulation else 0,
            simulated_whole=command.simulation.whole if command.simulation else (),
        )
        events.append(EventWithContext(opened, Context(round=command.round, policy=command.policy)))
    for province in sorted({*command.windows, *state.windows}):
        wanted = command.windows.get(province, command.window)
        if wanted != state.windows.get(province, command.window):
            context = Context(round=command.round, province=province, policy=command.policy)
            events.append(EventWithContext(RoundWindowSet(opens=wanted.opens, closes=wanted.closes), context))
    return events


def react(state: State, consumed: Envelope, at: datetime) -> Sequence[Event]:
    """Emit nothing: no other service has events about rounds."""
    return ()


def evolve(state: State, envelope: Envelope) -> State:
    """Return the state after an event."""
    match envelope.event:
        case RoundOpened() as opened:
            return replace(
                state,
                round=envelope.context.round,
                policy=envelope.context.policy,
                fields=opened.fields,
                window=Window(opened.opens, opened.closes),
                simulation=simulation_of(opened),
            )
        case RoundWindowSet(opens=opens, closes=closes):
            return replace(state, windows={**state.windows, envelope.context.province: Window(opens, closes)})
    return state


def simulation_of(opened: RoundOpened) -> Simulation | None:
    """Return how large the simulation is, or None for a real round."""
    per_mille = opened.simulated_per_mille
    return Simulation(per_mille, opened.simulated_whole) if per_mille else None


def indexed(state: State) -> Mapping[str, Any]:
    """Return what the list of rounds queries."""
    return {"round": state.round}


def context(state: State) -> Context:
    """Return the context of the round's events."""
    return Context(round=state.round, policy=state.policy)


def window_of(state: State, province: str) -> Window | None:
    """Return when a province takes applications; None for a round that was never opened."""
    return state.windows.get(province, state.window)


def is_open(state: State, province: str, at: datetime) -> bool:
    """Return whether a province takes applications at an instant."""
    window = window_of(state, province)
    return window is not None and window.opens <= at < window.closes


def check_intake(state: State, province: str, field: str, at: datetime) -> None:
    """Check that the round takes this application. Raise Refused: round_unknown, intake_closed, field_not_open."""
    if not state.round:
        raise Refused("round_unknown", field="round")
    if not is_open(state, province, at):
        raise Refused("intake_closed", field="province")
    if field not in state.fields:
        raise Refused("field_not_open", field="field")


def _check(command: OpenRound) -> None:
    whole = command.window
    if whole.closes <= whole.opens:
        raise Refused("closes_before_opens", field="closes")
    for province, window in command.windows.items():
        if window.closes <= window.opens:
            raise Refused("closes_before_opens", field=f"windows.{province}")
        if window.opens < whole.opens or window.closes > whole.closes:
            raise Refused("window_outside_round", field=f"windows.{province}")
