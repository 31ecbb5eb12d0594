"""One applicant in screening, for the tests of its rules: events of registration, commands of officers."""

from datetime import UTC, datetime
from typing import Any

import pytest

from base.clock import Moment
from contracts.codes import CONDITIONS
from contracts.commands import Refused
from contracts.envelope import Context, Envelope, decode, encode
from contracts.events import ApplicantRegistered, ApplicantUpdated, Event
from kernel.record import Message, Record, consume, emit
from screening.domain import applicant
from screening.domain.applicant import State
from screening.domain.capacity import IdentifyCapacity
from screening.domain.case import Decide

SUBJECT = "0199a000-0000-7000-8000-000000000001"
CONTEXT = Context(round="1404", province="IR-20", county="2001", field="JF001", policy="1404-1")
SATURDAY = datetime(2025, 9, 27, 6, tzinfo=UTC)  # 5 Mehr 1404, half past nine in Tehran
PERSON: dict[str, Any] = {"sex": "female", "age_band": "25-34", "work_mode": "independent", "intake_channel": "desk"}
YES = dict.fromkeys(CONDITIONS, True)
APPROVE = Decide("approved", checklist=YES, by="screener:of-1")
REJECT = Decide("rejected", ("incomplete",), by="screener:of-1")
KILIMS = IdentifyCapacity("handicrafts", "piece", "10-49", "skilled", ("training",))


class ScreeningScenario:
    """One applicant in screening: consume events of registration, execute commands of officers."""

    def __init__(self) -> None:
        self.record = Record(subject=SUBJECT, state=State())
        self.sequence, self.now, self.emitted = 0, SATURDAY, list[Envelope]()

    @property
    def state(self) -> State:
        """Return the state of the record."""
        state: State = self.record.state
        return state

    def consume(self, event: Event, actor: str = "registrar:of-9", context: Context = CONTEXT) -> list[Event]:
        """Consume the next event of registration; return what screening emits."""
        self.sequence += 1
        envelope = Envelope(
            source="registration", subject=SUBJECT, sequence=self.sequence, time=self.now, event=event,
            context=context, actor=actor,
        )  # fmt: skip
        message = Message(envelope, encode(envelope))
        after, parked = consume(self.record, applicant, "screening", [message], self.moment)
        assert not parked
        return self._keep(after)

    def execute(self, command: Any, actor: str = "screener:of-1") -> list[Event]:
        """Execute a command; return the events."""
        events = applicant.decide(self.state, command, self.now)
        return self._keep(emit(self.record, applicant, "screening", events, self.moment, actor=actor))

    @property
    def moment(self) -> Moment:
        """Return the present time, which is both times."""
        return Moment(self.now, self.now)

    def _keep(self, after: Record) -> list[Event]:
        new = [decode(raw) for raw in after.new_events[len(self.record.new_events) :]]
        self.record = after
        self.emitted += new
        return [each.event for each in new]


def registered(application: int = 1) -> ApplicantRegistered:
    """Return the registration of the applicant."""
    return ApplicantRegistered(application=application, **PERSON)


def updated(application: int = 1) -> ApplicantUpdated:
    """Return a correction of the application."""
    profile = {name: value for name, value in PERSON.items() if name != "intake_channel"}
    return ApplicantUpdated(application=application, **profile)


def refusal(scenario: ScreeningScenario, command: Any) -> Refused:
    """Return the refusal of a command."""
    with pytest.raises(Refused) as error:
        scenario.execute(command)
    return error.value
