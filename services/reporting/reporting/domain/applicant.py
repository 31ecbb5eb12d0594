"""The facts about one applicant, from the events of registration, screening and market.

Each field is written by the events of one source only, so that every interleaving of the sources gives the same state.
What the figures of a province count stays after an erasure; county and job field do not.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from contracts.commands import EventWithContext
from contracts.envelope import Context, Envelope
from contracts.events import (
    ApplicantAdmitted,
    ApplicantCodeReissued,
    ApplicantErased,
    ApplicantIdentityChecked,
    ApplicantReactivated,
    ApplicantRegistered,
    ApplicantSeatReleased,
    ApplicantUpdated,
    ApplicantWithdrawn,
    CapacityBreached,
    CapacityIdentified,
    CapacityRequested,
    CaseAppealDecided,
    CaseAppealed,
    CaseBreached,
    CaseDecided,
    CaseInfoRequested,
    CaseInfoSupplied,
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


class Application(msgspec.Struct, omit_defaults=True, gc=False):
    """One application of the person in the round; a reactivation starts the next one.

    Only `fold` changes one, a copy of its own: to copy it for each event would cost most of a rebuild.
    """

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
    by_officer: bool = False  # the withdrawal
    officer_acts: tuple[int, ...] = ()  # days of what officers did for the person: corrections, codes, withdrawal
    # screening
    case_due: int = 0
    periods: tuple[tuple[int, int], ...] = ()  # of the applicant, asked for papers: first day, last day at the latest
    decided: int = 0
    decided_at: datetime | None = None
    approved: bool = False
    appealed: int = 0
    appeal_decided: int = 0
    overturned: bool = False
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
    return fold(state, (envelope,))


def fold(state: State, envelopes: Iterable[Envelope]) -> State:
    """Return the state after more events, in their order."""
    applications, copied = dict(state.applications), set[int]()
    round, erased, latest = state.round, state.erased, None
    for envelope in envelopes:
        event, recorded = envelope.event, envelope.recorded
        kind = event.__class__
        # Other sources carry copies; an erasure applies at once, out of its turn, and may be a forgery with any round.
        if not round or (envelope.source == "registration" and kind is not ApplicantErased):
            round = envelope.context.round
        if recorded is not None and (latest is None or recorded > latest):
            latest = recorded
        if (change := _CHANGES.get(kind)) is None:
            erased = erased or kind is ApplicantErased
            continue
        number = event.application  # type: ignore[attr-defined]
        if number not in copied:
            copied.add(number)
            applications[number] = replace(applications.get(number, _EMPTY))
        application = applications[number]
        if envelope.source == "registration":
            _locate(application, envelope.context)
        change(application, event, envelope.time)
        if kind in _ACTS and envelope.actor.partition(":")[2]:  # an officer, who has an id; applicants act as `web:`
            application.officer_acts = (*application.officer_acts, day_of(envelope.time))
            application.by_officer = application.by_officer or kind is ApplicantWithdrawn
    if erased:
        applications = {n: replace(each, county="", field="") for n, each in applications.items()}
    return State(round, applications, newest(state.recorded, latest), erased)


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


def _reissued(a: Application, e: Event, at: datetime) -> None:
    """Change nothing but what `fold` keeps of every act."""


def _registered(a: Application, e: Event, at: datetime) -> None:
    a.registered = day_of(at)


def _checked(a: Application, e: ApplicantIdentityChecked, at: datetime) -> None:
    verified = e.result == "match"
    if e.result != "unavailable" and verified != (bool(a.answers) and a.answers[-1][1]):
        a.answers = (*a.answers, (day_of(at), verified))


def _updated(a: Application, e: ApplicantUpdated, at: datetime) -> None:
    """End a verification by the day on which the identity was corrected; `fold` takes the place from the context."""
    if e.identity_changed and a.answers and a.answers[-1][1]:
        a.answers = (*a.answers, (day_of(at), False))


def _admitted(a: Application, e: Event, at: datetime) -> None:
    a.admitted = a.admitted or day_of(at)


def _released(a: Application, e: Event, at: datetime) -> None:
    a.released = a.released or day_of(at)


def _withdrawn(a: Application, e: Event, at: datetime) -> None:
    a.withdrawn, a.withdrawn_at = day_of(at), at


def _case_due(a: Application, e: CaseOpened | CaseBreached, at: datetime) -> None:
    a.case_due = e.due.toordinal()


def _info_requested(a: Application, e: CaseInfoRequested, at: datetime) -> None:
    """Begin a turn of the applicant, which ends on the last day to answer if nothing ends it before."""
    a.case_due, a.periods = e.case_due.toordinal(), (*a.periods, (day_of(at), e.due.toordinal()))


def _info_supplied(a: Application, e: CaseInfoSupplied, at: datetime) -> None:
    a.case_due = e.case_due.toordinal()
    if a.periods:
        first, last = a.periods[-1]
        a.periods = (*a.periods[:-1], (first, min(last, day_of(at))))


def _decided(a: Application, e: CaseDecided, at: datetime) -> None:
    a.decided, a.decided_at, a.approved = day_of(at), at, e.outcome == "approved"


def _appealed(a: Application, e: Event, at: datetime) -> None:
    a.appealed = day_of(at)


def _appeal_decided(a: Application, e: CaseAppealDecided, at: datetime) -> None:
    a.appeal_decided, a.overturned = day_of(at), e.outcome == "approved"


def _capacity_due(a: Application, e: CapacityRequested | CapacityBreached, at: datetime) -> None:
    a.capacity_due = e.due.toordinal()


def _identified(a: Application, e: Event, at: datetime) -> None:
    a.identified = a.identified or day_of(at)


def _readied(a: Application, e: Event, at: datetime) -> None:
    a.readied = a.readied or day_of(at)


def _claimed(a: Application, e: ProducerConnected, at: datetime) -> None:
    day = day_of(at)
    _set_connection(a, e.connection, _raised(Connection(claimed=day), e.evidence, day))


def _evidenced(a: Application, e: ConnectionEvidenced, at: datetime) -> None:
    day = day_of(at)
    _set_connection(a, e.connection, _raised(_connection(a, e.connection, day), e.to, day))


def _sustained(a: Application, e: ConnectionSustained, at: datetime) -> None:
    day = day_of(at)
    _set_connection(a, e.connection, replace(_connection(a, e.connection, day), sustained=day))


def _ended(a: Application, e: ConnectionEnded, at: datetime) -> None:
    day = day_of(at)
    _set_connection(a, e.connection, replace(_connection(a, e.connection, day), ended=day))


def _connection(a: Application, name: str, day: int) -> Connection:
    return a.connections.get(name) or Connection(claimed=day)


def _set_connection(a: Application, name: str, connection: Connection) -> None:
    a.connections = {**a.connections, name: connection}


def _raised(connection: Connection, grade: str, day: int) -> Connection:
    """Record evidence of a grade. A grade counts from the day of the first evidence at or above it."""
    return replace(
        connection,
        documented=connection.documented or (day if grade >= "E1" else 0),
        confirmed=connection.confirmed or (day if grade >= "E2" else 0),
        sold=connection.sold or (day if grade >= "E3" else 0),
    )


def _locate(a: Application, context: Context) -> None:
    """Set province, county, field and policy. Only events of registration do this; other sources carry copies."""
    if a.county == context.county and a.field == context.field and a.province == context.province:
        return
    policy(context.policy)  # raises here, where the event is parked, not in the figures
    a.province, a.county, a.field, a.policy = context.province, context.county, context.field, context.policy


# Looked up by type, which is fast enough for millions of events. An event that is not here changes no application.
_CHANGES: Mapping[type[Event], Callable[[Application, Any, datetime], None]] = {
    ApplicantRegistered: _registered,
    ApplicantReactivated: _registered,
    ApplicantIdentityChecked: _checked,
    ApplicantUpdated: _updated,
    ApplicantCodeReissued: _reissued,
    ApplicantAdmitted: _admitted,
    ApplicantSeatReleased: _released,
    ApplicantWithdrawn: _withdrawn,
    CaseOpened: _case_due,
    CaseBreached: _case_due,
    CaseInfoRequested: _info_requested,
    CaseInfoSupplied: _info_supplied,
    CaseDecided: _decided,
    CaseAppealed: _appealed,
    CaseAppealDecided: _appeal_decided,
    CapacityRequested: _capacity_due,
    CapacityBreached: _capacity_due,
    CapacityIdentified: _identified,
    ProducerReadied: _readied,
    ProducerConnected: _claimed,
    ConnectionEvidenced: _evidenced,
    ConnectionSustained: _sustained,
    ConnectionEnded: _ended,
}
_ACTS = frozenset({ApplicantUpdated, ApplicantCodeReissued, ApplicantWithdrawn})
