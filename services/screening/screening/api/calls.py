"""Calls to an applicant: logging what came of one."""

from fastapi import APIRouter

from kernel.commands import execute
from screening import queries, schemas
from screening.api.cases import Decider, Metadata
from screening.schemas_calls import CallForm
from web.dependencies import Clock, Store

router = APIRouter(prefix="/v1/cases/{id}/calls", tags=["cases"])


@router.post("")
async def log_call(
    id: str, body: CallForm, principal: Decider, store: Store, clock: Clock, metadata: Metadata
) -> schemas.Case:
    """Log a call about an open case: `reached`, `no_answer`, or `call_back` with the time that was agreed."""
    await queries.find_case(store, id, principal.scope)
    return schemas.case((await execute(store, id, body.command(principal.actor), clock, metadata)).record)
