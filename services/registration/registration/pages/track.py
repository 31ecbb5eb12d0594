"""The tracking page: status, dates and what comes next for a tracking code, without identity."""

from datetime import date
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from base.ids import shown_code, typed_code
from contracts import codes
from contracts.commands import Refused
from programme.calendar import tehran_day
from programme.messages import message_text
from programme.numbers import case_number
from programme.work_calendar import work_calendar
from registration import queries
from registration.api.dependencies import Registrations
from registration.api.tracking import find_by_code
from registration.domain import applicant
from registration.domain.desk_acts import last_day_to_appeal
from registration.domain.progress import Application, under_appeal
from security.auth import Principal
from web.authorization import public
from web.dependencies import Clock, Store
from web.pages import Pages, lang_of
from web.rate_limit import limited

PATH = "/registration/tracking"

Anyone = Annotated[Principal, public()]

templates = Pages("registration.pages")
router = APIRouter(prefix="/tracking", include_in_schema=False)


class Stage(msgspec.Struct, frozen=True):
    """One stage of an application: done on a day, in progress, or ahead."""

    name: str  # registered | screened | appeal | seated | identified | connected
    state: str  # done | now | ""
    day: date | None = None


@router.get("")
async def tracking_form(
    request: Request, principal: Anyone, code: Annotated[str, Query(max_length=40)] = ""
) -> Response:
    """Ask for the tracking code."""
    if tracking := typed_code(code):
        return RedirectResponse(f"{PATH}/{shown_code(tracking)}", 303)
    return _render_form(request, code)


@router.get("/{code}", dependencies=[limited("tracking", per_minute=30)])
async def tracking_page(
    code: str, request: Request, principal: Anyone, registrations: Registrations, store: Store, clock: Clock
) -> Response:
    """Show the application with a tracking code."""
    try:
        record = await find_by_code(request, principal, registrations, code)
    except Refused as refused:
        if refused.code != "not_found":
            raise
        return _render_form(request, code[:40])
    state: applicant.State = record.state
    current, today, lang = state.current, tehran_day(clock().at), lang_of(request)
    waiting = record.indexed.get("seating") == "waiting"
    return templates.render(
        request,
        "tracking.html",
        code=shown_code(typed_code(code)),
        number=case_number(record.subject, state.context.province),
        province=state.context.province,
        current=current,
        standing=applicant.status(state),
        may_return=applicant.may_register_again(state),
        stages=stages(current),
        position=await queries.count_ahead(store, record) + 1 if waiting else None,
        papers=[codes.INFO_ITEMS[each].text(lang) for each in current.info_items if each in codes.INFO_ITEMS],
        info_days_left=working_days_left(today, current.info_due, state.context.province),
        reasons=[codes.DECISION_REASONS[each].text(lang) for each in current.reasons if each in codes.DECISION_REASONS],
        appeal_until=(appeal_ends := last_day_to_appeal(current, state.context.policy, state.context.province)),
        appeal_days_left=working_days_left(today, appeal_ends, state.context.province),
        under_review_days_left=working_days_left(today, current.appeal_due, state.context.province),
        days_left=working_days_left(today, current.case_due, state.context.province),
        capacity_days_left=working_days_left(today, current.capacity_due, state.context.province),
    )


def stages(current: Application) -> list[Stage]:
    """Return all stages, with the state of the application in each."""
    pending = under_appeal(current)
    ended = bool(current.withdrawn_at) or (current.outcome == "rejected" and not pending)
    moments = {
        "registered": current.registered_at,
        "screened": current.decided_at,
        **({"appeal": current.appeal_decided_at} if current.appealed_at else {}),
        "seated": current.admitted_at,
        "identified": current.identified_at,
        "connected": None,
    }
    found: list[Stage] = []
    for name, at in moments.items():
        in_progress = at is None and not ended and all(each.state == "done" for each in found)
        state = "done" if at else "now" if in_progress else ""
        found.append(Stage(name, state, tehran_day(at) if at else None))
    return found


def _render_form(request: Request, typed: str) -> Response:
    message = message_text("tracking_code_unknown", lang_of(request))
    errors = [{"field": "code", "message": message}] if typed else []
    return templates.render(request, "track.html", status=404 if typed else 200, typed=typed, errors=errors)


def working_days_left(today: date, due: date | None, province: str) -> int | None:
    """Return the working days until a deadline; -1 after it."""
    if due is None:
        return None
    return work_calendar().working_days_between(today, due, province) if due >= today else -1
