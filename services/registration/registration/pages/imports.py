"""The pages on which an officer imports a file: check it, register its rows, correct the others, hand out the codes."""

import asyncio
import hmac
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from base.ids import shown_code, uuid7
from base.spreadsheet import csv_of
from contracts.codes import ROLES
from contracts.commands import Refused
from kernel.commands import CommandMetadata, Result
from kernel.store import Store as StorePort
from programme.messages import MESSAGES, STATUSES, message_text
from registration import queries
from registration.api.dependencies import Audit, Guard, OfImports, Registrations, bounded_intake
from registration.api.imports import CSV, IMPORT_FILE, Attempt, check_file, file_to_correct, refused_of
from registration.api.xlsx import XLSX, is_workbook, workbook_of
from registration.domain import ledger
from registration.domain import round as rounds
from registration.domain.application import COLUMNS, FIELD, FIELDS
from registration.import_runs import ERRORS, KEPT, RUNNING, UNUSED, ImportRuns, RowError, Run
from security.auth import Principal
from web.authorization import allow
from web.dependencies import Clock, Store, form_of
from web.idempotency import fingerprint, secret_of
from web.pages import Pages, lang_of
from web.rate_limit import limited

PATH = "/registration/imports"
MULTIPART = "multipart/form-data"
SHEET = 240  # slips on one page of the browser, ten sheets of paper
STALE = 60  # seconds without a handled row after which an import stands still
WAITING = (*RUNNING, "checked")

Importer = Annotated[Principal, allow("bulk_import")]
RunId = Annotated[str, Path(alias="id", max_length=40)]
import_limit = limited("import", per_minute=120)

templates = Pages("registration.pages")
router = APIRouter(prefix="/imports", include_in_schema=False)


class Seats(msgspec.Struct, frozen=True):
    """What would become of the people of a file in one province, if all were approved today."""

    province: str
    people: int
    quota: int
    free: int
    waiting: int  # before them
    seats: int
    later: int  # how many of them would wait


class Slip(msgspec.Struct, frozen=True):
    """What one person gets; without a code, if they have another one by now or were erased."""

    row: int
    code: str


class _Upload(MultiPartParser):
    """Keeps a file in memory: it holds identities, which no disk is to keep unsealed."""

    spool_max_size = IMPORT_FILE


@router.get("")
async def imports_page(request: Request, officer: Importer, store: Store, imports: OfImports) -> Response:
    """Ask for a file, and show the imports of the officer's area."""
    return await _listed(request, officer, store, imports)


@router.post("", max_body_size=IMPORT_FILE, dependencies=[import_limit, bounded_intake()])
async def check(
    request: Request,
    officer: Importer,
    store: Store,
    clock: Clock,
    registrations: Registrations,
    guard: Guard,
    imports: OfImports,
) -> Response:
    """Check a file like a dry run and keep it, sealed, until it is decided what to do; register no one."""
    body, round_id = await _uploaded(request)
    try:
        if not body:
            raise Refused("missing_field", "file")
        digest = fingerprint(secret_of(request), "POST", f"{PATH}/{round_id}", body)
        known = [run for run in await imports.listed(officer.scope) if _same(run, officer, digest)]
        if not known:
            run, rows, refused = await _checked(request, officer, body, round_id, registrations, guard)
            now = clock().recorded
            run = msgspec.structs.replace(run, digest=digest, at=now, changed_at=now)
            known = [await imports.add(run, rows, refused)]
    except Refused as refused:
        if refused.code in ("too_many_requests", "media_type"):
            raise
        return await _listed(request, officer, store, imports, [refused], round_id)
    return RedirectResponse(f"{PATH}/{known[0].id}", 303)


@router.get("/template.{ending}")
async def template(ending: str, officer: Importer) -> Response:
    """Return a file with the columns and one person who does not exist."""
    if ending not in ("csv", "xlsx"):
        raise Refused("not_found")
    rows = [list(COLUMNS), [FIELD[name].example for name in COLUMNS.values()]]
    content = workbook_of(rows) if ending == "xlsx" else csv_of(rows)
    return _file(content, XLSX if ending == "xlsx" else CSV, f"applicants.{ending}")


@router.get("/{id}")
async def import_page(
    run_id: RunId, request: Request, officer: Importer, store: Store, clock: Clock, imports: OfImports
) -> Response:
    """Show how far an import of the officer's area is, and what to do next."""
    return await _shown(request, officer, store, clock, await imports.find(officer.scope, run_id))


@router.post("/{id}/start", dependencies=[import_limit, bounded_intake()])
async def start(
    run_id: RunId, request: Request, officer: Importer, store: Store, clock: Clock, imports: OfImports
) -> Response:
    """Let the worker register the rows of exactly the file that was checked; twice is once."""
    run = await _own(imports, officer, run_id)
    form = await form_of(request)
    mode, digest = (str(form.get(name, "")) for name in ("mode", "digest"))
    try:
        if not hmac.compare_digest(digest.encode(), run.digest.hex().encode()):
            raise Refused("import_differs", "mode")
        if mode not in ("whole", "rows"):
            raise Refused("missing_field", "mode")
        await imports.start(run, mode, clock().recorded)
    except Refused as refused:
        return await _shown(request, officer, store, clock, run, [refused])
    return RedirectResponse(f"{PATH}/{run_id}", 303)


@router.get("/{id}/refused")
async def refused_file(run_id: RunId, officer: Importer, clock: Clock, imports: OfImports, audit: Audit) -> Response:
    """Return the rows to correct to the officer who sent the file; the reading is recorded."""
    run = await _own(imports, officer, run_id)
    content = await imports.refused(run)
    await audit.append(officer.actor, run.id, "import/refused", clock().recorded)
    return _file(content, XLSX if run.workbook else CSV, f"refused-rows.{'xlsx' if run.workbook else 'csv'}")


@router.get("/{id}/codes")
async def codes(
    run_id: RunId,
    request: Request,
    officer: Importer,
    store: Store,
    clock: Clock,
    registrations: Registrations,
    imports: OfImports,
    audit: Audit,
    page: int = 1,
) -> Response:
    """Show slips with tracking codes, to be printed, to the officer who imported the file; each is recorded.

    Who was issued another code since has no code here: the former one is void.
    """
    run = await _own(imports, officer, run_id)
    people = await imports.registered(run)
    pages = max(1, -(-len(people) // SHEET))
    if not 1 <= page <= pages:
        raise Refused("not_found")
    shown = people[(page - 1) * SHEET : page * SHEET]
    now = clock().recorded
    await asyncio.gather(*(audit.append(officer.actor, each.subject, "import/code", now) for each in shown))
    records = await store.read([each.subject for each in shown])
    slips = []
    for each in shown:
        record = records[each.subject]
        valid = record.state.codes == each.code and not record.state.erased_at
        slips.append(Slip(each.row, shown_code(registrations.codes.code_of(record)) if valid else ""))
    tracking = f"{request.app.state.settings.public_url}/registration/tracking"
    return templates.render(
        request,
        "import_codes.html",
        headers={"Cache-Control": "no-store"},
        officer=officer,
        run=run,
        slips=slips,
        page=page,
        pages=pages,
        tracking=tracking.partition("://")[2],
    )


async def _uploaded(request: Request) -> tuple[bytes, str]:
    """Return the file of a form, and the round that it names. Raise Refused: media_type, malformed."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MULTIPART:
        raise Refused("media_type", expected=MULTIPART)
    try:
        parser = _Upload(request.headers, request.stream(), max_files=1, max_fields=2, max_part_size=100)
        form = await parser.parse()
        file, round_id = form.get("file", ""), form.get("round", "")
        body = b"" if isinstance(file, str) else await file.read()
        await form.close()
    except (MultiPartException, KeyError, ValueError) as e:
        raise Refused("malformed") from e
    return body, round_id if isinstance(round_id, str) else ""


async def _checked(
    request: Request, officer: Principal, body: bytes, round_id: str, registrations: Registrations, guard: Guard
) -> tuple[Run, Sequence[tuple[int, Any]], bytes]:
    """Return the run of a file, its rows that are ready, and the file of those that are not."""
    snapshot = await registrations.round_snapshot(round_id)
    metadata = CommandMetadata(actor=officer.actor)
    checked = await check_file(body, snapshot, officer, registrations, metadata, keep=True)
    outcomes = await Attempt(request, officer, guard, registrations).rehearse(checked.accepted, metadata, guarded=True)
    errors = sorted([*checked.errors, *refused_of(outcomes)], key=lambda each: each[0])
    ready = [row for row, each in outcomes.items() if isinstance(each, Result)]
    wrong = len({row for row, _ in errors})
    refused = await asyncio.to_thread(file_to_correct, body, errors) if errors else b""
    run = Run(
        id=uuid7(),
        scope=officer.scope,
        round=round_id,
        actor=officer.actor,
        at=snapshot.at,
        changed_at=snapshot.at,
        digest=b"",
        workbook=is_workbook(body),
        rows=checked.rows,
        ready=len(ready),
        known=checked.rows - len(ready) - wrong,
        wrong=wrong,
        places=Counter(checked.accepted[row].context.province for row in ready),
        reasons=Counter(each.field for _, each in errors),
        errors=[RowError(row, each.field, each.code, dict(each.details)) for row, each in errors[:ERRORS]],
        parts=0,
    )
    return run, [(row, msgspec.Raw(checked.answers[row])) for row in ready], refused


async def _own(imports: ImportRuns, officer: Principal, run_id: str) -> Run:
    """Return an import of this officer. Raise Refused: not_found, import_of_another."""
    run = await imports.find(officer.scope, run_id)
    if run.actor != officer.actor:
        raise Refused("import_of_another")
    return run


def _same(run: Run, officer: Principal, digest: bytes) -> bool:
    """Return whether this is the same file of the same officer, which is not registered yet."""
    return run.digest == digest and run.actor == officer.actor and run.state in WAITING


def _file(content: bytes, media_type: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(content, media_type=media_type, headers=headers)


async def _seats(store: StorePort, run: Run) -> list[Seats]:
    """Return what would become of the rows that are ready, by province."""
    waiting = await queries.waiting_by_province(store, run.round)
    ledgers = {each.state.province: each.state for each in await store.find(queries.ledgers(run.round))}
    found = []
    for province, people in sorted(run.places.items()):
        state, before = ledgers.get(province, ledger.State()), waiting.get(province, 0)
        free = ledger.available(state)
        seats, later = ledger.seats_for(people, free, before)
        found.append(Seats(province, people, state.quota, free, before, seats, later))
    return found


async def _shown(
    request: Request, officer: Principal, store: StorePort, clock: Clock, run: Run, errors: Sequence[Refused] = ()
) -> Response:
    lang, now = lang_of(request), clock().recorded
    labels = {name: each.label.text(lang) for name, each in FIELD.items()}
    return templates.render(
        request,
        "import.html",
        status=STATUSES[MESSAGES[errors[0].code].kind] if errors else 200,
        headers={"Cache-Control": "no-store"},
        officer=officer,
        run=run,
        own=run.actor == officer.actor,
        stale=run.state in RUNNING and (now - run.changed_at).total_seconds() > STALE,
        refused_kept=bool(run.wrong) and run.state != "expired" and now - run.changed_at < KEPT,
        codes_kept=bool(run.registered) and now - run.changed_at < KEPT,
        until=run.at + UNUSED,
        seats=await _seats(store, run) if run.state == "checked" else [],
        labels=labels,
        reasons=sorted(run.reasons.items(), key=lambda each: (-each[1], each[0])),
        advice=[(each.row, each.field, message_text(each.code, lang, **each.details)) for each in run.errors],
        roles=ROLES,
        errors=[{"field": e.field, "message": message_text(e.code, lang, **e.details)} for e in errors],
    )


async def _listed(
    request: Request,
    officer: Principal,
    store: StorePort,
    imports: ImportRuns,
    errors: Sequence[Refused] = (),
    chosen: str = "",
) -> Response:
    lang = lang_of(request)
    states: list[rounds.State] = [record.state for record in await store.find(queries.rounds())]
    opened = [each.round for each in sorted(states, key=lambda s: s.window.opens.isoformat() if s.window else "")]
    return templates.render(
        request,
        "imports.html",
        status=STATUSES[MESSAGES[errors[0].code].kind] if errors else 200,
        officer=officer,
        rounds=opened[::-1],
        chosen=chosen,
        runs=await imports.listed(officer.scope),
        columns=[(each.column or each.name, each.label.text(lang), each.example) for each in FIELDS],
        roles=ROLES,
        errors=[{"field": "file", "message": message_text(e.code, lang, **e.details)} for e in errors],
        megabytes=IMPORT_FILE >> 20,
    )
