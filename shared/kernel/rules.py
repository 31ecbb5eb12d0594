"""What the kernel expects of a service's rules."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from contracts.commands import EventWithContext
from contracts.envelope import Context, Envelope, UnhandledEvent, digest
from contracts.events import Event


class Consumed(Protocol):
    """A consumed event with its bytes."""

    @property
    def envelope(self) -> Envelope: ...

    @property
    def raw(self) -> bytes: ...


class Rules(Protocol):
    """The rules of one kind of subject, a module in a service's `domain`. Pure: no I/O, no clock, no chance.

    Rules without commands and reactions may also have `fold(state, envelopes)`: `evolve` with one after the other.
    Rules whose records are counted have `counted(indexed)` and COUNTED, see `kernel.counters`.
    """

    VERSION: int  # raised when older code can no longer read the state

    @property
    def State(self) -> type[Any]:
        """The state of a subject: a frozen struct whose defaults are the state before the first event."""

    def decide(self, state: Any, command: Any, at: datetime) -> Sequence[Event | EventWithContext]:
        """Return the events that a command or a `Tick` causes. Raise Refused."""

    def react(self, state: Any, envelope: Envelope, at: datetime) -> Sequence[Event | EventWithContext]:
        """Return the events that a consumed event causes. `state` already includes it. Never refuse."""

    def evolve(self, state: Any, envelope: Envelope) -> Any:
        """Return the state after one event, own or consumed."""

    def indexed(self, state: Any) -> Mapping[str, Any]:
        """Return the fields by which the record can be queried. With `due`, `decide(state, Tick(due), due)` emits."""

    def context(self, state: Any) -> Context:
        """Return the context of the next event about the subject."""


def contradicts(envelope: Envelope, last_hash: str) -> bool:
    """Return whether an event follows another one than the handled one with this digest, if both are known."""
    return envelope.previous != last_hash and bool(envelope.previous and last_hash)


def fold_at_once(
    rules: Rules, state: Any, inbox: Mapping[str, int], hashes: Mapping[str, str], consumed: Sequence[Consumed]
) -> tuple[Any, Mapping[str, int], Mapping[str, str]] | None:
    """Return state, inbox and its digests after events that are repeats or next in their source, by rules that fold.

    Return None if all are repeats, one is early, contradicts the one before it or cannot be handled, or the rules
    raise: then they go one by one.
    """
    if (fold := getattr(rules, "fold", None)) is None:
        return None
    after, last, new = dict(inbox), dict(hashes), []
    for each in consumed:
        envelope = each.envelope
        source, sequence = envelope.source, envelope.sequence
        missing = sequence - after.get(source, 0) - 1
        if missing > 0 or isinstance(envelope.event, UnhandledEvent):
            return None
        if not missing:
            if contradicts(envelope, last.get(source, "")):
                return None
            after[source], last[source] = sequence, digest(each.raw)
            new.append(envelope)
    try:
        return (fold(state, new), after, last) if new else None
    except Exception:
        return None
