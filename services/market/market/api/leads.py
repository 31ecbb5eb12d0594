"""Lead enterprises: enlist one, list them."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from msgspec.structs import replace

from base.ids import uuid7
from contracts.commands import Refused
from contracts.subjects import lead_subject
from kernel.commands import CommandMetadata, execute
from kernel.record import Private
from market import queries, schemas
from market.domain.lead import Enlist
from programme import reference
from programme.text import display, has_letter, loose_key
from security.auth import Principal
from security.scopes import is_visible
from web.authorization import allow
from web.dependencies import Clock, Store
from web.idempotency import idempotent
from web.pagination import Page, Paging, paged

router = APIRouter(prefix="/v1", tags=["leads"])


@router.post("/leads", status_code=201)
async def enlist_lead(
    body: schemas.NewLead,
    principal: Annotated[Principal, allow("enlist_lead")],
    store: Store,
    clock: Clock,
    metadata: Annotated[CommandMetadata, idempotent()],
    response: Response,
) -> schemas.Lead:
    """Enlist a lead enterprise in a province. Its name is unique there."""
    province = reference.province(body.province).code
    if not is_visible(province, principal):
        raise Refused("scope_other", "province")
    name = display(body.name)
    if len(loose_key(name)) < 2 or not (has_letter(name) or any(map(str.isdecimal, name))):
        raise Refused("missing_field", "name")
    # The name is content of this service: it is stored beside the record, and no event contains it.
    private = Private(indexed={"lead_name": f"{province}/{loose_key(name)}"}, content={"name": name})
    command = Enlist(tuple(body.services), tuple(body.fields), province)
    own = replace(metadata, private=private, new_subject=True)
    lead = schemas.lead((await execute(store, lead_subject(uuid7()), command, clock, own)).record)
    response.headers["Location"] = f"/market/v1/leads/{lead.id}"
    return lead


@router.get("/leads")
async def list_leads(
    principal: Annotated[Principal, allow("read_leads", "R")],
    store: Store,
    paging: Annotated[Paging, paged()],
    province: Annotated[str, Query(max_length=8, description="Of one province; all if it is empty.")] = "",
) -> Page[schemas.Lead]:
    """Return lead enterprises in the order in which they joined."""
    after = paging.after_id
    found = await store.find(queries.leads(reference.province_or_all(province), after=after, limit=paging.limit + 1))
    return paging.page([schemas.lead(each) for each in found], after=lambda lead: (lead_subject(lead.id),))


@router.get("/leads/{id}")
async def get_lead(id: str, principal: Annotated[Principal, allow("read_leads", "R")], store: Store) -> schemas.Lead:
    """Return one lead enterprise."""
    record = await queries.find_lead(store, id)
    if record is None:
        raise Refused("not_found")
    return schemas.lead(record)
