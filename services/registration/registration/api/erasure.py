"""Erasures: what is known of an applicant is removed, for good and on record."""

from typing import Annotated

from fastapi import APIRouter

from registration import schemas
from registration.api.applications import ApplicantId, Metadata, find_applicant
from registration.api.dependencies import Audit, OfErasures
from registration.domain import applicant as rules
from registration.domain.applicant import Erase
from security.auth import Principal
from web.authorization import allow
from web.dependencies import Clock, Store

router = APIRouter(prefix="/v1", tags=["applications"])


@router.post("/applications/{applicant}/erasure")
async def erase(
    applicant: ApplicantId,
    body: schemas.Erasure,
    principal: Annotated[Principal, allow("erase")],
    store: Store,
    clock: Clock,
    erasures: OfErasures,
    audit: Audit,
    metadata: Metadata,
) -> schemas.Erased:
    """Erase an applicant, for good: they cannot register in this round again. A second request changes nothing.

    An applicant who takes part is withdrawn first, and their seat goes to the first on the waiting list. The key of
    their identity is destroyed within seconds. The erasure is recorded before it is carried out.
    """
    record = await find_applicant(store, applicant, principal)
    rules.decide(record.state, Erase(body.reason), clock().at)  # what is refused is neither done nor recorded
    if body.dry_run:
        return schemas.erased(record, dry_run=True)
    if not record.state.erased_at:
        await audit.append(principal.actor, record.subject, f"erasure/{body.reason}", clock().recorded)
    return schemas.erased((await erasures.erase(record.subject, body.reason, metadata)).record)
