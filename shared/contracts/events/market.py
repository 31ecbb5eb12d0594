"""What market says: who sells where, with what evidence."""

import msgspec

from contracts.events.event import ApplicantEvent, Event


class LeadEnlisted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A lead enterprise joined, able to train, counsel or buy. Subject: the lead enterprise."""

    TYPE = "ir.peyvand.market.lead.enlisted.v1"
    services: tuple[str, ...]  # training | counselling | sale
    fields: tuple[str, ...]  # job fields it works in


class ProducerReadied(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The applicant's capacity is known: a producer who can be offered a market."""

    TYPE = "ir.peyvand.market.producer.readied.v1"
    product_group: str


class OfferMade(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A lead enterprise or an officer offered this producer a channel."""

    TYPE = "ir.peyvand.market.offer.made.v1"
    offer: str
    channel: str
    lead: str = ""


class OfferAccepted(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The producer accepted the offer."""

    TYPE = "ir.peyvand.market.offer.accepted.v1"
    offer: str


class OfferDeclined(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The producer declined the offer."""

    TYPE = "ir.peyvand.market.offer.declined.v1"
    offer: str
    reason: str  # price | distance | capacity | terms | other


class ProducerConnected(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The producer sells through a channel: a claim, as good as its evidence (E0 declared ... E4 sustained)."""

    TYPE = "ir.peyvand.market.producer.connected.v1"
    connection: str
    channel: str
    counterparty_kind: str  # lead_enterprise | company | cooperative | marketplace | public_body | consumer
    evidence: str  # E0 | E1 | E2 | E3
    offer: str = ""  # the accepted offer it comes from


class ConnectionEvidenced(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Better evidence of a connection was shown."""

    TYPE = "ir.peyvand.market.connection.evidenced.v1"
    connection: str
    from_: str = msgspec.field(name="from")
    to: str


class ConnectionSustained(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The connection is still active 90 days after it was first evidenced at E2 or above."""

    TYPE = "ir.peyvand.market.connection.sustained.v1"
    connection: str


class ConnectionEnded(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The connection is over."""

    TYPE = "ir.peyvand.market.connection.ended.v1"
    connection: str
    reason: str  # completed | price | quality | delivery | withdrawn | other
