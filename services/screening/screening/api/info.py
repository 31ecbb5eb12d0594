"""Requests for papers: what was requested, the request to the applicant, and recording that the papers came."""

from typing import Annotated

from fastapi import APIRouter

from kernel.commands import execute
from screening import queries, schemas_info
from screening.api.cases import Decider, Metadata
from security.auth import Principal
from web.authorization import allow
from web.dependencies import Clock, Store

InfoReader = Annotated[Principal, allow("record_info", "R")]
InfoRecorder = Annotated[Principal, allow("record_info")]

router = APIRouter(prefix="/v1/cases/{id}/info", tags=["cases"])


@router.get("")
async def get_info(id: str, principal: InfoReader, store: Store, clock: Clock) -> schemas_info.InfoFile:
    """Return the latest request, whose turn it is, and the working days that each side has had."""
    return schemas_info.info_file(await queries.find_case(store, id, principal.scope), clock().at)


@router.post("")
async def request_info(
    id: str, body: schemas_info.InfoItems, principal: Decider, store: Store, clock: Clock, metadata: Metadata
) -> schemas_info.InfoFile:
    """Ask the applicant for papers. Until they come or their days pass, the clock is paused."""
    await queries.find_case(store, id, principal.scope)
    command = body.request(principal.actor)
    return schemas_info.info_file((await execute(store, id, command, clock, metadata)).record)


@router.post("/receipt")
async def record_info(
    id: str, body: schemas_info.InfoItems, principal: InfoRecorder, store: Store, clock: Clock, metadata: Metadata
) -> schemas_info.InfoFile:
    """Record which papers came, in time or late. The turn is screening's again."""
    await queries.find_case(store, id, principal.scope)
    return schemas_info.info_file((await execute(store, id, body.receipt(), clock, metadata)).record)
