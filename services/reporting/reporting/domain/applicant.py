"""The facts about one applicant, from the events of registration, screening and market.

Each field is written by the events of one source only, so that every interleaving of the sources gives the same state.
What the figures of a province count stays after an erasure; county and job field do not.
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
    ApplicantErased,
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
from programme.policies import policy
from reporting.domain.time_encoding import day_of, newest

VERSION = 1

# Days are ordinals (`date.toordinal`) of the day in Tehran; 0 means that it has not happened.


class Connection(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One claimed connection: the day on which it first reached each grade of evidence, and the day of its end."""

    claimed: int
    documented: int = 0  # E1 or above
    confirmed: int = 0  # E2 or above: what the ranking counts
    sold: int = 0  # E3 or above
    sustained: int = 0
    ended: int = 0


class Application(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One application of the person in the round; a reactivation starts the next one."""

    # registration
    province: str = ""
    county: str = ""
    field: str = ""
    policy: str = ""
    registered: int = 0
    answers: tuple[tuple[int, bool], ...] = ()  # (day, verified) of each change in the identity registry's answer
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
    """What reporting knows about one person in one round. It holds no personal data."""

    round: str = ""
    applications: dict[int, Application] = {}  # by their number, from 1
    recorded: int = 0  # machine time of the newest event, in milliseconds
    erased: bool = False


def decide(state: State, command: object, at: datetime) -> Sequence[Event | EventWithContext]:
    """Return no events: reporting takes no commands."""
    return ()


def react(state: State, envelope: Envelope, at: datetime) -> Sequence[Event | EventWithContext]:
    """Return no events: reporting emits none."""
    return ()


def evolve(state: State, envelope: Envelope) -> State:
    """Return the state after one more event."""
    event = envelope.event
    number = getattr(event, "application", 0)
    applications = state.applications
    if number:
        known = applications.get(number, _EMPTY)
        changed = _apply(known, event, envelope)
        if changed is not known:
            applications = {**applications, number: changed}
    if erased := state.erased or isinstance(event, ApplicantErased):
        applications = {n: replace(each, county="", field="") for n, each in applications.items()}
    of_registration = envelope.source == "registration" or not state.round  # other sources carry copies
    return State(
        round=envelope.context.round if of_registration else state.round,
        applications=applications,
        recorded=newest(state.recorded, envelope.recorded),
        erased=erased,
    )


def indexed(state: State) -> Mapping[str, Any]:
    """Return the round and the scope of the latest application."""
    if not state.applications:
        return {}
    latest = state.applications[max(state.applications)]
    return {"round": state.round, "scope": f"{latest.province}/{latest.county}" if latest.county else latest.province}


def context(state: State) -> Context:
    """Return the context of events about the applicant; reporting emits none."""
    return Context(round=state.round)


_EMPTY = Application()


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
    """Record evidence of a grade. A grade counts from the day of the first evidence at or above it."""
    return replace(
        connection,
        documented=connection.documented or (day if grade >= "E1" else 0),
        confirmed=connection.confirmed or (day if grade >= "E2" else 0),
        sold=connection.sold or (day if grade >= "E3" else 0),
    )


def _claimed(a: Application, e: ProducerConnected, day: int) -> Application:
    return _connected(a, e.connection, _raised(Connection(claimed=day), e.evidence, day))


def _evidenced(a: Application, e: ConnectionEvidenced, day: int) -> Application:
    return _connected(a, e.connection, _raised(_connection(a, e.connection, day), e.to, day))


def _sustained(a: Application, e: ConnectionSustained, day: int) -> Application:
    return _connected(a, e.connection, replace(_connection(a, e.connection, day), sustained=day))


def _ended(a: Application, e: ConnectionEnded, day: int) -> Application:
    return _connected(a, e.connection, replace(_connection(a, e.connection, day), ended=day))


def _located(known: Application, context: Context) -> Application:
    """Set province, county, field and policy. Only events of registration do this; other sources carry copies."""
    if known.county == context.county and known.field == context.field and known.province == context.province:
        return known
    policy(context.policy)  # raises here, where the event is parked, not in the figures
    return replace(known, province=context.province, county=context.county, field=context.field, policy=context.policy)


Change = Callable[[Application, Any, datetime], Application]  # of an application, by an event, at a time

# Looked up by type, which is fast enough for millions of events. An event that is not here changes nothing.
_BY_REGISTRATION: Mapping[type[Event], Change] = {
    ApplicantRegistered: lambda a, e, at: replace(a, registered=day_of(at)),
    ApplicantReactivated: lambda a, e, at: replace(a, registered=day_of(at)),
    ApplicantIdentityChecked: lambda a, e, at: _checked(a, e, day_of(at)),
    ApplicantAdmitted: lambda a, e, at: replace(a, admitted=a.admitted or day_of(at)),
    ApplicantSeatReleased: lambda a, e, at: replace(a, released=a.released or day_of(at)),
    ApplicantWithdrawn: lambda a, e, at: replace(a, withdrawn=day_of(at), withdrawn_at=at),
}
_BY_OTHERS: Mapping[type[Event], Change] = {
    CaseOpened: lambda a, e, at: replace(a, case_due=e.due.toordinal()),
    CaseBreached: lambda a, e, at: replace(a, case_due=e.due.toordinal()),
    CaseDecided: lambda a, e, at: replace(a, decided=day_of(at), decided_at=at, approved=e.outcome == "approved"),
    CapacityRequested: lambda a, e, at: replace(a, capacity_due=e.due.toordinal()),
    CapacityBreached: lambda a, e, at: replace(a, capacity_due=e.due.toordinal()),
    CapacityIdentified: lambda a, e, at: replace(a, identified=a.identified or day_of(at)),
    ProducerReadied: lambda a, e, at: replace(a, readied=a.readied or day_of(at)),
    ProducerConnected: lambda a, e, at: _claimed(a, e, day_of(at)),
    ConnectionEvidenced: lambda a, e, at: _evidenced(a, e, day_of(at)),
    ConnectionSustained: lambda a, e, at: _sustained(a, e, day_of(at)),
    ConnectionEnded: lambda a, e, at: _ended(a, e, day_of(at)),
}


def _apply(known: Application, event: Event, envelope: Envelope) -> Application:
    kind = type(event)
    if change := _BY_OTHERS.get(kind):
        return change(known, event, envelope.time)
    if change := _BY_REGISTRATION.get(kind):
        return change(_located(known, envelope.context), event, envelope.time)
    return known
