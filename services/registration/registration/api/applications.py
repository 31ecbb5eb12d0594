"""Applications for programmes: one by one or from a file, read within the caller's scope, followed by tracking code."""

import asyncio
from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from base.ids import typed_code
from contracts.commands import Refused
from kernel.commands import CommandMetadata, Result, execute
from kernel.record import Record
from kernel.store import Store
from programme.messages import message_text
from registration.api import views
from registration.api.probes import Probes
from registration.api.rounds import RoundId
from registration.api.tables import RowsInvalid, rows
from registration.domain.applicant import Withdraw
from registration.domain.application import ANSWERS, Accepted, NotAccepted
from registration.store.audit import Audit
from registration.store.office import Desk, Office
from registration.store.questions import Questions
from security.auth import Principal, is_visible
from web.app import Etag, Invalid, Page, Paging, allow, etagged, idempotent, limited, paged, public, raw
from web.load_shedding import AdmissionControl, bounded

REGISTRARS = ("registrar", "county_operator", "manager", "service")
IMPORTERS = ("registrar", "manager", "ministry_admin")
READERS = ("registrar", "county_operator", "manager", "screener")
LISTERS = (*READERS, "labour_expert", "ministry_admin")
LEAVERS = ("registrar", "county_operator", "manager")
FILE = 16 << 20  # bytes
ROWS = 50_000  # of a file
CHUNK = 500  # rows in one transaction
Status = Literal[
    "registered",
    "screening",
    "approved",
    "rejected",
    "waitlisted",
    "admitted",
    "capacity_identified",
    "withdrawn",
]
ApplicantId = Annotated[str, Path(pattern=r"^[0-9a-f-]{1,64}$")]


def router(office: Office, questions: Questions, audit: Audit, probes: Probes, intake: AdmissionControl) -> APIRouter:
    """The routes under /registration/v1."""
    api = APIRouter(prefix="/v1", tags=["applications"])
    store, clock = office.store, office.clock

    @api.post(
        "/rounds/{round_id}/applications",
        status_code=201,
        dependencies=[limited("applications", per_minute=6_000), bounded(intake)],
    )
    async def register(
        round_id: RoundId,
        body: views.ApplicationTyped,
        request: Request,
        response: Response,
        principal: Annotated[Principal, allow(*REGISTRARS)],
        ask: Annotated[CommandMetadata, idempotent()],
    ) -> views.Registered:
        """Registers a person; once per person and round in the whole country, again after a withdrawal."""
        probes.check(request, principal)
        desk = await office.desk(round_id)
        try:
            accepted = desk.accept(body.typed())
        except NotAccepted as faulty:
            raise Invalid(faulty.faults) from faulty
        _within(principal, accepted)
        try:
            done = await office.register(desk, accepted, _channel(principal, body.channel), ask)
        except Refused as refused:
            if refused.code == "already_registered":
                probes.told(request, principal)
            raise
        response.headers["Location"] = f"/registration/v1/applications/{done.record.subject}"
        return views.registered(done.record)

    @api.post(
        "/rounds/{round_id}/applications/import",
        response_model=views.Imported,
        max_body_size=FILE,
        dependencies=[limited("import", per_minute=120), bounded(intake)],
    )
    async def import_applications(
        round_id: RoundId,
        request: Request,
        body: Annotated[bytes, raw("text/csv")],
        principal: Annotated[Principal, allow(*IMPORTERS)],
        ask: Annotated[CommandMetadata, idempotent(required=True)],
    ) -> views.Imported | Response:
        """Registers the people in a file: every row is checked first, and one fault refuses the whole file.

        Then in chunks, each stored whole. The same file under the same key goes on where it stopped: rows that were
        registered are repeats. Rows of people who are registered already are named in the answer.
        """
        desk = await office.desk(round_id)
        try:
            accepted = await _accepted(body, desk, principal)
        except RowsInvalid as invalid:
            return invalid.response(request)
        outcomes: dict[int, Result | Refused] = {}
        left = iter(accepted.items())
        while chunk := dict(islice(left, CHUNK)):
            asks = {n: replace(ask, key=f"{ask.key}/{n}") for n in chunk}
            outcomes |= await office.register_many(desk, chunk, "import", asks)
        return _imported(outcomes)

    @api.get("/rounds/{round_id}/applications")
    async def applications(
        round_id: RoundId,
        principal: Annotated[Principal, allow(*LISTERS)],
        paging: Annotated[Paging, paged()],
        province: Annotated[str, Query(max_length=8, description="Within the caller's own scope.")] = "",
        status: Annotated[Status | None, Query()] = None,
    ) -> Page[views.Listed]:
        """Applicants of a round in the caller's scope, by id; nobody is named."""
        await office.desk(round_id)
        after = str(paging.after[0]) if paging.after else ""
        scope = _narrowed(principal, province)
        found = (
            []
            if scope is None
            else await questions.applications(round_id, scope, status or "", after, paging.limit + 1)
        )
        return paging.page([views.listed(each) for each in found], after=lambda each: (each.id,))

    @api.get("/applications/{applicant}")
    async def application(
        applicant: ApplicantId, principal: Annotated[Principal, allow(*READERS)]
    ) -> views.Application:
        """One applicant with their identity. That it was read is written down before it is shown."""
        record = await _own(store, applicant, principal)
        await audit.read_identity(principal.actor, record.subject, "application", clock().recorded)
        person = (await office.persons.open([record])).get(record.subject)
        return views.application(record, person)

    @api.post("/applications/{applicant}/withdrawal")
    async def withdraw(
        applicant: ApplicantId,
        body: views.Withdrawal,
        principal: Annotated[Principal, allow(*LEAVERS)],
        ask: Annotated[CommandMetadata, idempotent()],
    ) -> views.Listed:
        """The applicant leaves the round; a seat goes to the first on the waiting list."""
        record = await _own(store, applicant, principal)
        return views.listed((await execute(store, record.subject, Withdraw(body.reason), clock, ask)).record)

    @api.get("/tracking/{code}", dependencies=[limited("tracking", per_minute=30)])
    async def tracking(
        code: Annotated[str, Path(max_length=40, examples=["9H2K4-MZQ7B"])],
        principal: Annotated[Principal, public()],
        etag: Annotated[Etag, etagged()],
    ) -> views.Tracked:
        """Status and days of the application with this tracking code: never who it is, and nothing can be changed."""
        record = await tracked(store, code)
        etag.match(record.version)
        return views.tracked(record)

    return api


async def tracked(store: Store, code: str) -> Record:
    """The applicant with this tracking code, however it was typed. Raises Refused: not_found."""
    typed = typed_code(code)
    subject = (await store.holders("tracking", [typed])).get(typed) if typed else None
    if subject is None:
        raise Refused("not_found")
    return (await store.read([subject]))[subject]


async def _own(store: Store, applicant: str, principal: Principal) -> Record:
    """The applicant, if they are in the caller's scope; a foreign one is missing. Raises Refused: not_found."""
    record = (await store.read([applicant]))[applicant]
    if not record.version or not is_visible(record.indexed.get("scope", ""), principal):
        raise Refused("not_found")
    return record


def _within(principal: Principal, accepted: Accepted) -> None:
    """Officers register people of their own province or county. Raises Refused: scope_other."""
    if not is_visible(f"{accepted.province}/{accepted.county}", principal):
        raise Refused("scope_other", field="province" if accepted.province != principal.province else "county")


def _narrowed(principal: Principal, province: str) -> str | None:
    """The scope to read in; nothing where another province was asked for."""
    if not province or province == principal.province:
        return principal.scope
    return None if principal.province else province


def _channel(principal: Principal, told: str | None) -> str:
    """Where the application was taken up. Raises Refused: code_unknown."""
    allowed = ("api", "web") if "service" in principal.roles else ("desk", "api")
    if told is not None and told not in allowed:
        raise Refused("code_unknown", field="channel")
    return told or allowed[0]


async def _accepted(body: bytes, desk: Desk, principal: Principal) -> dict[int, Accepted]:
    """Every row, checked. Raises Refused, RowsInvalid with every fault of every row."""
    accepted: dict[int, Accepted] = {}
    faults: list[tuple[int, Refused]] = []
    seen: dict[str, int] = {}
    for n, row in rows(body, ANSWERS, {"consent_version": "consent"}, ROWS):
        if n % CHUNK == 0:
            await asyncio.sleep(0)  # others have their turn
        try:
            one = desk.accept(row)
            desk.admit(one)
            _within(principal, one)
            if (first := seen.setdefault(one.person.national_id, n)) != n:
                raise Refused("named_twice", field="national_id", row=first)
            accepted[n] = one
        except NotAccepted as faulty:
            faults += [(n, each) for each in faulty.faults]
        except Refused as refused:
            faults.append((n, refused))
    if faults:
        raise RowsInvalid(faults)
    return accepted


def _imported(outcomes: Mapping[int, Result | Refused]) -> views.Imported:
    done = {n: each for n, each in outcomes.items() if isinstance(each, Result)}
    repeated = sum(each.repeated for each in done.values())
    shown = {n: views.registered(each.record) for n, each in done.items()}
    return views.Imported(
        rows=len(outcomes),
        registered=len(done) - repeated,
        repeated=repeated,
        applications=[views.ImportedRow(row=n, id=r.id, tracking_code=r.tracking_code) for n, r in shown.items()],
        refused=[_refused(n, each) for n, each in outcomes.items() if isinstance(each, Refused)],
    )


def _refused(n: int, why: Refused) -> views.RefusedRow:
    return views.RefusedRow(
        row=n,
        field=why.field,
        code=why.code,
        detail=message_text(why.code, "en", **why.details),
        detail_fa=message_text(why.code, "fa", **why.details),
    )
