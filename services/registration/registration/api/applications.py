"""Applications: registered one by one, and read within the caller's scope."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from contracts.codes import IDENTITY_PURPOSES
from contracts.commands import Refused
from kernel.commands import CommandMetadata
from kernel.record import Record
from kernel.store import Store as StorePort
from programme.numbers import form_number
from programme.reference import province_or_all
from registration import acts, queries, schemas
from registration.api.dependencies import Audit, Guard, Registrations, bounded_intake, check_scope
from registration.api.rounds import RoundId
from registration.domain.applicant import Status, status
from registration.domain.application import InvalidApplication
from registration.domain.progress import is_assigned
from security.auth import Principal
from security.permissions import permits
from security.scopes import is_visible, restricted
from web.authorization import allow
from web.dependencies import Clock, Store
from web.idempotency import idempotent
from web.pagination import Page, Paging, paged
from web.problems import Invalid
from web.rate_limit import limited

BY_CASE = frozenset({"screener"})  # roles that see a person through their own cases only
UNIDENTIFIED_LIMIT = 200  # applicants in one answer

ApplicantId = Annotated[str, Path(pattern=r"^[0-9a-f-]{1,64}$")]
Metadata = Annotated[CommandMetadata, idempotent()]

router = APIRouter(prefix="/v1", tags=["applications"])


@router.post(
    "/rounds/{round_id}/applications",
    status_code=201,
    dependencies=[limited("applications", per_minute=6_000), bounded_intake()],
)
async def register(
    round_id: RoundId,
    body: schemas.ApplicationRequest,
    request: Request,
    response: Response,
    principal: Annotated[Principal, allow("register")],
    registrations: Registrations,
    guard: Guard,
    metadata: Metadata,
) -> schemas.Registered:
    """Register a person: once per person and round nationwide, again after a withdrawal."""
    snapshot = await registrations.round_snapshot(round_id)
    try:
        accepted = snapshot.accept(body.answers())
    except InvalidApplication as invalid:
        raise Invalid(invalid.errors) from invalid
    check_scope(principal, accepted)
    channel = _channel(principal, body.channel)
    async with guard.attempt(request, principal):
        done = await registrations.register(snapshot, accepted, channel, metadata)
    response.headers["Location"] = f"/registration/v1/applications/{done.record.subject}"
    return schemas.registered(done.record, registrations.codes.code_of(done.record))


@router.get("/rounds/{round_id}/applications")
async def applications(
    round_id: RoundId,
    principal: Annotated[Principal, allow("see_identity", "M")],
    store: Store,
    registrations: Registrations,
    paging: Annotated[Paging, paged()],
    province: Annotated[str, Query(max_length=8, description="Within the caller's own scope.")] = "",
    status: Annotated[Status | None, Query()] = None,
    unidentified: Annotated[bool, Query(description="Only those whose identity was lost, the first 200.")] = False,
) -> Page[schemas.Listed]:
    """Return the applicants of a round in the caller's scope, by id, without identities."""
    await registrations.round_snapshot(round_id)
    scope = restricted(principal.scope, province_or_all(province))
    if scope is None:
        return Page(items=[], next=None)
    if unidentified:
        lost = await store.find(queries.unidentified(round_id, scope, UNIDENTIFIED_LIMIT))
        return Page(items=[schemas.listed(each) for each in lost], next=None)
    query = queries.applications(round_id, scope, status or "", paging.after_id, paging.limit + 1)
    found = await store.find(query)
    return paging.page([schemas.listed(each) for each in found], after=lambda each: (each.id,))


@router.get("/applications/{applicant}")
async def application(
    applicant: ApplicantId,
    principal: Annotated[Principal, allow("see_identity", "R")],
    store: Store,
    clock: Clock,
    registrations: Registrations,
    audit: Audit,
    purpose: Annotated[str, Query(max_length=40, json_schema_extra={"enum": ["", *IDENTITY_PURPOSES]})] = "",
) -> schemas.Application:
    """Return one applicant with their identity. The reading is recorded before the identity is decrypted.

    Of an applicant who has withdrawn the identity is shown only for a purpose, which is recorded.
    """
    if purpose and purpose not in IDENTITY_PURPOSES:
        raise Refused("code_unknown", field="purpose")
    record = await find_applicant(store, applicant, principal)
    check_assigned(principal, record, clock().at)
    withheld = {"withdrawn": "" if purpose else "purpose_needed", "erased": "erased"}.get(status(record.state), "")
    if withheld:
        return schemas.application(record, None, withheld)
    reading = f"application/{purpose}" if purpose else "application"
    await audit.append(principal.actor, record.subject, reading, clock().recorded)
    person = (await registrations.persons.open([record])).get(record.subject)
    return schemas.application(record, person, "" if person else "lost")


@router.post("/applications/{applicant}/withdrawal")
async def withdraw(
    applicant: ApplicantId,
    body: schemas.Withdrawal,
    principal: Annotated[Principal, allow("withdraw")],
    store: Store,
    registrations: Registrations,
    metadata: Metadata,
) -> schemas.Listed:
    """Withdraw an applicant on their signed form; their seat goes to the first on the waiting list.

    No officer withdraws a person without the person's act.
    """
    record = await find_applicant(store, applicant, principal)
    form = form_number(body.form_number, record.state.context.province, "form_number")
    return schemas.listed((await acts.withdraw(registrations, record, body.reason, form, metadata)).record)


async def find_applicant(store: StorePort, applicant: str, principal: Principal) -> Record:
    """Return an applicant in the caller's scope. Raise Refused: not_found, also for one outside the scope."""
    record = (await store.read([applicant]))[applicant]
    if not record.version or not is_visible(record.indexed.get("scope", ""), principal):
        raise Refused("not_found")
    return record


def check_assigned(principal: Principal, record: Record, at: datetime) -> None:
    """Check that a screener sees a person through a case of theirs only. Raise Refused: not_assigned."""
    by_other_role = permits(principal.roles - BY_CASE, "see_identity", "R")
    if not by_other_role and not is_assigned(record.state.current, principal.id, at):
        raise Refused("not_assigned")


def _channel(principal: Principal, requested: str | None) -> str:
    """Return the intake channel. Raise Refused: code_unknown."""
    allowed = ("api", "web") if "service" in principal.roles else ("desk", "api")
    if requested is not None and requested not in allowed:
        raise Refused("code_unknown", field="channel")
    return requested or allowed[0]
