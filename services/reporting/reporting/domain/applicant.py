"""The facts about one applicant: what registration, screening and market last told, side by side.

Every field is written by one source only, so that any interleaving of the sources gives the same end.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from contracts.commands import EventWithContext
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
from reporting.domain.instants import day_of, newest

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


def decide(state: State, command: object, at: datetime) -> Sequence[Event | EventWithContext]:
    """Nobody asks reporting anything about an applicant."""
    return ()


def react(state: State, heard: Envelope, at: datetime) -> Sequence[Event | EventWithContext]:
    """Reporting remembers; it says nothing."""
    return ()


def evolve(state: State, envelope: Envelope) -> State:
    """The facts after one more event."""
    event = envelope.event
    number = getattr(event, "application", 0)
    applications = state.applications
    if number:
        known = applications.get(number, _NOTHING)
        told = _tell(known, event, envelope)
        if told is not known:
            applications = {**applications, number: told}
    return State(
        round=envelope.context.round or state.round,
        applications=applications,
        recorded=newest(state.recorded, envelope.recorded),
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


def _checked(a: Application, e: ApplicantIdentityChecked, day: int) -> Application:
    verified = e.result == "match"
    if e.result == "unavailable" or verified == (bool(a.answers) and a.answers[-1][1]):
        return a
    return replace(a, answers=(*a.answers, (day, verified)))


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


def _made(a: Application, e: ProducerConnected, day: int) -> Application:
    return _connected(a, e.connection, _raised(Connection(claimed=day), e.evidence, day))


def _evidenced(a: Application, e: ConnectionEvidenced, day: int) -> Application:
    return _connected(a, e.connection, _raised(_connection(a, e.connection, day), e.to, day))


def _sustained(a: Application, e: ConnectionSustained, day: int) -> Application:
    return _connected(a, e.connection, replace(_connection(a, e.connection, day), sustained=day))


def _ended(a: Application, e: ConnectionEnded, day: int) -> Application:
    return _connected(a, e.connection, replace(_connection(a, e.connection, day), ended=day))


def _placed(known: Application, context: Context) -> Application:
    """Where the application belongs is what registration last said; what others carry are copies."""
    if known.county == context.county and known.field == context.field and known.province == context.province:
        return known
    return replace(known, province=context.province, county=context.county, field=context.field, policy=context.policy)


Telling = Callable[[Application, Any, datetime], Application]  # what is known, the event, when it happened

# The application after an event about it; one that is not here changes nothing. Looked up by type: there are millions.
_BY_REGISTRATION: Mapping[type[Event], Telling] = {
    ApplicantRegistered: lambda a, e, at: replace(a, registered=day_of(at)),
    ApplicantReactivated: lambda a, e, at: replace(a, registered=day_of(at)),
    ApplicantIdentityChecked: lambda a, e, at: _checked(a, e, day_of(at)),
    ApplicantAdmitted: lambda a, e, at: replace(a, admitted=a.admitted or day_of(at)),
    ApplicantSeatReleased: lambda a, e, at: replace(a, released=a.released or day_of(at)),
    ApplicantWithdrawn: lambda a, e, at: replace(a, withdrawn=day_of(at), withdrawn_at=at),
}
_BY_OTHERS: Mapping[type[Event], Telling] = {
    CaseOpened: lambda a, e, at: replace(a, case_due=e.due.toordinal()),
    CaseBreached: lambda a, e, at: replace(a, case_due=e.due.toordinal()),
    CaseDecided: lambda a, e, at: replace(a, decided=day_of(at), decided_at=at, approved=e.outcome == "approved"),
    CapacityRequested: lambda a, e, at: replace(a, capacity_due=e.due.toordinal()),
    CapacityBreached: lambda a, e, at: replace(a, capacity_due=e.due.toordinal()),
    CapacityIdentified: lambda a, e, at: replace(a, identified=a.identified or day_of(at)),
    ProducerReadied: lambda a, e, at: replace(a, readied=a.readied or day_of(at)),
    ProducerConnected: lambda a, e, at: _made(a, e, day_of(at)),
    ConnectionEvidenced: lambda a, e, at: _evidenced(a, e, day_of(at)),
    ConnectionSustained: lambda a, e, at: _sustained(a, e, day_of(at)),
    ConnectionEnded: lambda a, e, at: _ended(a, e, day_of(at)),
}


def _tell(known: Application, event: Event, envelope: Envelope) -> Application:
    kind = type(event)
    if telling := _BY_OTHERS.get(kind):
        return telling(known, event, envelope.time)
    if telling := _BY_REGISTRATION.get(kind):
        return telling(_placed(known, envelope.context), event, envelope.time)
    return known
