"""Request and response models of the market API."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, Field

from contracts.envelope import Envelope, type_of
from kernel.commands import Outcome as CommandOutcome
from kernel.commands import Result
from kernel.record import Record
from market.domain import lead as leads
from market.domain import producer as producers
from market.domain.connection import Connection
from market.domain.offer import Offer
from market.domain.producer import State
from web.app import Body
from web.idempotency import ItemOutcome
from web.problems import refusal_fields

LIST = 500  # items that may come at once
Stage = Literal["ready", "offered", "connected", "sustained", "ended"]


class NewLead(Body):
    """A lead enterprise to enlist."""

    name: str = Field(min_length=2, max_length=120, examples=["بافته‌های کویر"])
    services: list[str] = Field(min_length=1, max_length=5, examples=[["training", "sale"]])
    fields: list[str] = Field(min_length=1, max_length=700, examples=[["JF001", "JF003"]])
    province: str = Field(max_length=8, examples=["IR-20"])


class NewOffer(Body):
    """A channel offered to a producer, and the lead enterprise that offers it."""

    channel: str = Field(max_length=40, examples=["lead_enterprise"])
    lead: str = Field(default="", max_length=64, description="The lead enterprise; empty if an officer offers.")


class Acceptance(Body):
    """The producer's answer."""

    accepted: bool
    reason: str = Field(default="", max_length=40, description="Why it was declined.", examples=["price"])


class NewConnection(Body):
    """A channel through which a producer sells, with its evidence."""

    channel: str = Field(max_length=40, examples=["lead_enterprise"])
    counterparty_kind: str = Field(max_length=40, examples=["company"])
    evidence: str = Field(max_length=4, examples=["E2"])
    offer: str = Field(default="", max_length=80, description="The accepted offer from which it comes, if any.")


class ListedConnection(NewConnection):
    """One connection in a list."""

    producer: str = Field(max_length=64)


class Connections(Body):
    """Connections of many producers, each independent of the others."""

    connections: list[ListedConnection] = Field(max_length=LIST)


class Evidence(Body):
    """Better evidence of a connection."""

    to: str = Field(max_length=4, examples=["E3"])


class Ending(Body):
    """Why a connection ends."""

    reason: str = Field(max_length=40, examples=["completed"])


class Lead(BaseModel):
    """A lead enterprise."""

    id: str
    name: str
    services: list[str]
    fields: list[str]
    province: str
    enlisted: datetime


class Row(BaseModel):
    """A producer in a list."""

    id: str
    state: Stage
    province: str
    county: str
    field: str
    product_group: str
    readied: datetime | None
    version: int


class Offered(BaseModel):
    """An offer and the answer to it."""

    offer: str
    channel: str
    lead: str
    made: datetime
    answer: Literal["open", "accepted", "declined"]
    reason: str


class Connected(BaseModel):
    """A connection and its evidence."""

    connection: str
    channel: str
    counterparty_kind: str
    evidence: str
    since: datetime
    counted: datetime | None = Field(description="Since when its evidence is E2 or better.")
    sustained: bool
    ended: str
    offer: str


class HistoryItem(BaseModel):
    """An event that market emitted about the producer."""

    sequence: int
    type: str
    time: datetime
    actor: str
    data: dict[str, Any]


class Producer(Row):
    """A producer with all data of market; no identity."""

    application: int
    unit: str
    monthly_band: str
    skill_level: str
    needs: list[str]
    offers: list[Offered]
    connections: list[Connected]


class ProducerFile(Producer):
    """A producer and its history."""

    history: list[HistoryItem]


class OfferAnswer(BaseModel):
    """An offer and the state of its producer."""

    offer: str
    producer: str
    state: Stage
    answer: Literal["open", "accepted", "declined"]


class ConnectionAnswer(BaseModel):
    """A connection and the state of its producer."""

    connection: str
    producer: str
    state: Stage
    evidence: str
    ended: str


class Outcome(ItemOutcome):
    """The outcome of one item: the connection, or why it was refused."""

    producer: str
    connection: str | None = None
    state: Stage | None = None


def lead(record: Record) -> Lead:
    """Return a lead enterprise with its name."""
    state: leads.State = record.state
    return Lead.model_construct(
        id=record.subject.removeprefix("lead:"),
        name=record.private.content.get("name", ""),
        services=list(state.services),
        fields=list(state.fields),
        province=state.province,
        enlisted=state.enlisted,
    )


def row(record: Record) -> Row:
    """Return a producer as in a list."""
    return Row.model_construct(**_row(record))


def producer_file(record: Record, history: Sequence[Envelope], lead: str = "") -> ProducerFile:
    """Return a producer with its details and history; with `lead` the offers and connections of this one only."""
    items = [
        HistoryItem(
            sequence=e.sequence, type=type_of(e.event), time=e.time, actor=e.actor, data=msgspec.to_builtins(e.event)
        )
        for e in history
    ]
    return ProducerFile.model_construct(**_row(record), **_details(record, lead), history=items)


def offer_answer(record: Record, name: str) -> OfferAnswer:
    """Return an offer after it was made or answered."""
    return OfferAnswer.model_construct(
        offer=public_id(record.subject, name),
        producer=record.subject,
        state=producers.status_of(record.state),
        answer=record.state.offers[name].answer,
    )


def connection_answer(record: Record, name: str) -> ConnectionAnswer:
    """Return a connection after it was declared, evidenced or ended."""
    connection: Connection = record.state.connections[name]
    return ConnectionAnswer.model_construct(
        connection=public_id(record.subject, name),
        producer=record.subject,
        state=producers.status_of(record.state),
        evidence=connection.evidence,
        ended=connection.ended,
    )


def outcome(subject: str, result: CommandOutcome, name: str = "") -> Outcome:
    """Return the outcome of one item; `name` is the connection that it created."""
    if isinstance(result, Result):
        return Outcome.model_construct(
            producer=subject,
            connection=public_id(subject, name) if name else None,
            state=producers.status_of(result.record.state),
        )
    return Outcome.model_construct(producer=subject, **refusal_fields(result))


def public_id(subject: str, name: str) -> str:
    """Return the id of an offer or connection outside the service: `o1` of a producer -> `<producer>.o1`."""
    return f"{subject}.{name}"


def _row(record: Record) -> dict[str, Any]:
    state: State = record.state
    context = producers.context(state)
    return {
        "id": record.subject,
        "state": producers.status_of(state),
        "province": context.province,
        "county": context.county,
        "field": context.field,
        "product_group": state.product_group,
        "readied": state.readied,
        "version": record.version,
    }


def _details(record: Record, lead: str) -> dict[str, Any]:
    state: State = record.state

    def is_shown(offer: Offer | None) -> bool:
        return not lead or (offer is not None and offer.lead == lead)

    return {
        "application": state.application,
        "unit": state.unit,
        "monthly_band": state.monthly_band,
        "skill_level": state.skill_level,
        "needs": list(state.needs),
        "offers": [
            Offered(
                offer=public_id(record.subject, name),
                channel=each.channel,
                lead=each.lead,
                made=each.made,
                answer=each.answer,  # type: ignore[arg-type]  # one of the three
                reason=each.reason,
            )
            for name, each in state.offers.items()
            if is_shown(each)
        ],
        "connections": [
            Connected(
                connection=public_id(record.subject, name),
                channel=each.channel,
                counterparty_kind=each.counterparty_kind,
                evidence=each.evidence,
                since=each.since,
                counted=each.counted,
                sustained=each.sustained,
                ended=each.ended,
                offer=public_id(record.subject, each.offer) if each.offer else "",
            )
            for name, each in state.connections.items()
            if is_shown(state.offers.get(each.offer))
        ],
    }
