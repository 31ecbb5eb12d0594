"""Appeals against rejections: what concerns one, filing it for the applicant, and the decision on it."""

from typing import Annotated

from fastapi import APIRouter

from kernel.commands import execute
from screening import queries, schemas
from screening.api.cases import Metadata
from security.auth import Principal
from web.authorization import allow
from web.dependencies import Clock, Store

AppealReader = Annotated[Principal, allow("decide_appeal", "R")]
AppealFiler = Annotated[Principal, allow("file_appeal")]
AppealDecider = Annotated[Principal, allow("decide_appeal")]

router = APIRouter(prefix="/v1/cases/{id}/appeal", tags=["cases"])


@router.get("")
async def get_appeal(id: str, principal: AppealReader, store: Store) -> schemas.AppealFile:
    """Return the first decision, the last day to appeal, and the appeal."""
    return schemas.appeal_file(await queries.find_case(store, id, principal.scope))


@router.post("")
async def file_appeal(
    id: str, body: schemas.AppealForm, principal: AppealFiler, store: Store, clock: Clock, metadata: Metadata
) -> schemas.AppealFile:
    """File the applicant's appeal against a rejection: once, and until the last day to appeal."""
    await queries.find_case(store, id, principal.scope)
    return schemas.appeal_file((await execute(store, id, body.command(), clock, metadata)).record)


@router.post("/decision")
async def decide_appeal(
    id: str, body: schemas.AppealDecision, principal: AppealDecider, store: Store, clock: Clock, metadata: Metadata
) -> schemas.AppealFile:
    """Approve the application after all, or reject it finally.

    Neither who took the first decision nor who registered the applicant may decide.
    """
    await queries.find_case(store, id, principal.scope)
    command = body.appeal_command(principal.actor)
    return schemas.appeal_file((await execute(store, id, command, clock, metadata)).record)
