"""The rules of three small services for tests of the kernel: one registers, one opens cases, one counts."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from base.clock import Moment
from contracts.commands import EventWithContext, Refused, Tick
from contracts.envelope import Context, Envelope
from contracts.events import ApplicantRegistered, ApplicantWithdrawn, CaseBreached, CaseDecided, CaseOpened, Event
from kernel.store import Change

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PERIOD = timedelta(days=10)  # until a case is due
POISON = "poison"  # the job field on which ReportingRules raise
Events = Sequence[Event | EventWithContext]


def noon() -> Moment:
    """Return the time of a clock that stands still."""
    return Moment(NOON, NOON)


class Register(msgspec.Struct, frozen=True):
    """Register an applicant."""

    province: str = "IR-20"
    field: str = "honey"
    person: str = ""


class Withdraw(msgspec.Struct, frozen=True):
    """Withdraw an applicant."""


class Decide(msgspec.Struct, frozen=True):
    """Decide a case."""

    outcome: str = "approved"


class RegistrationRules:
    """Register and withdraw, alternately and as often as commanded."""

    VERSION = 1

    class State(msgspec.Struct, frozen=True, omit_defaults=True):
        context: Context = Context()
        person: str = ""
        withdrawn: bool = True
        consumed: tuple[str, ...] = ()  # names of the events of screening

    @staticmethod
    def decide(state: Any, command: Any, at: datetime) -> Events:
        if isinstance(command, Register):
            if not state.withdrawn:
                raise Refused("already_registered")
            county = f"{command.province[3:]}01"
            context = Context(
                round="1404", province=command.province, county=county, field=command.field, policy="1404-1"
            )
            return [
                EventWithContext(
                    ApplicantRegistered(sex="female", age_band="25-34", work_mode="independent", intake_channel="web"),
                    context,
                )
            ]
        if state.withdrawn:
            raise Refused("already_withdrawn")
        return [ApplicantWithdrawn(reason="other")]

    @staticmethod
    def react(state: Any, envelope: Envelope, at: datetime) -> Events:
        return []

    @staticmethod
    def evolve(state: Any, envelope: Envelope) -> Any:
        match envelope.event:
            case ApplicantRegistered():
                return replace(state, context=envelope.context, withdrawn=False)
            case ApplicantWithdrawn():
                return replace(state, withdrawn=True)
            case _ if envelope.source == "screening":
                return replace(state, consumed=(*state.consumed, type(envelope.event).__name__))
        return state

    @staticmethod
    def indexed(state: Any) -> dict[str, Any]:
        return {"scope": f"{state.context.province}/{state.context.county}"}

    @staticmethod
    def context(state: Any) -> Context:
        return state.context  # type: ignore[no-any-return]


class ScreeningRules:
    """Open a case for every registration, and emit CaseBreached when its time has passed. Cases are counted."""

    VERSION = 1
    COUNTED = 1

    class State(msgspec.Struct, frozen=True, omit_defaults=True):
        context: Context = Context()
        opened: int = 0
        outcome: str = ""
        due: datetime | None = None

    @staticmethod
    def decide(state: Any, command: Any, at: datetime) -> Events:
        if isinstance(command, Tick):
            return [CaseBreached(due=state.due.date())] if state.due and state.due <= command.now else []
        if not state.opened:
            raise Refused("case_missing")
        return [CaseDecided(outcome=command.outcome)]

    @staticmethod
    def react(state: Any, envelope: Envelope, at: datetime) -> Events:
        return [CaseOpened(due=(at + PERIOD).date())] if isinstance(envelope.event, ApplicantRegistered) else []

    @staticmethod
    def evolve(state: Any, envelope: Envelope) -> Any:
        match envelope.event:
            case ApplicantRegistered():
                return replace(state, context=envelope.context)
            case CaseOpened():
                return replace(state, opened=state.opened + 1, due=envelope.time + PERIOD)
            case CaseBreached():
                return replace(state, due=None)
            case CaseDecided(outcome=outcome):
                return replace(state, outcome=outcome, due=None)
        return state

    @staticmethod
    def indexed(state: Any) -> dict[str, Any]:
        return {"due": state.due} if state.due else {}

    @staticmethod
    def counted(indexed: Mapping[str, Any]) -> Collection[tuple[str, str]]:
        return [("cases", "due" if "due" in indexed else "not due")]

    @staticmethod
    def context(state: Any) -> Context:
        return state.context  # type: ignore[no-any-return]


class ReportingRules:
    """Count consumed events by type, and emit none. Raise on the job field POISON."""

    VERSION = 1

    class State(msgspec.Struct, frozen=True, omit_defaults=True):
        province: str = ""
        consumed: dict[str, int] = {}  # name of the event -> number

    @staticmethod
    def decide(state: Any, command: Any, at: datetime) -> Events:
        return []

    @staticmethod
    def react(state: Any, envelope: Envelope, at: datetime) -> Events:
        return []

    @staticmethod
    def evolve(state: Any, envelope: Envelope) -> Any:
        if envelope.context.field == POISON:
            raise ValueError("a bug")
        name = type(envelope.event).__name__
        return replace(
            state,
            province=envelope.context.province or state.province,
            consumed={**state.consumed, name: state.consumed.get(name, 0) + 1},
        )

    @staticmethod
    def indexed(state: Any) -> dict[str, Any]:
        return {"scope": state.province}

    @staticmethod
    def context(state: Any) -> Context:
        return Context(province=state.province)


def contributions(state: Any) -> Counter[tuple[str, str]]:
    """Return what one subject adds to the tallies: (province, name of the event) -> number."""
    return Counter({(state.province, name): n for name, n in state.consumed.items()})


class Tallies:
    """A projection in memory: the differences that changed subjects make, summed."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    async def move(self, changes: Sequence[Change], session: Any) -> None:
        """Follow the changes of a transaction."""
        for before, after in changes:
            self.counts.update(contributions(after.state))
            self.counts.subtract(contributions(before.state))


class MongoTallies:
    """The same projection in MongoDB, in the same transaction as the records."""

    def __init__(self, collection: Any) -> None:
        self.collection = collection

    async def move(self, changes: Sequence[Change], session: Any) -> None:
        """Follow the changes of a transaction."""
        tallies = Tallies()
        await tallies.move(changes, None)
        for (province, name), n in tallies.counts.items():
            if n:
                await self.collection.update_one(
                    {"_id": f"{province}/{name}"}, {"$inc": {"n": n}}, upsert=True, session=session
                )

    async def counts(self) -> dict[str, int]:
        """Return all tallies: `IR-20/CaseOpened` -> number."""
        return {d["_id"]: d["n"] async for d in self.collection.find()}
