"""Following an application by its tracking code: where it is, until when, what comes next; never who it is."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from base.ids import shown_code, typed_code
from contracts import codes
from contracts.commands import Refused
from kernel.record import Record
from programme.calendar import tehran_day, working_days_between
from programme.messages import message_text
from registration.api.applications import tracked
from registration.api.applying import site
from registration.domain import applicant
from registration.store.office import Office
from registration.store.questions import Questions
from security.auth import Principal
from web.app import limited, public
from web.pages import lang_of


class Stage(msgspec.Struct, frozen=True):
    """One stage of the way: done on a day, now until a day, or still to come."""

    name: str  # registered | screened | seated | identified | connected
    state: str  # done | now | ""
    day: date | None = None


def router(office: Office, questions: Questions) -> APIRouter:
    """The pages under /registration/tracking."""
    api = APIRouter(include_in_schema=False)

    @api.get("/tracking")
    async def tracking_form(
        request: Request,
        principal: Annotated[Principal, public()],
        code: Annotated[str, Query(max_length=40)] = "",
    ) -> Response:
        if typed := typed_code(code):
            return RedirectResponse(f"/registration/tracking/{shown_code(typed)}", 303)
        return form(request, code)

    @api.get("/tracking/{code}", dependencies=[limited("tracking", per_minute=30)])
    async def tracking_page(code: str, request: Request, principal: Annotated[Principal, public()]) -> Response:
        try:
            record = await tracked(office.store, code)
        except Refused:
            return form(request, code[:40])
        state: applicant.State = record.state
        today = tehran_day(office.clock().at)
        return site().render(
            request,
            "tracking.html",
            code=shown_code(record.private.indexed["tracking"]),
            state=state,
            standing=applicant.status(state),
            stages=stages(state),
            place=await _place(questions, record),
            reasons=[codes.DECISION_REASONS[each] for each in state.now.reasons if each in codes.DECISION_REASONS],
            left=_left(today, state.now.case_due),
            left_to_identify=_left(today, state.now.capacity_due),
        )

    def form(request: Request, typed: str) -> Response:
        message = message_text("tracking_code_unknown", lang_of(request))
        errors = [{"field": "code", "message": message}] if typed else []
        return site().render(request, "track.html", status=404 if typed else 200, typed=typed, errors=errors)

    return api


def stages(state: applicant.State) -> Sequence[Stage]:
    """The whole way, and where on it the application is."""
    now = state.now
    over = bool(now.withdrawn_at) or now.outcome == "rejected"
    days = {
        "registered": now.registered_at,
        "screened": now.decided_at,
        "seated": now.admitted_at,
        "identified": now.identified_at,
        "connected": None,
    }
    found: list[Stage] = []
    for name, at in days.items():
        reached = at is not None
        current = not reached and not over and all(each.state == "done" for each in found)
        found.append(Stage(name, "done" if reached else "now" if current else "", tehran_day(at) if at else None))
    return found


async def _place(questions: Questions, record: Record) -> int | None:
    """The place on the waiting list, from 1."""
    return await questions.ahead(record) + 1 if record.indexed.get("seating") == "waiting" else None


def _left(today: date, due: date | None) -> int | None:
    return None if due is None else working_days_between(today, due) if due >= today else -1
