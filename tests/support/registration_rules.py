"""One applicant of registration under its rules, without a store."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from base.clock import Moment
from contracts.commands import EventWithContext
from contracts.envelope import Context, Envelope, decode, encode
from contracts.events import (
    CaseDecided,
    Event,
)
from kernel.record import Message, Record, consume, emit
from programme.policies import CURRENT, policy
from registration.domain import applicant as rules
from registration.domain.applicant import (
    Command,
    Register,
    State,
)
from registration.domain.application import FIELDS, accept

AT = datetime(2025, 9, 27, 8, tzinfo=UTC)
SUBJECT = "0199a000-0000-7000-8000-000000000001"
SEMNAN = Context(round="1404", province="IR-20", county="2001", field="JF001", policy="1404-1")
PROFILE = accept({each.name: each.example for each in FIELDS}, AT.date(), policy(CURRENT), SEMNAN).profile
FARS = Context(round="1404", province="IR-07", county="0701", field="JF002", policy="1404-1")


class Applicant:
    """One record that executes commands and consumes events of screening."""

    def __init__(self) -> None:
        self.record = Record(subject=SUBJECT, state=State())
        self.at = AT
        self.sequence = 0

    def execute(self, command: Command) -> list[Event]:
        self.at += timedelta(minutes=1)
        events = rules.decide(self.record.state, command, self.at)
        self.record = emit(self.record, rules, "registration", events, Moment(self.at, self.at))
        return [e.event if isinstance(e, EventWithContext) else e for e in events]

    def emitted(self) -> list[Event]:
        return [decode(raw).event for raw in self.record.new_events]

    def consume(self, event: Event, context: Context = Context()) -> "Applicant":  # noqa: B008
        self.sequence += 1
        self.at += timedelta(minutes=1)
        envelope = Envelope(
            source="screening", subject=SUBJECT, sequence=self.sequence, time=self.at, event=event, context=context
        )
        message = Message(envelope, encode(envelope))
        self.record, parked = consume(self.record, rules, "registration", [message], Moment(self.at, self.at))
        assert not parked
        return self

    @property
    def state(self) -> State:
        state: State = self.record.state
        return state

    @property
    def indexed(self) -> Mapping[str, Any]:
        return self.record.indexed


def register(context: Context = SEMNAN) -> Register:
    return Register(context=context, profile=PROFILE, intake_channel="web")


def approved(application: int = 1) -> CaseDecided:
    return CaseDecided(application=application, outcome="approved", reasons=("meets_conditions",))
