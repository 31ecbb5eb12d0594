"""What any subject may be asked, and how its rules say no."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from contracts.envelope import Context
from contracts.events import Event


class Tick(msgspec.Struct, frozen=True):
    """The clock calls: something is due."""

    now: datetime


class Refused(Exception):
    """The rules say no; the code says which (see `programme.messages`), the details fill its sentence."""

    def __init__(self, code: str, field: str = "", **details: Any) -> None:
        super().__init__(code)
        self.code, self.field = code, field
        self.details: Mapping[str, Any] = details


class EventWithContext(msgspec.Struct, frozen=True):
    """An event with the context it happened in, where the subject's state cannot know it yet (its very first)."""

    event: Event
    context: Context
