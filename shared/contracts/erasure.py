"""What services do about an erased applicant: the state is emptied at once, and stays so whatever comes later."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from contracts.commands import EventWithContext
from contracts.envelope import Envelope
from contracts.events import ApplicantErased, Event


class Erasable(Protocol):
    """The state of an applicant."""

    @property
    def erased(self) -> bool:
        """Return whether the applicant is erased."""


S = TypeVar("S", bound=Erasable)


def evolve_or_empty(state: S, envelope: Envelope, evolve: Callable[[S, Envelope], S], emptied: Callable[[S], S]) -> S:
    """Return the state after an event; an erasure empties it, and so does every later event."""
    if isinstance(envelope.event, ApplicantErased):
        return emptied(state)
    after = evolve(state, envelope)
    return emptied(after) if state.erased else after


def in_context(state: Erasable, envelope: Envelope, reactions: Sequence[Event]) -> Sequence[Event | EventWithContext]:
    """Return the reactions to an event; of an erased applicant under its context, since the state has none.

    Events that come late have the same effects: the figures of the province count them.
    """
    return [EventWithContext(each, envelope.context) for each in reactions] if state.erased else reactions
