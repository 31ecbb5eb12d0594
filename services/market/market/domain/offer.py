"""An offer of a channel to a producer: made once, accepted or declined once."""

from datetime import datetime

import msgspec
from msgspec.structs import replace

from contracts.codes import CHANNELS, DECLINE_REASONS
from contracts.commands import Refused
from contracts.envelope import Envelope
from contracts.events import Event, OfferAccepted, OfferDeclined, OfferMade

OPEN, ACCEPTED, DECLINED = "open", "accepted", "declined"


class Offer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A channel offered by a lead enterprise or an officer, and the producer's answer."""

    application: int
    channel: str
    made: datetime
    lead: str = ""
    answer: str = OPEN
    reason: str = ""  # for which it was declined


class MakeOffer(msgspec.Struct, frozen=True):
    """Offer a channel, as a lead enterprise or on behalf of one."""

    channel: str
    lead: str = ""


class Answer(msgspec.Struct, frozen=True):
    """Record the producer's answer; `lead` is set where the lead enterprise itself is the caller."""

    offer: str
    accepted: bool
    reason: str = ""
    lead: str = ""


def check(command: MakeOffer) -> None:
    """Check the channel of an offer. Raise Refused."""
    if command.channel not in CHANNELS:
        raise Refused("code_unknown", "channel")


def answer(name: str, offer: Offer, command: Answer) -> Event:
    """Accept or decline an open offer. Raise Refused."""
    if offer.answer != OPEN:
        raise Refused("offer_closed")
    if command.accepted:
        return OfferAccepted(application=offer.application, offer=name)
    if command.reason not in DECLINE_REASONS:
        raise Refused("reason_unknown", "reason")
    return OfferDeclined(application=offer.application, offer=name, reason=command.reason)


def evolve(offer: Offer | None, envelope: Envelope) -> Offer | None:
    """Return the offer after one event about it; None before it is made."""
    match envelope.event, offer:
        case OfferMade() as event, _:
            return Offer(application=event.application, channel=event.channel, made=envelope.time, lead=event.lead)
        case OfferAccepted(), Offer():
            return replace(offer, answer=ACCEPTED)
        case OfferDeclined(reason=reason), Offer():
            return replace(offer, answer=DECLINED, reason=reason)
    return offer
