"""Identification: an applicant whose identity was lost with a store is identified again at the desk."""

from typing import Annotated

from fastapi import APIRouter
from starlette.requests import Request

from registration import schemas
from registration.api.applications import ApplicantId, find_applicant
from registration.api.dependencies import Audit, Guard, Registrations
from registration.domain.application import InvalidApplication
from security.auth import Principal
from web.authorization import allow
from web.dependencies import Clock, Store
from web.problems import Invalid
from web.rate_limit import limited

router = APIRouter(prefix="/v1", tags=["applications"])


@router.post("/applications/{applicant}/identity", dependencies=[limited("identities", per_minute=60)])
async def identify(
    applicant: ApplicantId,
    body: schemas.ApplicationRequest,
    request: Request,
    principal: Annotated[Principal, allow("reissue_tracking_code")],
    store: Store,
    clock: Clock,
    registrations: Registrations,
    guard: Guard,
    audit: Audit,
) -> schemas.Listed:
    """Identify an applicant again whom only the log had after a restore, and who is at the desk with their card.

    The application is the one that they made: place, job field and profile are those that the log has. A person who
    has registered again since is refused: erase this application. The attempt is recorded before it is made.
    """
    record = await find_applicant(store, applicant, principal)
    snapshot = await registrations.round_snapshot(record.state.context.round)
    try:
        accepted = snapshot.accept(body.answers())
    except InvalidApplication as invalid:
        raise Invalid(invalid.errors) from invalid
    await audit.append(principal.actor, record.subject, "identification", clock().recorded)
    async with guard.attempt(request, principal):
        return schemas.listed(await registrations.identify(record.subject, accepted))
