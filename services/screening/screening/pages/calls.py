"""The form of a call on the case page: what came of it, or the day and hour of the next one."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time

from fastapi import APIRouter
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from contracts.commands import Refused
from programme.calendar import TEHRAN
from screening.api.cases import Decider
from screening.domain.calls import CALL_BACK, LogCall
from screening.pages.case import render, submit
from screening.pages.queue import HOME
from security.auth import Principal
from web.dependencies import Clock, Store, form_of

router = APIRouter(prefix="/cases", include_in_schema=False)


@router.post("/{id}/calls")
async def log_call(request: Request, id: str, officer: Decider, store: Store, clock: Clock) -> Response:
    """Log a call; if it is refused, show the form as it was filled in."""
    form = await form_of(request)
    command, empty = call_of(form, officer)
    refused, typed = await submit(request, store, clock, id, officer, form, command, empty)
    if refused:
        return await render(request, store, clock, id, officer, refused=refused, typed=typed)
    return RedirectResponse(f"{HOME}cases/{id}#calls", 303)


def call_of(form: FormData, officer: Principal) -> tuple[LogCall, Sequence[Refused]]:
    """Return the call in a form, and what is missing in it."""
    outcome = str(form.get("call", ""))
    at = _time_of(str(form.get("day", "")), str(form.get("hour", "")))
    missing = [Refused("next_call_missing", "next_call")] if outcome == CALL_BACK and at is None else []
    return LogCall(outcome, at if outcome == CALL_BACK else None, officer.actor), missing


def _time_of(day: str, hour: str) -> datetime | None:
    """Return the beginning of an hour in Tehran; None if it is no time."""
    try:
        return datetime.combine(date.fromisoformat(day), time(int(hour)), TEHRAN).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
