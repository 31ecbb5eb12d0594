"""Producers, what they are offered, and what they are connected to."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query

from base.clock import Clock
from contracts.commands import Refused
from contracts.subjects import lead_subject
from kernel.commands import CommandMetadata, Result, execute
from kernel.record import Record
from kernel.store import Store
from market.api import views
from market.domain.connection import HIGHEST, Connect, End, RaiseEvidence
from market.domain.offer import Answer, MakeOffer
from market.domain.producer import READY
from market.store import Questions
from programme.reference import province as known_province
from security.auth import Principal
from web.app import Etag, Page, Paging, allow, etagged, idempotent, paged
from web.idempotency import execute_each

READERS = ("manager", "labour_expert", "lead", "auditor")
OFFERERS = ("manager", "lead")
CONNECTORS = ("manager", "lead", "service")
WITNESSES = tuple(HIGHEST)  # who may show evidence, each up to a step of their own
LIST_BODY = 512 << 10  # bytes


class Sight(msgspec.Struct, frozen=True):
    """What somebody may see and do: a scope, and the lead enterprise they speak for (then only what is its own)."""

    scope: str
    lead: str = ""


def router(store: Store, questions: Questions, clock: Clock) -> APIRouter:
    """The routes of producers, offers and connections."""
    api = APIRouter(prefix="/v1", tags=["producers"])

    @api.get("/producers")
    async def producers(
        principal: Annotated[Principal, allow(*READERS)],
        paging: Annotated[Paging, paged()],
        state: Annotated[views.Stage, Query(description="How far they have come.")] = "ready",
        province: Annotated[str, Query(max_length=8, description="Within the caller's own scope.")] = "",
    ) -> Page[views.Row]:
        """Producers in one state; a lead enterprise sees who is ready in its province, and else its own."""
        sight = await _sight(principal)
        where = known_province(province).code if province else ""
        if where and sight.scope and where != sight.scope.partition("/")[0]:
            return paging.page([], after=lambda row: (row.id,))
        own = sight.lead if state != READY else ""
        found = await questions.producers(sight.scope, state, paging.limit + 1, views.behind(paging.after), own, where)
        return paging.page([views.row(each) for each in found], after=lambda row: (row.id,))

    @api.get("/producers/{id}")
    async def producer(
        id: str, principal: Annotated[Principal, allow(*READERS)], etag: Annotated[Etag, etagged()]
    ) -> views.ProducerFile:
        """One producer with offers, connections and everything that market said about them."""
        sight = await _sight(principal)
        record = await _found(id, sight)
        etag.match(record.version)
        if sight.lead:
            return views.ProducerFile.model_construct(**views.producer(record, sight.lead).__dict__, history=[])
        return views.producer_file(record, await questions.history(id))

    @api.post("/producers/{id}/offers", status_code=201)
    async def offer(
        id: str,
        body: views.NewOffer,
        principal: Annotated[Principal, allow(*OFFERERS)],
        ask: Annotated[CommandMetadata, idempotent()],
    ) -> views.OfferAnswer:
        """Offers a ready producer a channel; a lead enterprise only for itself."""
        sight = await _sight(principal)
        await _found(id, sight)
        lead = body.lead or sight.lead
        if sight.lead and lead != sight.lead:
            raise Refused("lead_unknown", "lead")
        if lead and not sight.lead and await questions.lead(lead_subject(lead)) is None:
            raise Refused("lead_unknown", "lead")
        done = await execute(store, id, MakeOffer(body.channel, lead), clock, ask)
        return views.offer_answer(done.record, await _made(done, ask))

    @api.post("/offers/{id}/acceptance")
    async def answer(
        id: str,
        body: views.Acceptance,
        principal: Annotated[Principal, allow(*OFFERERS)],
        ask: Annotated[CommandMetadata, idempotent()],
    ) -> views.OfferAnswer:
        """Records what the producer said to an offer, once."""
        sight = await _sight(principal)
        subject, name = await _part(id, sight, "offer_unknown")
        command = Answer(name, body.accepted, body.reason, sight.lead)
        return views.offer_answer((await execute(store, subject, command, clock, ask)).record, name)

    @api.post("/connections/batch", response_model_exclude_none=True, max_body_size=LIST_BODY)
    async def connect_list(
        body: views.Connections,
        principal: Annotated[Principal, allow("manager")],
        ask: Annotated[CommandMetadata, idempotent()],
    ) -> views.Outcomes:
        """Declares connections of up to 500 producers; each item is answered for itself, in order."""
        items = [(each.producer, _connect(each.producer, each, principal, "")) for each in body.connections]
        return await _many(principal.scope, items, ask)

    @api.post("/producers/{id}/connections", status_code=201)
    async def connect(
        id: str,
        body: views.NewConnection,
        principal: Annotated[Principal, allow(*CONNECTORS)],
        ask: Annotated[CommandMetadata, idempotent()],
    ) -> views.ConnectionAnswer:
        """Declares that a ready producer sells through a channel; a lead enterprise from its own accepted offers."""
        sight = await _sight(principal)
        await _found(id, sight)
        done = await execute(store, id, _connect(id, body, principal, sight.lead), clock, ask)
        return views.connection_answer(done.record, await _made(done, ask))

    @api.post("/connections/{id}/evidence")
    async def evidence(
        id: str,
        body: views.Better,
        principal: Annotated[Principal, allow(*WITNESSES)],
        ask: Annotated[CommandMetadata, idempotent()],
    ) -> views.ConnectionAnswer:
        """Shows better evidence of a connection: E2 at most for officers and lead enterprises, E3 for services."""
        sight = await _sight(principal)
        subject, name = await _part(id, sight, "connection_unknown")
        command = RaiseEvidence(name, body.to, _role(principal), sight.lead)
        return views.connection_answer((await execute(store, subject, command, clock, ask)).record, name)

    @api.post("/connections/{id}/end")
    async def end(
        id: str,
        body: views.Ending,
        principal: Annotated[Principal, allow(*OFFERERS)],
        ask: Annotated[CommandMetadata, idempotent()],
    ) -> views.ConnectionAnswer:
        """Ends a connection."""
        sight = await _sight(principal)
        subject, name = await _part(id, sight, "connection_unknown")
        command = End(name, body.reason, sight.lead)
        return views.connection_answer((await execute(store, subject, command, clock, ask)).record, name)

    async def _sight(principal: Principal) -> Sight:
        """A lead enterprise acts in the province that it joined."""
        if principal.roles & {"manager", "labour_expert", "service", "auditor"}:
            return Sight(principal.scope)
        found = await questions.lead(lead_subject(principal.lead))
        if found is None:
            raise Refused("forbidden")
        return Sight(found.indexed["scope"], principal.lead)

    async def _found(subject: str, sight: Sight) -> Record:
        """The producer; a foreign one is as missing as any. Raises Refused."""
        record = await questions.producer(subject, sight.scope)
        if record is None:
            raise Refused("not_found")
        return record

    async def _part(id: str, sight: Sight, missing: str) -> tuple[str, str]:
        """Whose offer or connection this is, and which of theirs. Raises Refused."""
        subject, _, name = id.rpartition(".")
        if await questions.producer(subject, sight.scope) is None:
            raise Refused(missing)
        return subject, name

    async def _made(done: Result, ask: CommandMetadata) -> str:
        return views.made(done, ask.key, await questions.history(done.record.subject) if done.repeated else ())

    async def _many(scope: str, items: Sequence[tuple[str, Any]], ask: CommandMetadata) -> views.Outcomes:
        """Asks the same of many subjects in one transaction, each for itself."""
        inside = await questions.inside([subject for subject, _ in items], scope)
        answered = [
            views.outcome(subject, done, await _made(done, own) if isinstance(done, Result) else "")
            for subject, done, own in await execute_each(store, items, inside, clock, ask)
        ]
        refused = sum(each.code is not None for each in answered)
        return views.Outcomes(items=answered, done=len(answered) - refused, refused=refused)

    return api


def _connect(subject: str, body: views.NewConnection, principal: Principal, lead: str) -> Connect:
    owner, _, name = body.offer.rpartition(".")
    offer = "" if not body.offer else name if owner == subject else body.offer  # of another producer: there is none
    return Connect(body.channel, body.counterparty_kind, body.evidence, offer, _role(principal), lead)


def _role(principal: Principal) -> str:
    """The role under which most evidence may be shown."""
    return max(principal.roles & HIGHEST.keys(), key=lambda role: HIGHEST[role], default="")
