"""How producers, offers, connections and lead enterprises read from outside, and what is asked of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, Field

from contracts.commands import Refused
from contracts.envelope import Envelope
from contracts.events import OfferMade
from kernel.commands import Result
from kernel.record import Record
from market.domain import lead as leads
from market.domain import producer as producers
from market.domain.connection import Connection
from market.domain.offer import Offer
from market.domain.producer import State
from programme.messages import message_text
from web.app import Body

LIST = 500  # items that may come at once
Stage = Literal["ready", "offered", "connected", "sustained", "ended"]


class NewLead(Body):
    """A lead enterprise that joins."""

    name: str = Field(min_length=2, max_length=120, examples=["بافته‌های کویر"])
    services: list[str] = Field(min_length=1, max_length=5, examples=[["training", "sale"]])
    fields: list[str] = Field(min_length=1, max_length=700, examples=[["JF001", "JF003"]])
    province: str = Field(max_length=8, examples=["IR-20"])


class NewOffer(Body):
    """A channel that is offered to a producer, by whom."""

    channel: str = Field(max_length=40, examples=["lead_enterprise"])
    lead: str = Field(default="", max_length=64, description="The lead enterprise; empty where an officer offers.")


class Acceptance(Body):
    """The producer's answer."""

    accepted: bool
    reason: str = Field(default="", max_length=40, description="Why it was declined.", examples=["price"])


class NewConnection(Body):
    """A channel that a producer sells through, with what there is to show for it."""

    channel: str = Field(max_length=40, examples=["lead_enterprise"])
    counterparty_kind: str = Field(max_length=40, examples=["company"])
    evidence: str = Field(max_length=4, examples=["E2"])
    offer: str = Field(default="", max_length=80, description="The accepted offer it comes from, if it does.")


class ListedConnection(NewConnection):
    """One connection of a list."""

    producer: str = Field(max_length=64)


class Connections(Body):
    """Connections of many producers; each stands for itself."""

    connections: list[ListedConnection] = Field(max_length=LIST)


class Better(Body):
    """Better evidence."""

    to: str = Field(max_length=4, examples=["E3"])


class Ending(Body):
    """Why a connection is over."""

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
    """A connection, as good as its evidence."""

    connection: str
    channel: str
    counterparty_kind: str
    evidence: str
    since: datetime
    counted: datetime | None = Field(description="Since when its evidence is E2 or better.")
    sustained: bool
    ended: str
    offer: str


class Told(BaseModel):
    """Something that market said about the producer."""

    sequence: int
    type: str
    time: datetime
    actor: str
    data: dict[str, Any]


class Producer(Row):
    """A producer with everything that market knows; who they are is not among it."""

    application: int
    unit: str
    monthly_band: str
    skill_level: str
    needs: list[str]
    offers: list[Offered]
    connections: list[Connected]


class ProducerFile(Producer):
    """A producer and their history."""

    history: list[Told]


class OfferAnswer(BaseModel):
    """An offer, and where the producer stands now."""

    offer: str
    producer: str
    state: Stage
    answer: Literal["open", "accepted", "declined"]


class ConnectionAnswer(BaseModel):
    """A connection, and where the producer stands now."""

    connection: str
    producer: str
    state: Stage
    evidence: str
    ended: str


class Outcome(BaseModel):
    """What became of one item of a list: the connection, or why it was refused."""

    producer: str
    connection: str | None = None
    state: Stage | None = None
    repeated: bool | None = None
    code: str | None = None
    field: str | None = None
    detail: str | None = None
    detail_fa: str | None = None


class Outcomes(BaseModel):
    """What became of each item, in the order in which they came."""

    items: list[Outcome]
    done: int
    refused: int


def lead(record: Record) -> Lead:
    """The lead enterprise with its name."""
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
    """The producer as in a list."""
    return Row.model_construct(**_row(record))


def producer(record: Record, only_lead: str = "") -> Producer:
    """The producer as an officer sees them; a lead enterprise sees its own offers and connections only."""
    return Producer.model_construct(**_row(record), **_rest(record, only_lead))


def producer_file(record: Record, history: Sequence[Envelope]) -> ProducerFile:
    """The producer and everything that was said about them."""
    told = [
        Told(sequence=e.sequence, type=e.event.TYPE, time=e.time, actor=e.actor, data=msgspec.to_builtins(e.event))
        for e in history
    ]
    return ProducerFile.model_construct(**_row(record), **_rest(record, ""), history=told)


def offer_answer(record: Record, name: str) -> OfferAnswer:
    """An offer after it was made or answered."""
    return OfferAnswer.model_construct(
        offer=full(record.subject, name),
        producer=record.subject,
        state=producers.stage_of(record.state),
        answer=record.state.offers[name].answer,
    )


def connection_answer(record: Record, name: str) -> ConnectionAnswer:
    """A connection after it was declared, evidenced or ended."""
    found: Connection = record.state.connections[name]
    return ConnectionAnswer.model_construct(
        connection=full(record.subject, name),
        producer=record.subject,
        state=producers.stage_of(record.state),
        evidence=found.evidence,
        ended=found.ended,
    )


def outcome(subject: str, became: Result | Exception, name: str = "") -> Outcome:
    """What became of one item."""
    if isinstance(became, Result):
        return Outcome.model_construct(
            producer=subject,
            connection=full(subject, name) if name else None,
            state=producers.stage_of(became.record.state),
            repeated=became.repeated or None,
        )
    code, details = getattr(became, "code", "idempotency_key_reused"), getattr(became, "details", {})
    return Outcome(
        producer=subject,
        code=code,
        field=getattr(became, "field", "") or None,
        detail=message_text(code, "en", **details),
        detail_fa=message_text(code, "fa", **details),
    )


def full(subject: str, name: str) -> str:
    """`o1` of a producer -> `<producer>.o1`, as it is named outside."""
    return f"{subject}.{name}"


def behind(after: tuple[Any, ...] | None) -> str:
    """The id behind which a list goes on. Raises Refused."""
    if after is None:
        return ""
    if len(after) != 1 or not isinstance(after[0], str):
        raise Refused("cursor_invalid", "after")
    return after[0]


def made(done: Result, key: str, history: Sequence[Envelope]) -> str:
    """The offer or connection that a request made; a repeated one is answered from what was said then."""
    said = done.events[-1] if done.events else _said_then(done.record, key, history)
    return said.event.offer if isinstance(said.event, OfferMade) else said.event.connection  # type: ignore[attr-defined]


def _said_then(record: Record, key: str, history: Sequence[Envelope]) -> Envelope:
    return history[next(each.sequence for each in record.answered if each.key == key) - 1]


def _row(record: Record) -> dict[str, Any]:
    state: State = record.state
    stands = producers.context(state)
    return {
        "id": record.subject,
        "state": producers.stage_of(state),
        "province": stands.province,
        "county": stands.county,
        "field": stands.field,
        "product_group": state.product_group,
        "readied": state.readied,
        "version": record.version,
    }


def _rest(record: Record, only_lead: str) -> dict[str, Any]:
    state: State = record.state

    def shown(offer: Offer | None) -> bool:
        return not only_lead or (offer is not None and offer.lead == only_lead)

    return {
        "application": state.application,
        "unit": state.unit,
        "monthly_band": state.monthly_band,
        "skill_level": state.skill_level,
        "needs": list(state.needs),
        "offers": [
            Offered(
                offer=full(record.subject, name),
                channel=each.channel,
                lead=each.lead,
                made=each.made,
                answer=each.answer,  # type: ignore[arg-type]  # one of the three
                reason=each.reason,
            )
            for name, each in state.offers.items()
            if shown(each)
        ],
        "connections": [
            Connected(
                connection=full(record.subject, name),
                channel=each.channel,
                counterparty_kind=each.counterparty_kind,
                evidence=each.evidence,
                since=each.since,
                counted=each.counted,
                sustained=each.sustained,
                ended=each.ended,
                offer=full(record.subject, each.offer) if each.offer else "",
            )
            for name, each in state.connections.items()
            if shown(state.offers.get(each.offer))
        ],
    }
