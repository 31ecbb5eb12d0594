"""Offers: make one, record the answer."""

from typing import Annotated

from fastapi import APIRouter

from contracts.commands import Refused
from kernel.commands import CommandMetadata, execute
from market import queries, schemas
from market.api.access import access_scope_of, find_producer, split_id
from market.api.created import created_name
from market.domain.offer import Answer, MakeOffer
from security.auth import Principal
from web.authorization import allow
from web.dependencies import Clock, Store
from web.idempotency import idempotent

Offerer = Annotated[Principal, allow("match")]
Metadata = Annotated[CommandMetadata, idempotent()]

router = APIRouter(prefix="/v1", tags=["producers"])


@router.post("/producers/{id}/offers", status_code=201)
async def make_offer(
    id: str, body: schemas.NewOffer, principal: Offerer, store: Store, clock: Clock, metadata: Metadata
) -> schemas.OfferAnswer:
    """Offer a channel to a ready producer. A lead enterprise offers for itself only."""
    access = await access_scope_of(store, principal)
    await find_producer(store, id, access)
    lead = body.lead or access.lead
    if access.lead and lead != access.lead:
        raise Refused("lead_unknown", "lead")
    if lead and not access.lead and await queries.find_lead(store, lead) is None:
        raise Refused("lead_unknown", "lead")
    result = await execute(store, id, MakeOffer(body.channel, lead), clock, metadata)
    return schemas.offer_answer(result.record, await created_name(store, result, metadata))


@router.post("/offers/{id}/acceptance")
async def answer_offer(
    id: str, body: schemas.Acceptance, principal: Offerer, store: Store, clock: Clock, metadata: Metadata
) -> schemas.OfferAnswer:
    """Record the producer's answer to an offer, once."""
    access = await access_scope_of(store, principal)
    subject, name = await split_id(store, id, access, "offer")
    command = Answer(name, body.accepted, body.reason, access.lead)
    return schemas.offer_answer((await execute(store, subject, command, clock, metadata)).record, name)
