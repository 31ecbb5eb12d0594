"""What the kernel expects of a service's rules."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from contracts.commands import EventWithContext
from contracts.envelope import Context, Envelope
from contracts.events import Event


class Rules(Protocol):
    """A module of a service's `domain`, one per kind of subject: pure functions; no I/O, no clock, no chance."""

    VERSION: int  # raised when states of the older rules are no longer read the same way

    @property
    def State(self) -> type[Any]:
        """What the rules know of a subject: frozen, and at its start without arguments."""

    def decide(self, state: Any, command: Any, at: datetime) -> Sequence[Event | EventWithContext]:
        """Somebody asks, or the clock does (Tick). Raises Refused."""

    def react(self, state: Any, heard: Envelope, at: datetime) -> Sequence[Event | EventWithContext]:
        """Another service emitted this, and `state` knows it already. Never refuses."""

    def evolve(self, state: Any, envelope: Envelope) -> Any:
        """The state after one event, own or heard; an event it has no use for changes nothing."""

    def indexed(self, state: Any) -> Mapping[str, Any]:
        """What the record is looked up by. Where it has `due`, `decide(state, Tick(due), due)` says something."""

    def context(self, state: Any) -> Context:
        """Where the subject stands in the programme, for the next event about it."""
