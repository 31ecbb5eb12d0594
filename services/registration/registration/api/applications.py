"""Applications: registered one by one or from a file, and read within the caller's scope."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from base.ids import shown_code
from base.tasks import TimeSlices
from contracts.codes import IDENTITY_PURPOSES
from contracts.commands import Refused
from kernel.commands import CommandMetadata, Result, execute
from kernel.record import Record
from kernel.store import Store as StorePort
from programme.messages import message_text
from programme.reference import province_or_all
from registration import queries, schemas
from registration.api.csv_import import RowsInvalid, lines_of, read_rows
from registration.api.dependencies import Audit, Guard, Registrations, bounded_intake
from registration.api.rounds import RoundId
from registration.api.xlsx import XLSX
from registration.domain.applicant import Status, Withdraw, status
from registration.domain.application import COLUMNS, Accepted, InvalidApplication
from registration.registrations import RegistrationService, RoundSnapshot, last_registered
from registration.tracking_codes import TrackingCodes
from security.auth import Principal
from security.scopes import is_visible, restricted
from web.app import raw
from web.authorization import allow
from web.dependencies import Clock, Store
from web.idempotency import idempotent, metadata_for
from web.pagination import Page, Paging, paged
from web.problems import Invalid
from web.rate_limit import limited

IMPORT_FILE = 16 << 20  # bytes
IMPORT_ROWS = 50_000
UNIDENTIFIED_LIMIT = 500  # applicants in one answer
CHUNK = 100  # rows in one transaction, during which other requests wait

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
    _check_scope(principal, accepted)
    channel = _channel(principal, body.channel)
    async with guard.attempt(request, principal):
        done = await registrations.register(snapshot, accepted, channel, metadata)
    response.headers["Location"] = f"/registration/v1/applications/{done.record.subject}"
    return schemas.registered(done.record, registrations.codes.code_of(done.record))


@router.post(
    "/rounds/{round_id}/applications/import",
    response_model=schemas.Imported,
    max_body_size=IMPORT_FILE,
    dependencies=[limited("import", per_minute=120), bounded_intake()],
)
async def import_applications(
    round_id: RoundId,
    request: Request,
    body: Annotated[bytes, raw("text/csv", XLSX)],
    principal: Annotated[Principal, allow("bulk_import")],
    registrations: Registrations,
    guard: Guard,
    metadata: Annotated[CommandMetadata, idempotent(required=True)],
) -> Response:
    """Register the people in a file, CSV or the first sheet of an XLSX; one invalid value refuses the whole file.

    Zeros at the start of a number that a spreadsheet has lost are put back.
    The order of the rows is the order of registration, which decides about seats among them.
    Valid rows are stored in chunks, each in one transaction. The same file under the same key continues where it
    stopped, and its answer is that of a file that never stopped. Of people who are already registered only the number
    is reported, and a file with too many of them is stopped: the Retry-After of the 429 is when to send it again.
    """
    snapshot = await registrations.round_snapshot(round_id)
    try:
        accepted = await _accepted(body, snapshot, principal, registrations, metadata)
    except RowsInvalid as invalid:
        return await asyncio.to_thread(invalid.response, request)
    outcomes: dict[int, Result | Refused] = {}
    last: datetime | None = None
    left = iter(accepted.items())
    while chunk := dict(islice(left, CHUNK)):
        own = {row: metadata_for(str(row), metadata) for row in chunk}
        async with guard.attempt(request, principal, file=True):
            done = await registrations.register_many(snapshot, chunk, "import", own, last)
            known = (chunk[row] for row, each in done.items() if _is_known(each))
            guard.record_file(request, principal, [registrations.persons.indexes(each)[0] for each in known])
        outcomes |= done
        last = last_registered(done.values(), last)
    return await asyncio.to_thread(_imported, outcomes, registrations.codes)


@router.get("/rounds/{round_id}/applications")
async def applications(
    round_id: RoundId,
    principal: Annotated[Principal, allow("see_identity", "M")],
    store: Store,
    registrations: Registrations,
    paging: Annotated[Paging, paged()],
    province: Annotated[str, Query(max_length=8, description="Within the caller's own scope.")] = "",
    status: Annotated[Status | None, Query()] = None,
    unidentified: Annotated[bool, Query(description="Only those whose identity was lost, the first 500.")] = False,
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
    clock: Clock,
    metadata: Metadata,
) -> schemas.Listed:
    """Withdraw an applicant from the round; their seat goes to the first on the waiting list."""
    record = await find_applicant(store, applicant, principal)
    return schemas.listed((await execute(store, record.subject, Withdraw(body.reason), clock, metadata)).record)


async def find_applicant(store: StorePort, applicant: str, principal: Principal) -> Record:
    """Return an applicant in the caller's scope. Raise Refused: not_found, also for one outside the scope."""
    record = (await store.read([applicant]))[applicant]
    if not record.version or not is_visible(record.indexed.get("scope", ""), principal):
        raise Refused("not_found")
    return record


def _check_scope(principal: Principal, accepted: Accepted) -> None:
    """Check that officers register people of their own province or county. Raise Refused: scope_other."""
    place = accepted.context
    if not is_visible(f"{place.province}/{place.county}", principal):
        raise Refused("scope_other", field="province" if place.province != principal.province else "county")


def _channel(principal: Principal, requested: str | None) -> str:
    """Return the intake channel. Raise Refused: code_unknown."""
    allowed = ("api", "web") if "service" in principal.roles else ("desk", "api")
    if requested is not None and requested not in allowed:
        raise Refused("code_unknown", field="channel")
    return requested or allowed[0]


async def _accepted(
    body: bytes,
    snapshot: RoundSnapshot,
    principal: Principal,
    registrations: RegistrationService,
    metadata: CommandMetadata,
) -> dict[int, Accepted]:
    """Return the application in each row. Raise Refused, RowsInvalid with every error of every row."""
    accepted: dict[int, Accepted] = {}
    errors: list[tuple[int, Refused]] = []
    late: dict[int, Refused] = {}  # the round does not take them now; it may have taken them under this key
    first_rows: dict[str, int] = {}  # by national ID
    lines = await asyncio.to_thread(lines_of, body)
    slices = TimeSlices()
    for row, cells in read_rows(lines, COLUMNS, IMPORT_ROWS):
        await slices()
        try:
            application = snapshot.accept(cells)
            _check_scope(principal, application)
            if (first := first_rows.setdefault(application.identity["national_id"], row)) != row:
                raise Refused("named_twice", field="national_id", row=first)
            accepted[row] = application
            snapshot.check_intake(application)
        except InvalidApplication as invalid:
            errors += [(row, each) for each in invalid.errors]
        except Refused as refused:
            if row in accepted:
                late[row] = refused
            else:
                errors.append((row, refused))
    answered = await registrations.answered({row: metadata_for(str(row), metadata) for row in late})
    errors += [(row, refused) for row, refused in late.items() if row not in answered]
    if errors:
        raise RowsInvalid(sorted(errors, key=lambda each: each[0]))
    return accepted


def _imported(outcomes: Mapping[int, Result | Refused], codes: TrackingCodes) -> Response:
    registered = {row: each.record for row, each in outcomes.items() if isinstance(each, Result)}
    refused = {row: each for row, each in outcomes.items() if isinstance(each, Refused)}
    listed = {row: each for row, each in refused.items() if not _is_known(each)}
    imported = schemas.Imported(
        rows=len(outcomes),
        registered=len(registered),
        already_registered=len(refused) - len(listed),
        applications=[
            schemas.ImportedRow(row=row, id=each.subject, tracking_code=shown_code(codes.code_of(each)))
            for row, each in registered.items()
        ],
        refused=[_refused_row(row, each) for row, each in listed.items()],
    )
    return Response(imported.model_dump_json(), media_type="application/json")


def _is_known(outcome: Result | Refused) -> bool:
    return isinstance(outcome, Refused) and outcome.code == "already_registered"


def _refused_row(row: int, refused: Refused) -> schemas.RefusedRow:
    return schemas.RefusedRow(
        row=row,
        field=refused.field,
        code=refused.code,
        detail=message_text(refused.code, "en", **refused.details),
        detail_fa=message_text(refused.code, "fa", **refused.details),
    )
