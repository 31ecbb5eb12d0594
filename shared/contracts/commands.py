"""Commands and refusals that are common to all subjects, and the event type that carries its own context."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from contracts.envelope import Context
from contracts.events import Event


class Tick(msgspec.Struct, frozen=True):
    """The scheduler's command to a subject whose due time has passed."""

    now: datetime


class Refused(Exception):
    """A command was refused by the rules: `code` names the message, `details` fill its placeholders.

    The messages are in `programme.messages`. `field` is the input field that the refusal is about, if any.
    """

    def __init__(self, code: str, field: str = "", **details: Any) -> None:
        super().__init__(code)
        self.code, self.field = code, field
        self.details: Mapping[str, Any] = details


class UnknownVersion(LookupError):
    """An event names something of which this version of the code has no copy, such as policies: a newer one has."""


class EventWithContext(msgspec.Struct, frozen=True):
    """An event with its context, for a subject whose state does not hold the context yet: its first event."""

    event: Event
    context: Context
