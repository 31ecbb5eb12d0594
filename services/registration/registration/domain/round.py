"""A round: which job fields it accepts, and when each province takes applications."""

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
    """From this instant until before that one."""

    opens: datetime
    closes: datetime


class State(msgspec.Struct, frozen=True):
    """What is known of a round; `round` is empty until it is opened."""

    round: str = ""
    policy: str = ""
    fields: tuple[str, ...] = ()
    window: Window | None = None
    windows: dict[str, Window] = {}  # by province, where one has its own


class OpenRound(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of a round as it shall be; opening it again amends it. Provinces not named have the round's window."""

    round: str
    policy: str
    fields: tuple[str, ...]
    window: Window
    windows: Mapping[str, Window] = {}


def decide(state: State, command: OpenRound, at: datetime) -> Sequence[Event | EventWithContext]:
    """Raises Refused: missing_field, closes_before_opens, window_outside_round, round_exists (under another policy)."""
    if not command.fields:
        raise Refused("missing_field", field="fields")
    if state.round and state.policy != command.policy:
        raise Refused("round_exists", field="policy")
    _check(command)
    said: list[Event | EventWithContext] = []
    if (command.fields, command.window) != (state.fields, state.window):
        opened = RoundOpened(fields=command.fields, opens=command.window.opens, closes=command.window.closes)
        said.append(EventWithContext(opened, Context(round=command.round, policy=command.policy)))
    for province in sorted({*command.windows, *state.windows}):
        wanted = command.windows.get(province, command.window)
        if wanted != state.windows.get(province, command.window):
            context = Context(round=command.round, province=province, policy=command.policy)
            said.append(EventWithContext(RoundWindowSet(opens=wanted.opens, closes=wanted.closes), context))
    return said


def react(state: State, heard: Envelope, at: datetime) -> Sequence[Event]:
    """Nobody else speaks about rounds."""
    return ()


def evolve(state: State, envelope: Envelope) -> State:
    """The state after one event."""
    match envelope.event:
        case RoundOpened(fields=fields, opens=opens, closes=closes):
            context = envelope.context
            window = Window(opens, closes)
            return replace(state, round=context.round, policy=context.policy, fields=fields, window=window)
        case RoundWindowSet(opens=opens, closes=closes):
            return replace(state, windows={**state.windows, envelope.context.province: Window(opens, closes)})
    return state


def indexed(state: State) -> Mapping[str, Any]:
    """A round is looked up by its subject."""
    return {"round": state.round}


def context(state: State) -> Context:
    """Where a round stands."""
    return Context(round=state.round, policy=state.policy)


def window_of(state: State, province: str) -> Window | None:
    """When a province takes applications; nothing for a round that was never opened."""
    return state.windows.get(province, state.window)


def is_open(state: State, province: str, at: datetime) -> bool:
    """Whether this province takes applications now."""
    window = window_of(state, province)
    return window is not None and window.opens <= at < window.closes


def admit(state: State, province: str, field: str, at: datetime) -> None:
    """Lets an application for this province and job field in. Raises Refused: round_unknown, intake_closed, ..."""
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
