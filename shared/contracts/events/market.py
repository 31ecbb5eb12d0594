"""Events of market: offers, connections to a market and the evidence for them."""

from typing import Annotated

import msgspec

from contracts.events.event import ApplicantEvent, Event
from contracts.events.fields import (
    FEW,
    MANY,
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
    """A lead enterprise joined the programme. Subject: the lead enterprise; `fields` are its job fields."""

    TYPE = "ir.peyvand.market.lead.enlisted.v1"
    KIND = "lead"
    services: Annotated[tuple[LeadService, ...], FEW]
    fields: Annotated[tuple[JobFieldCode, ...], MANY]


class ProducerReadied(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The applicant's capacity is known, so that the applicant can be offered a market."""

    TYPE = "ir.peyvand.market.producer.readied.v1"
    product_group: ProductGroup


class OfferMade(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A lead enterprise or an officer offered a sales channel to the producer."""

    TYPE = "ir.peyvand.market.offer.made.v1"
    offer: OfferNumber
    channel: Channel
    lead: LeadId = ""


class OfferAccepted(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The producer accepted an offer."""

    TYPE = "ir.peyvand.market.offer.accepted.v1"
    offer: OfferNumber


class OfferDeclined(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The producer declined an offer."""

    TYPE = "ir.peyvand.market.offer.declined.v1"
    offer: OfferNumber
    reason: DeclineReason


class ProducerConnected(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The producer sells through a channel. How reliable this is depends on `evidence`."""

    TYPE = "ir.peyvand.market.producer.connected.v1"
    connection: ConnectionNumber
    channel: Channel
    counterparty_kind: CounterpartyKind
    evidence: Evidence
    offer: OfferReference = ""


class ConnectionEvidenced(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Stronger evidence of a connection was recorded."""

    TYPE = "ir.peyvand.market.connection.evidenced.v1"
    connection: ConnectionNumber
    from_: Evidence = msgspec.field(name="from")
    to: Evidence


class ConnectionSustained(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The connection is still active 90 days after it was first evidenced at E2 or above."""

    TYPE = "ir.peyvand.market.connection.sustained.v1"
    connection: ConnectionNumber


class ConnectionEnded(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A connection ended; the producer no longer sells through it."""

    TYPE = "ir.peyvand.market.connection.ended.v1"
    connection: ConnectionNumber
    reason: EndReason
