"""A connection of a producer to a market: a claim, as good as its evidence, sustained by the clock or ended."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from contracts.codes import CHANNELS, COUNTERPARTY_KINDS, END_REASONS
from contracts.commands import Refused
from contracts.envelope import Envelope
from contracts.events import ConnectionEnded, ConnectionEvidenced, ConnectionSustained, Event, ProducerConnected
from programme.policies import policy

COUNTED = "E2"  # from here on the ranking counts a connection
SUSTAINED = "E4"
SHOWABLE = ("E0", "E1", "E2", "E3")  # what somebody may show; E4 only time can
HIGHEST: Mapping[str, str] = {"manager": "E2", "labour_expert": "E2", "lead": "E2", "service": "E3"}  # by role


class Connection(msgspec.Struct, frozen=True, omit_defaults=True):
    """One channel that a producer sells through, since when, with what evidence."""

    application: int
    channel: str
    counterparty_kind: str
    evidence: str
    since: datetime
    offer: str = ""
    counted: datetime | None = None  # when it was first evidenced at E2 or above
    sustained: bool = False
    ended: str = ""  # why


class Connect(msgspec.Struct, frozen=True):
    """Somebody declares a connection and shows what there is to show; `lead` where the lead enterprise itself asks."""

    channel: str
    counterparty_kind: str
    evidence: str
    offer: str = ""
    role: str = ""
    lead: str = ""


class RaiseEvidence(msgspec.Struct, frozen=True):
    """Better evidence is shown."""

    connection: str
    to: str
    role: str = ""
    lead: str = ""


class End(msgspec.Struct, frozen=True):
    """The connection is over."""

    connection: str
    reason: str
    lead: str = ""


def check(command: Connect) -> None:
    """Whether this can be declared at all. Raises Refused."""
    if command.channel not in CHANNELS:
        raise Refused("code_unknown", "channel")
    if command.counterparty_kind not in COUNTERPARTY_KINDS:
        raise Refused("code_unknown", "counterparty_kind")
    check_evidence(command.evidence, command.role, "evidence")


def check_evidence(evidence: str, role: str, field: str) -> None:
    """Whether this role may show this evidence. Raises Refused."""
    if evidence not in SHOWABLE:
        raise Refused("evidence_not_allowed", field)
    if evidence > HIGHEST.get(role, "E0"):
        raise Refused("evidence_beyond_role", field, highest=HIGHEST.get(role, "E0"))


def raise_evidence(name: str, connection: Connection, command: RaiseEvidence) -> Event:
    """Only upwards, and only while it lasts. Raises Refused."""
    _check_lasts(connection)
    check_evidence(command.to, command.role, "to")
    if command.to <= connection.evidence:
        raise Refused("evidence_not_higher", "to", evidence=connection.evidence)
    return ConnectionEvidenced(
        application=connection.application, connection=name, from_=connection.evidence, to=command.to
    )


def end(name: str, connection: Connection, command: End) -> Event:
    """Ends it for one of the reasons. Raises Refused."""
    _check_lasts(connection)
    if command.reason not in END_REASONS:
        raise Refused("reason_unknown", "reason")
    return ConnectionEnded(application=connection.application, connection=name, reason=command.reason)


def sustained_at(connection: Connection, version: str) -> datetime | None:
    """When it will have lasted long enough, where that is still to be told."""
    if connection.counted is None or connection.sustained or connection.ended:
        return None
    return connection.counted + timedelta(days=policy(version).sustained_days)


def evolve(connection: Connection | None, envelope: Envelope) -> Connection | None:
    """The connection after one event about it; none before it was declared."""
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


def _check_lasts(connection: Connection) -> None:
    if connection.ended:
        raise Refused("connection_ended")
