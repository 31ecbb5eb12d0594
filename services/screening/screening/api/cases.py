"""The cases for programmes: the queue, decisions and capacities, one by one or as a list."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from base.clock import Clock
from contracts.commands import Refused
from kernel.commands import CommandMetadata, execute
from kernel.store import Store
from programme.calendar import day_end, day_start, tehran_day
from programme.reference import province as known_province
from screening.api import views
from screening.store import Cases, Place, place_of
from security.auth import Principal
from web.app import Etag, Page, Paging, allow, etagged, idempotent, paged
from web.idempotency import execute_each
from web.openapi import MISSING

READERS = ("screener", "manager", "labour_expert", "auditor")
DECIDERS = ("screener", "manager")
COUNTERS = (*READERS, "council", "analyst", "ministry_admin")
LIST_BODY = 512 << 10  # bytes


def router(store: Store, questions: Cases, clock: Clock) -> APIRouter:
    """The routes under /screening/v1."""
    api = APIRouter(prefix="/v1", tags=["cases"])

    @api.get("/cases")
    async def cases(
        principal: Annotated[Principal, allow(*READERS)],
        paging: Annotated[Paging, paged()],
        state: Annotated[views.Stage, Query(description="Where the case stands.")] = "open",
        province: Annotated[str, Query(max_length=8, description="Within the caller's own scope.")] = "",
    ) -> Page[views.Row]:
        """Cases in one state, the earliest deadline first."""
        scope = narrowed(principal, province)
        found = [] if scope is None else await questions.queue(scope, state, paging.limit + 1, place(paging.after))
        places = {each.subject: place_of(each) for each in found}
        return paging.page([views.row(each) for each in found], after=lambda row: places[row.id])

    @api.get("/cases/counts")
    async def case_counts(
        principal: Annotated[Principal, allow(*COUNTERS)],
        province: Annotated[str, Query(max_length=8, description="Within the caller's own scope.")] = "",
    ) -> views.Count:
        """How many cases there are by state, how many are overdue, and how many are due today."""
        scope = narrowed(principal, province)
        if scope is None:
            return views.Count(states={}, overdue=0, due_today=0)
        today = tehran_day(clock().at)
        found = await questions.counts(scope, (day_start(today), day_end(today)))
        late, until_today = found.open_until
        return views.Count(states=dict(found.states), overdue=late, due_today=until_today - late)

    @api.post("/cases/next", openapi_extra={MISSING: "no_case_waits"})
    async def take_next(principal: Annotated[Principal, allow(*DECIDERS)]) -> views.Case:
        """The most urgent open case that nobody has in hand; for a quarter of an hour nobody else is handed it."""
        subject = await questions.take(principal.scope, principal.actor)
        record = await questions.case(subject, principal.scope) if subject else None
        if record is None:
            raise Refused("no_case_waits")
        return views.case(record)

    @api.post("/cases/decisions", response_model_exclude_none=True, max_body_size=LIST_BODY)
    async def decide_list(
        body: views.Decisions,
        principal: Annotated[Principal, allow(*DECIDERS)],
        ask: Annotated[CommandMetadata, idempotent()],
    ) -> views.Outcomes:
        """Decides on up to 500 cases; each item is answered for itself, in order.

        Without a checklist the officer answers for the conditions that would be asked by telephone.
        """
        items = [(each.id, each.command(principal.actor)) for each in body.decisions]
        return await many(store, questions, clock, principal.scope, items, ask)

    @api.get("/cases/{id}")
    async def case(
        id: str, principal: Annotated[Principal, allow(*READERS)], etag: Annotated[Etag, etagged()]
    ) -> views.CaseFile:
        """One case with the trace of its conditions and everything that screening said about it."""
        record = await found_case(questions, id, principal)
        etag.match(record.version)
        return views.case_file(record, await questions.history(id))

    @api.post("/cases/{id}/decision")
    async def decide(
        id: str,
        body: views.Decision,
        principal: Annotated[Principal, allow(*DECIDERS)],
        ask: Annotated[CommandMetadata, idempotent()],
    ) -> views.Case:
        """Approves or rejects. Whoever registered the applicant may not; a rejection carries its reasons."""
        await found_case(questions, id, principal)
        return views.case((await execute(store, id, body.command(principal.actor), clock, ask)).record)

    @api.post("/applicants/capacities", response_model_exclude_none=True, max_body_size=LIST_BODY)
    async def identify_list(
        body: views.Capacities,
        principal: Annotated[Principal, allow(*DECIDERS)],
        ask: Annotated[CommandMetadata, idempotent()],
    ) -> views.Outcomes:
        """Identifies the capacities of up to 500 applicants; each item is answered for itself, in order."""
        items = [(each.id, each.command()) for each in body.capacities]
        return await many(store, questions, clock, principal.scope, items, ask)

    @api.post("/applicants/{id}/capacity")
    async def identify(
        id: str,
        body: views.Capacity,
        principal: Annotated[Principal, allow(*DECIDERS)],
        ask: Annotated[CommandMetadata, idempotent()],
    ) -> views.Case:
        """Tells what an admitted applicant can make; once for an application."""
        await found_case(questions, id, principal)
        return views.case((await execute(store, id, body.command(), clock, ask)).record)

    return api


async def found_case(questions: Cases, subject: str, principal: Principal) -> Any:
    """The case; a foreign one is as missing as any. Raises Refused."""
    record = await questions.case(subject, principal.scope)
    if record is None:
        raise Refused("not_found")
    return record


async def many(
    store: Store, questions: Cases, clock: Clock, scope: str, items: Sequence[tuple[str, Any]], ask: CommandMetadata
) -> views.Outcomes:
    """Asks the same of many subjects in one transaction, each for itself."""
    inside = await questions.inside([subject for subject, _ in items], scope)
    answered = [
        views.outcome(subject, done) for subject, done, _ in await execute_each(store, items, inside, clock, ask)
    ]
    refused = sum(each.code is not None for each in answered)
    return views.Outcomes(items=answered, done=len(answered) - refused, refused=refused)


def narrowed(principal: Principal, province: str) -> str | None:
    """The part of the principal's scope that lies in this province; none where nothing does. Raises Refused."""
    if not province or province == principal.province:
        return principal.scope
    return None if principal.province else known_province(province).code


def place(after: tuple[Any, ...] | None) -> Place | None:
    """Where the page before ended. Raises Refused."""
    if after is None:
        return None
    try:
        deadline, subject = after
        return datetime.fromisoformat(deadline), str(subject)
    except (TypeError, ValueError) as e:
        raise Refused("cursor_invalid", "after") from e
