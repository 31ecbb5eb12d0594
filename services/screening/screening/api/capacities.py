"""Capacities: what admitted applicants can make, one by one or as a list."""

from typing import Annotated

from fastapi import APIRouter

from kernel.commands import execute
from screening import queries, schemas
from screening.api.cases import LIST_BODY, Metadata
from screening.schemas_capacity import Capacities, Capacity
from security.auth import Principal
from web.authorization import allow
from web.dependencies import Clock, Store
from web.idempotency import Outcomes, execute_each

Identifier = Annotated[Principal, allow("identify_capacity")]

router = APIRouter(prefix="/v1/applicants", tags=["cases"])


@router.post("/capacities", response_model_exclude_none=True, max_body_size=LIST_BODY)
async def identify_capacities(
    body: Capacities, principal: Identifier, store: Store, clock: Clock, metadata: Metadata
) -> Outcomes[schemas.Outcome]:
    """Identify the capacities of up to 500 applicants, each independent of the others."""
    commands = [(each.id, each.command()) for each in body.capacities]
    permitted = await store.find_subjects(queries.selected(principal.scope, [each.id for each in body.capacities]))
    return schemas.outcomes(await execute_each(store, commands, permitted, clock, metadata))


@router.post("/{id}/capacity")
async def identify_capacity(
    id: str, body: Capacity, principal: Identifier, store: Store, clock: Clock, metadata: Metadata
) -> schemas.Case:
    """Identify what an admitted applicant can make, once per application."""
    await queries.find_case(store, id, principal.scope)
    return schemas.case((await execute(store, id, body.command(), clock, metadata)).record)
