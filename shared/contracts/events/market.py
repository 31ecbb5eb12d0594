"""What market says: who sells where, with what evidence."""

import msgspec

from contracts.events.event import ApplicantEvent, Event
from contracts.events.words import (
    Channel,
    ConnectionNumber,
    CounterpartyKind,
    DeclineReason,
    EndReason,
    Evidence,
    JobFieldCode,
    LeadId,
    LeadService,
    OfferNumber,
    OfferReference,
    ProductGroup,
)


class LeadEnlisted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A lead enterprise joined, able to train, counsel or buy. Subject: the lead enterprise."""

    TYPE = "ir.peyvand.market.lead.enlisted.v1"
    services: tuple[LeadService, ...]
    fields: tuple[JobFieldCode, ...]  # job fields it works in


class ProducerReadied(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The applicant's capacity is known: a producer who can be offered a market."""

    TYPE = "ir.peyvand.market.producer.readied.v1"
    product_group: ProductGroup


class OfferMade(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A lead enterprise or an officer offered this producer a channel."""

    TYPE = "ir.peyvand.market.offer.made.v1"
    offer: OfferNumber
    channel: Channel
    lead: LeadId = ""


class OfferAccepted(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The producer accepted the offer."""

    TYPE = "ir.peyvand.market.offer.accepted.v1"
    offer: OfferNumber


class OfferDeclined(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The producer declined the offer."""

    TYPE = "ir.peyvand.market.offer.declined.v1"
    offer: OfferNumber
    reason: DeclineReason


class ProducerConnected(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The producer sells through a channel: a claim, as good as its evidence (E0 declared ... E4 sustained)."""

    TYPE = "ir.peyvand.market.producer.connected.v1"
    connection: ConnectionNumber
    channel: Channel
    counterparty_kind: CounterpartyKind
    evidence: Evidence
    offer: OfferReference = ""  # the accepted offer it comes from


class ConnectionEvidenced(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Better evidence of a connection was shown."""

    TYPE = "ir.peyvand.market.connection.evidenced.v1"
    connection: ConnectionNumber
    from_: Evidence = msgspec.field(name="from")
    to: Evidence


class ConnectionSustained(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The connection is still active 90 days after it was first evidenced at E2 or above."""

    TYPE = "ir.peyvand.market.connection.sustained.v1"
    connection: ConnectionNumber


class ConnectionEnded(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The connection is over."""

    TYPE = "ir.peyvand.market.connection.ended.v1"
    connection: ConnectionNumber
    reason: EndReason
