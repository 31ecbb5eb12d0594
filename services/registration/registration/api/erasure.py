"""Erasures: what is known of an applicant is removed, for good and on record."""

from typing import Annotated

from fastapi import APIRouter

from base.clock import Clock as ClockPort
from kernel.commands import CommandMetadata
from kernel.record import Record
from programme.numbers import form_number
from registration import schemas
from registration.api.applications import ApplicantId, Metadata, find_applicant
from registration.api.dependencies import Audit, OfErasures
from registration.domain import applicant as rules
from registration.domain.applicant import Erase
from registration.erasures import Erasures
from security.audit import Audit as AuditPort
from security.auth import Principal
from web.authorization import allow
from web.dependencies import Clock, Store

ON_REQUEST = "request"  # the reason that is the person's own act

Eraser = Annotated[Principal, allow("erase")]

router = APIRouter(prefix="/v1", tags=["applications"])


@router.post("/applications/{applicant}/erasure")
async def erase(
    applicant: ApplicantId,
    body: schemas.Erasure,
    principal: Eraser,
    store: Store,
    clock: Clock,
    erasures: OfErasures,
    audit: Audit,
    metadata: Metadata,
) -> schemas.Erased:
    """Erase an applicant, for good: they cannot register in this round again. A second request changes nothing.

    An applicant who takes part is withdrawn first, and their seat goes to the first on the waiting list. The key of
    their identity is destroyed within seconds. The erasure is recorded before it is carried out, and one at the
    person's request with the number of their signed form.
    """
    record = await find_applicant(store, applicant, principal)
    if body.dry_run:
        rules.decide(record.state, Erase(body.reason), clock().at)
        return schemas.erased(record, dry_run=True)
    done = await erased(record, body.reason, body.form_number, principal, clock, erasures, audit, metadata)
    return schemas.erased(done)


async def erased(
    record: Record,
    reason: str,
    typed_form: str,
    principal: Principal,
    clock: ClockPort,
    erasures: Erasures,
    audit: AuditPort,
    metadata: CommandMetadata,
) -> Record:
    """Erase an applicant and return the record; of one who was erased before as it is.

    Raise Refused: reason_unknown, form_number_invalid; what `Erasures.erase` raises.
    """
    rules.decide(record.state, Erase(reason), clock().at)  # what is refused is neither done nor recorded
    if not record.state.erased_at:
        purpose = f"erasure/{reason}"
        if reason == ON_REQUEST:
            purpose += f"/{form_number(typed_form, record.state.context.province, 'form_number')}"
        await audit.append(principal.actor, record.subject, purpose, clock().recorded)
    return (await erasures.erase(record.subject, reason, metadata)).record
