"""Rules of market about an applicant: a producer once the capacity is known, no identity.

Market consumes registration and screening in any interleaving. The state keeps the latest data of each source side by
side, and decisions depend on both. Events about an earlier application than the present one are ignored. Of an erased
applicant the state keeps what reactions to late events need, so that every order of events leads to the same end.
"""

from collections.abc import Mapping, Sequence, Sized
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from contracts.commands import EventWithContext, Refused, Tick
from contracts.envelope import Context, Envelope
from contracts.erasure import evolve_or_empty, in_context
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
MAX_NAMED = 500  # offers of a producer, and connections: a record has space for what must still come
MAX_OFFERS = 10  # of one lead enterprise to one producer for one application, so that none takes the space of others
SOURCES = ("registration", "screening")  # in the order in which their context is preferred


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """One applicant in one round: the latest data of each source, with offers and connections."""

    contexts: dict[str, Context] = {}  # the latest context by source
    application: int = 0  # the latest in any event
    seat_lost: bool = False  # or the application is withdrawn
    product_group: str = ""
    unit: str = ""
    monthly_band: str = ""
    skill_level: str = ""
    needs: tuple[str, ...] = ()
    readied: datetime | None = None
    offers: dict[str, Offer] = {}  # by id, those of earlier applications included
    connections: dict[str, Connection] = {}
    erased: bool = False


Command = MakeOffer | Answer | Connect | RaiseEvidence | End | Tick


def decide(state: State, command: Command, at: datetime) -> Sequence[Event]:
    """Return the events that a command or a tick causes. Raise Refused."""
    match command:
        case Tick() if state.erased:
            return []
        case _ if state.erased:
            raise Refused("not_ready")
        case Tick(now=now):
            return [
                ConnectionSustained(application=each.application, connection=name)
                for name, each in state.connections.items()
                if (due := connections.sustained_at(each, context(state).policy)) and due <= now
            ]
        case MakeOffer():
            _check_ready(state)
            offers.check(command)
            _check_offers(state, command.lead)
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
            connection = _connection(state, command.connection, command.lead)
            return [connections.raise_evidence(command.connection, connection, command)]
        case End():
            return [connections.end(command.connection, _connection(state, command.connection, command.lead), command)]
    return []


def react(state: State, envelope: Envelope, at: datetime) -> Sequence[Event | EventWithContext]:
    """Ready a producer whose capacity is known; end connections with the seat or by a newer application."""
    return in_context(state, envelope, _react(state, envelope))


def _react(state: State, envelope: Envelope) -> Sequence[Event]:
    events: list[Event] = [
        ConnectionEnded(application=each.application, connection=name, reason="withdrawn")
        for name, each in state.connections.items()
        if not each.ended and (state.seat_lost or each.application < state.application)
    ]
    event = envelope.event
    if isinstance(event, CapacityIdentified) and event.application == state.application and not state.readied:
        events.append(ProducerReadied(application=state.application, product_group=event.product_group))
    return events


def evolve(state: State, envelope: Envelope) -> State:
    """Return the state after one event of market, registration or screening."""
    return evolve_or_empty(state, envelope, _evolve, _emptied)


def _emptied(state: State) -> State:
    """Keep connections only until the withdrawal, which precedes the erasure and may come later, ends them."""
    return State(
        contexts={source: each.of_province() for source, each in state.contexts.items()},
        application=state.application,
        seat_lost=state.seat_lost,
        connections={name: each for name, each in state.connections.items() if not each.ended},
        erased=True,
    )


def _evolve(state: State, envelope: Envelope) -> State:
    event = envelope.event
    if not isinstance(event, ApplicantEvent):
        return state
    if envelope.source in SOURCES:
        state = replace(state, contexts={**state.contexts, envelope.source: envelope.context})
    if event.application > state.application:
        state = State(
            contexts=state.contexts, application=event.application, offers=state.offers, connections=state.connections
        )
    match event:
        case OfferMade() | OfferAccepted() | OfferDeclined():
            offer = offers.evolve(state.offers.get(event.offer), envelope)
            if offer is None:
                return state
            return replace(state, offers={**state.offers, event.offer: offer})
        case ProducerConnected() | ConnectionEvidenced() | ConnectionSustained() | ConnectionEnded():
            connection = connections.evolve(state.connections.get(event.connection), envelope)
            if connection is None:
                return state
            return replace(state, connections={**state.connections, event.connection: connection})
    return _evolve_application(state, envelope) if event.application == state.application else state


def _evolve_application(state: State, envelope: Envelope) -> State:
    """Return the state after an event about the present application that concerns no offer or connection."""
    match envelope.event:
        case ApplicantWithdrawn() | ApplicantSeatReleased():
            return replace(state, seat_lost=True)
        case ApplicantAdmitted():
            return replace(state, seat_lost=False)
        case CapacityIdentified() as event:
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
    """Return area, state and lead enterprises; `due` is the next time at which a connection becomes sustained.

    No query finds an erased applicant.
    """
    if state.erased:
        return {}
    current = context(state)
    fields: dict[str, Any] = {
        "scope": f"{current.province}/{current.county}" if current.county else current.province,
        "province": current.province,
    }
    if status := status_of(state):
        fields["state"] = status
    if leads := sorted({each.lead for each in state.offers.values() if each.lead}):
        fields["leads"] = leads
    times = (connections.sustained_at(each, current.policy) for each in state.connections.values())
    if due := min((each for each in times if each), default=None):
        fields["due"] = due
    return fields


def _check_offers(state: State, lead: str) -> None:
    """Raise Refused: offers_full, record_full."""
    own = [each for each in state.offers.values() if each.lead == lead and each.application == state.application]
    if len(own) >= MAX_OFFERS:
        raise Refused("offers_full", limit=MAX_OFFERS)
    _check_space(state.offers)


def _check_space(named: Sized) -> None:
    """Raise Refused: record_full."""
    if len(named) >= MAX_NAMED:
        raise Refused("record_full", limit=MAX_NAMED)


def context(state: State) -> Context:
    """Return the latest context from registration; before its first event that of screening."""
    return next((state.contexts[source] for source in SOURCES if source in state.contexts), Context())


def status_of(state: State) -> str:
    """Return the state of the present application: one of STATES; empty before the capacity is known."""
    own = [each for each in state.connections.values() if each.application == state.application]
    active = [each for each in own if not each.ended]
    if not state.readied:
        return ""
    if state.seat_lost:
        return ENDED
    if any(each.sustained for each in active):
        return SUSTAINED
    if active:
        return CONNECTED
    if any(_is_pending(state, name) for name in state.offers):
        return OFFERED
    return ENDED if own else READY


def _is_pending(state: State, name: str) -> bool:
    """Return whether an offer of the present application is open, or accepted without a connection yet."""
    offer = state.offers[name]
    used = any(each.offer == name for each in state.connections.values())
    return offer.application == state.application and offer.answer in (offers.OPEN, offers.ACCEPTED) and not used


def _check_ready(state: State) -> None:
    if not state.readied or state.seat_lost:
        raise Refused("not_ready")


def _connect(state: State, command: Connect) -> Sequence[Event]:
    _check_ready(state)
    connections.check(command)
    _check_space(state.connections)
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
    """Return an offer of the present application; that of another lead enterprise is unknown. Raise Refused."""
    offer = state.offers.get(name)
    if offer is None or offer.application != state.application or (lead and offer.lead != lead):
        raise Refused("offer_unknown", "offer")
    return offer


def _connection(state: State, name: str, lead: str) -> Connection:
    """Return a connection; a lead enterprise knows only those from its own offers. Raise Refused."""
    found = state.connections.get(name)
    if found is None or (lead and (found.offer not in state.offers or state.offers[found.offer].lead != lead)):
        raise Refused("connection_unknown", "connection")
    return found
