"""A connection of a producer to a market: declared with evidence, sustained after a period, or ended."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from contracts.codes import CHANNELS, COUNTERPARTY_KINDS, END_REASONS
from contracts.commands import Refused
from contracts.envelope import Envelope
from contracts.events import ConnectionEnded, ConnectionEvidenced, ConnectionSustained, Event, ProducerConnected
from programme.policies import policy

COUNTED = "E2"  # from this step on the ranking counts a connection
SUSTAINED = "E4"
SHOWABLE = ("E0", "E1", "E2", "E3")  # steps that a caller may show; E4 is reached by time alone
HIGHEST: Mapping[str, str] = {"manager": "E2", "labour_expert": "E2", "lead": "E2", "service": "E3"}  # by role


class Connection(msgspec.Struct, frozen=True, omit_defaults=True):
    """One channel through which a producer sells, since when, with which evidence."""

    application: int
    channel: str
    counterparty_kind: str
    evidence: str
    since: datetime
    offer: str = ""
    counted: datetime | None = None  # when it was first evidenced at E2 or above
    sustained: bool = False
    ended: str = ""  # the reason


class Connect(msgspec.Struct, frozen=True):
    """Declare a connection with its evidence; `lead` is set where the lead enterprise itself is the caller."""

    channel: str
    counterparty_kind: str
    evidence: str
    offer: str = ""
    role: str = ""
    lead: str = ""


class RaiseEvidence(msgspec.Struct, frozen=True):
    """Show better evidence of a connection."""

    connection: str
    to: str
    role: str = ""
    lead: str = ""


class End(msgspec.Struct, frozen=True):
    """End a connection."""

    connection: str
    reason: str
    lead: str = ""


def check(command: Connect) -> None:
    """Check codes and evidence of a declaration. Raise Refused."""
    if command.channel not in CHANNELS:
        raise Refused("code_unknown", "channel")
    if command.counterparty_kind not in COUNTERPARTY_KINDS:
        raise Refused("code_unknown", "counterparty_kind")
    check_evidence(command.evidence, command.role, "evidence")


def check_evidence(evidence: str, role: str, field: str) -> None:
    """Check that the role may show this evidence. Raise Refused."""
    if evidence not in SHOWABLE:
        raise Refused("evidence_not_allowed", field)
    if evidence > HIGHEST.get(role, "E0"):
        raise Refused("evidence_beyond_role", field, highest=HIGHEST.get(role, "E0"))


def raise_evidence(name: str, connection: Connection, command: RaiseEvidence) -> Event:
    """Raise the evidence of a connection that has not ended. Raise Refused."""
    _check_not_ended(connection)
    check_evidence(command.to, command.role, "to")
    if command.to <= connection.evidence:
        raise Refused("evidence_not_higher", "to", evidence=connection.evidence)
    return ConnectionEvidenced(
        application=connection.application, connection=name, from_=connection.evidence, to=command.to
    )


def end(name: str, connection: Connection, command: End) -> Event:
    """End a connection for one of the reasons. Raise Refused."""
    _check_not_ended(connection)
    if command.reason not in END_REASONS:
        raise Refused("reason_unknown", "reason")
    return ConnectionEnded(application=connection.application, connection=name, reason=command.reason)


def sustained_at(connection: Connection, version: str) -> datetime | None:
    """Return when the connection becomes sustained; None if it does not count, is sustained already or has ended."""
    if connection.counted is None or connection.sustained or connection.ended:
        return None
    return connection.counted + timedelta(days=policy(version).sustained_days)


def evolve(connection: Connection | None, envelope: Envelope) -> Connection | None:
    """Return the connection after one event about it; None before it is declared."""
    match envelope.event, connection:
        case ProducerConnected() as event, _:
            return Connection(
                application=event.application,
                channel=event.channel,
                counterparty_kind=event.counterparty_kind,
                evidence=event.evidence,
                since=envelope.time,
                offer=event.offer,
                counted=envelope.time if event.evidence >= COUNTED else None,
            )
        case ConnectionEvidenced() as event, Connection():
            counted = connection.counted or (envelope.time if event.to >= COUNTED else None)
            return replace(connection, evidence=event.to, counted=counted)
        case ConnectionSustained(), Connection():
            return replace(connection, evidence=SUSTAINED, sustained=True)
        case ConnectionEnded(reason=reason), Connection():
            return replace(connection, ended=reason)
    return connection


def _check_not_ended(connection: Connection) -> None:
    if connection.ended:
        raise Refused("connection_ended")
