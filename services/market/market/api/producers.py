"""Producers: list them by state, read one."""

from typing import Annotated

from fastapi import APIRouter, Query

from contracts.envelope import decode
from market import queries, schemas
from market.api.access import access_scope_of, find_producer
from market.domain.producer import READY
from programme.reference import province_or_all
from security.auth import Principal
from security.scopes import restricted
from web.authorization import allow
from web.dependencies import Store
from web.pagination import Etag, Page, Paging, etagged, paged

Reader = Annotated[Principal, allow("match", "R")]

router = APIRouter(prefix="/v1", tags=["producers"])


@router.get("/producers")
async def list_producers(
    principal: Reader,
    store: Store,
    paging: Annotated[Paging, paged()],
    state: Annotated[schemas.Stage, Query(description="The state of the producer.")] = "ready",
    province: Annotated[str, Query(max_length=8, description="Within the caller's own scope.")] = "",
) -> Page[schemas.Row]:
    """Return producers in one state. A lead enterprise gets the ready ones of its province, otherwise its own."""
    access = await access_scope_of(store, principal)
    scope = restricted(access.scope, province_or_all(province))
    if scope is None:
        return paging.page([], after=lambda row: (row.id,))
    own = access.lead if state != READY else ""
    after = paging.after_id
    found = await store.find(queries.producers(scope, state, lead=own, after=after, limit=paging.limit + 1))
    return paging.page([schemas.row(each) for each in found], after=lambda row: (row.id,))


@router.get("/producers/{id}")
async def get_producer(
    id: str, principal: Reader, store: Store, etag: Annotated[Etag, etagged()]
) -> schemas.ProducerFile:
    """Return one producer with offers, connections and history; a lead enterprise gets its own ones, no history."""
    access = await access_scope_of(store, principal)
    record = await find_producer(store, id, access)
    etag.match(record.version)
    history = [] if access.lead else [decode(raw) for raw in await store.history(id)]
    return schemas.producer_file(record, history, access.lead)
