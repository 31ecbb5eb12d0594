"""Correct the data of an application on a signed form: what the identity registry refused is checked again."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, create_model

from base.clock import Clock as ClockPort
from contracts.commands import Refused
from kernel.commands import CommandMetadata
from kernel.record import Record
from kernel.store import Store as StorePort
from programme.numbers import form_number
from programme.text import digits
from registration import acts, schemas
from registration.api.applications import ApplicantId, Metadata, find_applicant
from registration.api.dependencies import Audit, Registrations
from registration.domain.application import CORRECTABLE, FIELD, Answers, InvalidApplication
from registration.registrations import RegistrationService
from security.audit import Audit as AuditPort
from security.auth import Principal
from security.scopes import is_visible
from web.app import Body
from web.authorization import allow
from web.dependencies import Clock, Store
from web.problems import Invalid

Corrector = Annotated[Principal, allow("correct")]

router = APIRouter(prefix="/v1", tags=["applications"])

_CHANGES: dict[str, Any] = {
    name: (
        str | None,
        Field(default=None, max_length=FIELD[name].max_length, examples=[FIELD[name].example]),
    )
    for name in CORRECTABLE
}


class Correction(create_model("CorrectedAnswers", __base__=Body, **_CHANGES)):  # type: ignore[misc]
    """The answers that were wrong, as typed; the others stay. `form_number` is that of the form that they signed."""

    form_number: str = Field(max_length=20, examples=["20-1404-173"])

    def changes(self) -> dict[str, str]:
        """Return the corrected answers by the name of their field."""
        return {name: value for name in CORRECTABLE if (value := getattr(self, name)) is not None}


class Corrected(BaseModel):
    """An applicant after a correction."""

    applicant: schemas.Listed
    corrections: int = Field(description="Of the present application; there is a limit.")
    checked_again: bool = Field(description="Whether the identity registry is queried again.")


@router.post("/applications/{applicant}/correction")
async def correct(
    applicant: ApplicantId,
    body: Correction,
    principal: Corrector,
    store: Store,
    clock: Clock,
    registrations: Registrations,
    audit: Audit,
    metadata: Metadata,
) -> Corrected:
    """Correct the data of an applicant on their signed form. The event has codes only, and former values are not kept.

    If name or date of birth change, the identity registry is queried again. The job field can be corrected until the
    decision. The correction is recorded before the identity is decrypted.
    """
    record = await corrected(
        principal, store, clock, registrations, audit, applicant, body.changes(), body.form_number, metadata
    )
    state = record.state
    return Corrected(
        applicant=schemas.listed(record),
        corrections=state.current.corrections,
        checked_again=not state.current.identity,
    )


async def corrected(
    principal: Principal,
    store: StorePort,
    clock: ClockPort,
    registrations: RegistrationService,
    audit: AuditPort,
    applicant: str,
    changes: Answers,
    form: str,
    metadata: CommandMetadata,
) -> Record:
    """Return the applicant after a correction. Raise Invalid, Refused, KeyReused, Transient."""
    record = await find_applicant(store, applicant, principal)
    number = form_number(form, record.state.context.province, "form_number")
    county = changes.get("county", "").strip()
    if county and not is_visible(f"{record.state.context.province}/{digits(county)}", principal):
        raise Refused("scope_other", field="county")
    await audit.append(principal.actor, record.subject, "correction", clock().recorded)
    try:
        return (await acts.correct(registrations, record, changes, number, metadata)).record
    except InvalidApplication as invalid:
        raise Invalid(invalid.errors) from invalid
