"""The facts about one applicant: what registration, screening and market last told, side by side.

Every field is written by one source only, so that any interleaving of the sources gives the same end.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace

from contracts.calendar import tehran_day
from contracts.commands import Said
from contracts.envelope import Context, Envelope
from contracts.events import (
    ApplicantAdmitted,
    ApplicantIdentityChecked,
    ApplicantReactivated,
    ApplicantRegistered,
    ApplicantSeatReleased,
    ApplicantWithdrawn,
    CapacityBreached,
    CapacityIdentified,
    CapacityRequested,
    CaseBreached,
    CaseDecided,
    CaseOpened,
    ConnectionEnded,
    ConnectionEvidenced,
    ConnectionSustained,
    Event,
    ProducerConnected,
    ProducerReadied,
)

VERSION = 1

# Days are proleptic ordinals of the day in Tehran (`date.toordinal`), 0 where something has not happened.


class Connection(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One claimed connection: the day on which each grade of evidence was first reached, and its end."""

    claimed: int
    documented: int = 0  # E1 or above
    confirmed: int = 0  # E2 or above: what the ranking counts
    sold: int = 0  # E3 or above
    sustained: int = 0
    ended: int = 0


class Application(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One application of the person in the round: a reactivation starts another."""

    # registration
    province: str = ""
    county: str = ""
    field: str = ""
    policy: str = ""
    registered: int = 0
    answers: tuple[tuple[int, bool], ...] = ()  # (day, verified) wherever the identity registry's answer changed
    admitted: int = 0
    released: int = 0
    withdrawn: int = 0
    withdrawn_at: datetime | None = None
    # screening
    case_due: int = 0
    decided: int = 0
    decided_at: datetime | None = None
    approved: bool = False
    capacity_due: int = 0
    identified: int = 0
    # market
    readied: int = 0
    connections: dict[str, Connection] = {}


class State(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Everything reporting knows of one person in one round; nothing of it is personal."""

    round: str = ""
    applications: dict[int, Application] = {}  # by their number, from 1
    recorded: int = 0  # machine time of the newest event, in milliseconds


def decide(state: State, command: object, at: datetime) -> Sequence[Event | Said]:
    """Nobody asks reporting anything about an applicant."""
    return ()


def react(state: State, heard: Envelope, at: datetime) -> Sequence[Event | Said]:
    """Reporting remembers; it says nothing."""
    return ()


def evolve(state: State, envelope: Envelope) -> State:
    """The facts after one more event."""
    event = envelope.event
    number = getattr(event, "application", 0)
    recorded = int(envelope.recorded.timestamp() * 1000) if envelope.recorded else 0
    applications = state.applications
    if number:
        known = applications.get(number, _NOTHING)
        told = _tell(known, event, _day(envelope.time), envelope)
        if told is not known:
            applications = {**applications, number: told}
    return State(
        round=envelope.context.round or state.round,
        applications=applications,
        recorded=max(recorded, state.recorded),
    )


def indexed(state: State) -> Mapping[str, Any]:
    """The place the present application belongs to."""
    if not state.applications:
        return {}
    present = state.applications[max(state.applications)]
    return {"round": state.round, "scope": f"{present.province}/{present.county}"}


def context(state: State) -> Context:
    """Reporting emits nothing about applicants."""
    return Context(round=state.round)


_NOTHING = Application()


def _tell(known: Application, event: Event, day: int, envelope: Envelope) -> Application:
    """The application after an event about it; one that reporting has no use for changes nothing."""
    match event:
        case ApplicantRegistered() | ApplicantReactivated():
            return replace(_placed(known, envelope.context), registered=day)
        case ApplicantIdentityChecked(result=result):
            return _placed(_checked(known, result, day), envelope.context)
        case ApplicantAdmitted():
            return replace(_placed(known, envelope.context), admitted=known.admitted or day)
        case ApplicantSeatReleased():
            return replace(_placed(known, envelope.context), released=known.released or day)
        case ApplicantWithdrawn():
            return replace(_placed(known, envelope.context), withdrawn=day, withdrawn_at=envelope.time)
        case CaseOpened(due=due) | CaseBreached(due=due):
            return replace(known, case_due=due.toordinal())
        case CaseDecided(outcome=outcome):
            return replace(known, decided=day, decided_at=envelope.time, approved=outcome == "approved")
        case CapacityRequested(due=due) | CapacityBreached(due=due):
            return replace(known, capacity_due=due.toordinal())
        case CapacityIdentified():
            return replace(known, identified=known.identified or day)
        case ProducerReadied():
            return replace(known, readied=known.readied or day)
        case ProducerConnected(connection=name, evidence=grade):
            return _connected(known, name, _raised(Connection(claimed=day), grade, day))
        case ConnectionEvidenced(connection=name, to=grade):
            return _connected(known, name, _raised(_connection(known, name, day), grade, day))
        case ConnectionSustained(connection=name):
            return _connected(known, name, replace(_connection(known, name, day), sustained=day))
        case ConnectionEnded(connection=name):
            return _connected(known, name, replace(_connection(known, name, day), ended=day))
    return known


def _placed(known: Application, context: Context) -> Application:
    """Where the application belongs is what registration last said; what others carry are copies."""
    if (known.province, known.county, known.field) == (context.province, context.county, context.field):
        return known
    return replace(known, province=context.province, county=context.county, field=context.field, policy=context.policy)


def _checked(known: Application, result: str, day: int) -> Application:
    verified = result == "match"
    if result == "unavailable" or verified == (bool(known.answers) and known.answers[-1][1]):
        return known
    return replace(known, answers=(*known.answers, (day, verified)))


def _connection(known: Application, name: str, day: int) -> Connection:
    return known.connections.get(name) or Connection(claimed=day)


def _connected(known: Application, name: str, connection: Connection) -> Application:
    return replace(known, connections={**known.connections, name: connection})


def _raised(connection: Connection, grade: str, day: int) -> Connection:
    """Evidence is only ever raised: a grade is reached on the day of the first that is at least as good."""
    return replace(
        connection,
        documented=connection.documented or (day if grade >= "E1" else 0),
        confirmed=connection.confirmed or (day if grade >= "E2" else 0),
        sold=connection.sold or (day if grade >= "E3" else 0),
    )


@lru_cache(4096)
def _day_of(day: int, half_hour: int) -> int:
    return tehran_day(datetime.fromordinal(day).replace(tzinfo=UTC) + timedelta(minutes=30 * half_hour)).toordinal()


def _day(instant: datetime) -> int:
    """The day in Tehran; its offset is a whole number of half hours, so each half hour is looked up once."""
    if instant.tzinfo is not UTC:
        instant = instant.astimezone(UTC)
    return _day_of(instant.toordinal(), instant.hour * 2 + instant.minute // 30)
