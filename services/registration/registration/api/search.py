"""Find a person who calls or is at the desk, by tracking code or national ID: status, history and what comes next.

Every search has a reason. The reading of the masked identity is recorded with it before the identity is decrypted.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request

from base.clock import Clock as ClockPort
from contracts.codes import DESK_REASONS
from contracts.commands import Refused
from contracts.envelope import Envelope, decode, type_of
from contracts.events import ApplicantEvent
from kernel.record import Record
from kernel.store import Store as StorePort
from programme.numbers import masked_mobile, masked_national_id
from registration import metrics, schemas
from registration.api.dependencies import Audit, Guard, Registrations
from registration.api.enumeration_guard import EnumerationGuard
from registration.api.rounds import RoundId
from registration.domain.applicant import State
from registration.domain.application import Values, full_name, telephone
from registration.domain.next_step import NextStep, next_step
from registration.registrations import RegistrationService
from security.audit import Audit as AuditPort
from security.auth import Principal
from web.app import Body
from web.authorization import allow
from web.dependencies import Clock, Store
from web.rate_limit import limited

QUERY_LENGTH = 40  # characters

Finder = Annotated[Principal, allow("find_person")]
Reader = Annotated[Principal, allow("see_identity", "R")]
search_limit = limited("searches", per_minute=60)

router = APIRouter(prefix="/v1", tags=["applications"])


class Search(Body):
    """Who is looked for, and why."""

    query: str = Field(max_length=QUERY_LENGTH, description="National ID or tracking code.", examples=["9990000018"])
    reason: str = Field(max_length=40, examples=["caller"], json_schema_extra={"enum": list(DESK_REASONS)})


class MaskedIdentity(BaseModel):
    """What shows an officer that this is the person who calls, without the numbers."""

    name: str
    national_id: str = Field(examples=["999****018"])
    telephone: str = Field(examples=["0912*****18"])


class Happened(BaseModel):
    """One thing that has happened to the applicant."""

    what: str = Field(examples=["applicant.registered"], description="The event, without its producer and version.")
    at: datetime
    by: str = Field(examples=["registrar"], description="Role of who did it; empty where no one is named.")
    application: int


class FoundPerson(BaseModel):
    """The person who was looked for."""

    applicant: schemas.Listed
    round: str
    outcome: str
    reasons: list[str]
    progress: schemas.Progress
    next_step: NextStep
    identity: MaskedIdentity | None
    identity_withheld: str = Field(description="Why there is no identity: `erased` or `lost`.")
    identity_confirmed: bool = Field(description="False if a restore lost the identity or the last change of it.")
    history: list[Happened] = Field(description="The oldest first; of an erased applicant only the erasure.")


class Found(msgspec.Struct, frozen=True):
    """An applicant, their identity if there is one, and what has happened."""

    record: Record
    identity: Values | None
    history: Sequence[Happened]


@router.post("/rounds/{round_id}/searches", dependencies=[search_limit])
async def search(
    round_id: RoundId,
    body: Search,
    request: Request,
    principal: Finder,
    store: Store,
    clock: Clock,
    registrations: Registrations,
    guard: Guard,
    audit: Audit,
) -> FoundPerson:
    """Find a person in the caller's scope; the search is recorded with its reason before the identity is decrypted.

    Who is registered elsewhere gets exactly the answer of one who is not registered. These answers count like "already
    registered". `GET /v1/applications/{applicant}` shows the identity in clear, which is recorded as well.
    """
    await registrations.round_snapshot(round_id)
    record = await searched(request, principal, registrations, guard, round_id, body.query, body.reason)
    found = await read_person(principal, store, clock, registrations, audit, record, f"search/{body.reason}")
    state: State = record.state
    return FoundPerson(
        applicant=schemas.listed(record),
        round=state.context.round,
        outcome=state.current.outcome,
        reasons=list(state.current.reasons),
        progress=schemas.progress(state),
        next_step=next_step(state),
        identity=masked(found.identity),
        identity_withheld=withheld(found),
        identity_confirmed=not state.unidentified,
        history=list(found.history),
    )


async def searched(
    request: Request,
    principal: Principal,
    registrations: RegistrationService,
    guard: EnumerationGuard,
    round_id: str,
    typed: str,
    reason: str,
) -> Record:
    """Return the applicant who is looked for; misses count.

    Raise Refused: reason_unknown, search_unreadable, person_not_found, too_many_requests.
    """
    if reason not in DESK_REASONS:
        raise Refused("reason_unknown", field="reason")
    async with guard.attempt(request, principal):
        try:
            record = await registrations.search(round_id, principal.scope, typed)
        except Refused as refused:
            metrics.SEARCHES.labels("not_found" if refused.code == "person_not_found" else "unreadable").inc()
            raise
    metrics.SEARCHES.labels("found").inc()
    return record


async def read_person(
    principal: Principal,
    store: StorePort,
    clock: ClockPort,
    registrations: RegistrationService,
    audit: AuditPort,
    record: Record,
    purpose: str,
) -> Found:
    """Read the identity and the history of an applicant; the reading is recorded first. Raise Transient."""
    await audit.append(principal.actor, record.subject, purpose, clock().recorded)
    person = None if record.state.erased_at else (await registrations.persons.open([record])).get(record.subject)
    events = [decode(raw) for raw in await store.history(record.subject)]
    return Found(record, person, history(record.state, events))


def history(state: State, events: Sequence[Envelope]) -> list[Happened]:
    """Return what has happened, in order: registration's own events, and of the present application screening's."""
    happened = [
        Happened(
            what=_name(each),
            at=each.time,
            by=each.actor.partition(":")[0],
            application=each.event.application if isinstance(each.event, ApplicantEvent) else 0,
        )
        for each in events
    ]
    if state.erased_at:
        return [each for each in happened if each.what == "applicant.erased"]
    current = state.current
    consumed = {
        "case.opened": current.case_opened_at,
        "case.decided": current.decided_at,
        "case.info_requested": current.info_requested_at,
        "case.info_supplied": current.info_supplied_at,
        "case.appealed": current.appealed_at,
        "case.appeal_decided": current.appeal_decided_at,
        "capacity.identified": current.identified_at,
    }
    happened += [
        Happened(what=what, at=at, by="screener" if what in _OF_SCREENERS else "", application=state.application)
        for what, at in consumed.items()
        if at
    ]
    return sorted(happened, key=lambda each: each.at)


_OF_SCREENERS = frozenset({"case.decided", "capacity.identified"})


def masked(person: Values | None) -> MaskedIdentity | None:
    """Return an identity with its numbers masked."""
    if person is None:
        return None
    return MaskedIdentity(
        name=full_name(person),
        national_id=masked_national_id(person["national_id"]),
        telephone=masked_mobile(telephone(person)),
    )


def withheld(found: Found) -> str:
    """Return why there is no identity: `erased`, `lost`, or ""."""
    return "erased" if found.record.state.erased_at else "" if found.identity else "lost"


def _name(envelope: Envelope) -> str:
    """Return `applicant.registered` for `ir.peyvand.registration.applicant.registered.v1`."""
    return ".".join(type_of(envelope.event).split(".")[3:5])
