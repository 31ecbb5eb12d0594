"""The rules about an applicant, as market knows them: a producer from the day the capacity is known, never a name.

Registration and screening are heard, in any interleaving. What each last told of the present application stands side
by side, and what may be done follows from both; whatever concerns an earlier application no longer counts.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from contracts.commands import Refused, Tick
from contracts.envelope import Context, Envelope
from contracts.events import (
    ApplicantAdmitted,
    ApplicantEvent,
    ApplicantSeatReleased,
    ApplicantWithdrawn,
    CapacityIdentified,
    ConnectionEnded,
    ConnectionEvidenced,
    ConnectionSustained,
    Event,
    OfferAccepted,
    OfferDeclined,
    OfferMade,
    ProducerConnected,
    ProducerReadied,
)
from market.domain import connection as connections
from market.domain import offer as offers
from market.domain.connection import Connect, Connection, End, RaiseEvidence
from market.domain.offer import ACCEPTED, Answer, MakeOffer, Offer

VERSION = 1
READY, OFFERED, CONNECTED, SUSTAINED, ENDED = "ready", "offered", "connected", "sustained", "ended"
STATES = (READY, OFFERED, CONNECTED, SUSTAINED, ENDED)
OTHERS = ("registration", "screening")


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """One person in one round: what the others last told, and what market made of it."""

    told: dict[str, Context] = {}  # by source: where the applicant stands
    application: int = 0  # the latest that anybody told of
    gone: bool = False  # withdrawn, or the seat is lost
    product_group: str = ""
    unit: str = ""
    monthly_band: str = ""
    skill_level: str = ""
    needs: tuple[str, ...] = ()
    readied: datetime | None = None
    offers: dict[str, Offer] = {}  # by id; of earlier applications too
    connections: dict[str, Connection] = {}


Command = MakeOffer | Answer | Connect | RaiseEvidence | End | Tick


def decide(state: State, command: Command, at: datetime) -> Sequence[Event]:
    """Somebody asks, or the clock does. Raises Refused."""
    match command:
        case Tick(now=now):
            return [
                ConnectionSustained(application=each.application, connection=name)
                for name, each in state.connections.items()
                if (due := connections.sustained_at(each, context(state).policy)) and due <= now
            ]
        case MakeOffer():
            _check_ready(state)
            offers.check(command)
            return [
                OfferMade(
                    application=state.application,
                    offer=f"o{len(state.offers) + 1}",
                    channel=command.channel,
                    lead=command.lead,
                )
            ]
        case Answer():
            offer = _offer(state, command.offer, command.lead)
            _check_ready(state)
            return [offers.answer(command.offer, offer, command)]
        case Connect():
            return _connect(state, command)
        case RaiseEvidence():
            found = _connection(state, command.connection, command.lead)
            return [connections.raise_evidence(command.connection, found, command)]
        case End():
            return [connections.end(command.connection, _connection(state, command.connection, command.lead), command)]
    return []


def react(state: State, heard: Envelope, at: datetime) -> Sequence[Event]:
    """Known capacity makes a producer; a lost seat, or a newer application, ends what is still connected."""
    said: list[Event] = [
        ConnectionEnded(application=each.application, connection=name, reason="withdrawn")
        for name, each in state.connections.items()
        if not each.ended and (state.gone or each.application < state.application)
    ]
    event = heard.event
    if isinstance(event, CapacityIdentified) and event.application == state.application and not state.readied:
        said.append(ProducerReadied(application=state.application, product_group=event.product_group))
    return said


def evolve(state: State, envelope: Envelope) -> State:
    """The state after one event, own or another's."""
    event = envelope.event
    if not isinstance(event, ApplicantEvent):
        return state
    if envelope.source in OTHERS:
        state = replace(state, told={**state.told, envelope.source: envelope.context})
    if event.application > state.application:
        state = State(
            told=state.told, application=event.application, offers=state.offers, connections=state.connections
        )
    match event:
        case OfferMade() | OfferAccepted() | OfferDeclined():
            if offer := offers.evolve(state.offers.get(event.offer), envelope):
                return replace(state, offers={**state.offers, event.offer: offer})
        case ProducerConnected() | ConnectionEvidenced() | ConnectionSustained() | ConnectionEnded():
            if connection := connections.evolve(state.connections.get(event.connection), envelope):
                return replace(state, connections={**state.connections, event.connection: connection})
    if event.application < state.application:
        return state
    match event:
        case ApplicantWithdrawn() | ApplicantSeatReleased():
            return replace(state, gone=True)
        case ApplicantAdmitted():
            return replace(state, gone=False)
        case CapacityIdentified():
            return replace(
                state,
                product_group=event.product_group,
                unit=event.unit,
                monthly_band=event.monthly_band,
                skill_level=event.skill_level,
                needs=event.needs,
            )
        case ProducerReadied():
            return replace(state, readied=envelope.time)
    return state


def indexed(state: State) -> Mapping[str, Any]:
    """Where the producer stands, who may see the offers, and when a connection will have lasted long enough."""
    stands = context(state)
    found: dict[str, Any] = {
        "scope": f"{stands.province}/{stands.county}" if stands.county else stands.province,
        "province": stands.province,
    }
    if stage := stage_of(state):
        found["state"] = stage
    if leads := sorted({each.lead for each in state.offers.values() if each.lead}):
        found["leads"] = leads
    dues = (connections.sustained_at(each, stands.policy) for each in state.connections.values())
    if due := min((each for each in dues if each), default=None):
        found["due"] = due
    return found


def context(state: State) -> Context:
    """Province, county and field are what registration last said; until it does, screening's copy is a hint."""
    return next((state.told[source] for source in OTHERS if source in state.told), Context())


def stage_of(state: State) -> str:
    """How far the present application has come: one of STATES, or nothing before the capacity is known."""
    own = [each for each in state.connections.values() if each.application == state.application]
    lasting = [each for each in own if not each.ended]
    if not state.readied:
        return ""
    if state.gone:
        return ENDED
    if any(each.sustained for each in lasting):
        return SUSTAINED
    if lasting:
        return CONNECTED
    if any(_awaits(state, name) for name in state.offers):
        return OFFERED
    return ENDED if own else READY


def _awaits(state: State, name: str) -> bool:
    """Whether an offer still waits for an answer, or for the connection that was accepted."""
    offer = state.offers[name]
    used = any(each.offer == name for each in state.connections.values())
    return offer.application == state.application and offer.answer != offers.DECLINED and not used


def _check_ready(state: State) -> None:
    if not state.readied or state.gone:
        raise Refused("not_ready")


def _connect(state: State, command: Connect) -> Sequence[Event]:
    _check_ready(state)
    connections.check(command)
    if command.offer or command.lead:
        offer = _offer(state, command.offer, command.lead)
        if offer.answer != ACCEPTED or offer.channel != command.channel:
            raise Refused("offer_not_accepted", "offer")
        if any(each.offer == command.offer for each in state.connections.values()):
            raise Refused("offer_closed", "offer")
    return [
        ProducerConnected(
            application=state.application,
            connection=f"c{len(state.connections) + 1}",
            channel=command.channel,
            counterparty_kind=command.counterparty_kind,
            evidence=command.evidence,
            offer=command.offer,
        )
    ]


def _offer(state: State, name: str, lead: str) -> Offer:
    """An offer of the present application; another lead's is as good as none."""
    offer = state.offers.get(name)
    if offer is None or offer.application != state.application or (lead and offer.lead != lead):
        raise Refused("offer_unknown", "offer")
    return offer


def _connection(state: State, name: str, lead: str) -> Connection:
    """A connection; a lead enterprise has only those that come from its own offers."""
    found = state.connections.get(name)
    if found is None or (lead and (found.offer not in state.offers or state.offers[found.offer].lead != lead)):
        raise Refused("connection_unknown", "connection")
    return found
