"""Cases: the queue, one case, and decisions, one by one or as a list."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from contracts.envelope import decode
from kernel.commands import CommandMetadata, execute
from programme.calendar import day_end, day_start, tehran_day
from programme.reference import province_or_all
from screening import queries, schemas
from security.auth import Principal
from security.scopes import restricted
from web.authorization import allow
from web.dependencies import Clock, Store
from web.idempotency import Outcomes, execute_each, idempotent
from web.pagination import Etag, Page, Paging, etagged, paged

LIST_BODY = 512 << 10  # bytes

Reader = Annotated[Principal, allow("decide_screening", "R")]
Decider = Annotated[Principal, allow("decide_screening")]
Province = Annotated[str, Query(max_length=8, description="Within the caller's own scope.")]
Metadata = Annotated[CommandMetadata, idempotent()]

router = APIRouter(prefix="/v1", tags=["cases"])


@router.get("/cases")
async def list_cases(
    principal: Reader,
    store: Store,
    paging: Annotated[Paging, paged()],
    state: Annotated[schemas.Stage, Query(description="The state of the case.")] = "open",
    province: Province = "",
) -> Page[schemas.Row]:
    """Return the cases in one state, the earliest deadline first."""
    scope = restricted(principal.scope, province_or_all(province))
    after = paging.after_key(datetime, str)
    found = []
    if scope is not None:
        found = await queries.read_queue(store, scope, state, after=after, limit=paging.limit + 1)
    keys = {each.subject: queries.sort_key(each) for each in found}
    return paging.page([schemas.row(each) for each in found], after=lambda row: keys[row.id])


@router.get("/cases/counts")
async def count_cases(
    principal: Annotated[Principal, allow("reports", "A")], store: Store, clock: Clock, province: Province = ""
) -> schemas.Count:
    """Return the number of cases by state, of overdue cases, and of cases due today."""
    scope = restricted(principal.scope, province_or_all(province))
    if scope is None:
        return schemas.Count(states={}, overdue=0, due_today=0)
    today = tehran_day(clock().at)
    counts = await queries.count(store, scope, (day_start(today), day_end(today)))
    overdue, until_tonight = counts.due_until
    return schemas.Count(states=counts.by_state, overdue=overdue, due_today=until_tonight - overdue)


@router.post("/cases/decisions", response_model_exclude_none=True, max_body_size=LIST_BODY)
async def decide_cases(
    body: schemas.Decisions, principal: Decider, store: Store, clock: Clock, metadata: Metadata
) -> Outcomes[schemas.Outcome]:
    """Decide on up to 500 cases, each independent of the others.

    Each approval needs the answers to all conditions that are asked by telephone.
    """
    commands = [(each.id, each.command(principal.actor)) for each in body.decisions]
    permitted = await store.find_subjects(queries.selected(principal.scope, [each.id for each in body.decisions]))
    return schemas.outcomes(await execute_each(store, commands, permitted, clock, metadata))


@router.get("/cases/numbers/{id}")
async def find_cases(id: str, principal: Reader, store: Store) -> list[schemas.Row]:
    """Return the cases with a number as people say it: `20-4812-7306`, also in Persian digits or without dashes.

    It is nearly always one: of 150,000 cases of a round about seven share their number with another one of their
    province. Inside a province the last eight digits are enough.
    """
    found = await queries.find_numbered(store, id, principal.scope)
    return [schemas.row(each) for each in found]


@router.get("/cases/{id}")
async def get_case(id: str, principal: Reader, store: Store, etag: Annotated[Etag, etagged()]) -> schemas.CaseFile:
    """Return one case with its conditions and its history of events."""
    record = await queries.find_case(store, id, principal.scope)
    etag.match(record.version)
    return schemas.case_file(record, [decode(raw) for raw in await store.history(id)])


@router.post("/cases/{id}/decision")
async def decide_case(
    id: str, body: schemas.Decision, principal: Decider, store: Store, clock: Clock, metadata: Metadata
) -> schemas.Case:
    """Approve or reject. The officer who registered the applicant may not decide; a rejection needs reasons."""
    await queries.find_case(store, id, principal.scope)
    return schemas.case((await execute(store, id, body.command(principal.actor), clock, metadata)).record)
