"""The page of the papers of a case: what was asked, whose turn it is, and the forms that ask and record."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from base.clock import Clock as KernelClock
from base.ids import uuid7
from contracts import codes
from contracts.commands import Refused
from kernel.store import Store as KernelStore
from programme.calendar import tehran_day
from programme.messages import MESSAGES, STATUSES
from programme.numbers import case_number
from programme.policies import policy
from screening import queries
from screening.api.cases import Decider
from screening.api.info import InfoReader, InfoRecorder
from screening.domain.applicant import INFO_REQUESTED, OPEN, State
from screening.domain.info import RecordInfo, RequestInfo
from screening.pages.case import error_of, submit
from screening.pages.queue import HOME, days_used, templates
from screening.schemas_info import info_file
from security.auth import Principal
from security.permissions import permits
from web.dependencies import Clock, Store, form_of
from web.pages import lang_of

router = APIRouter(prefix="/cases/{id}/info", include_in_schema=False)


@router.get("")
async def info_page(
    request: Request, id: str, officer: InfoReader, store: Store, clock: Clock, done: bool = False
) -> Response:
    """Show what was asked, or the form that asks."""
    return await _render(request, store, clock, id, officer, done=done)


@router.post("")
async def request_info(request: Request, id: str, officer: Decider, store: Store, clock: Clock) -> Response:
    """Ask for papers; if that is refused, show the form as it was filled in."""
    form = await form_of(request)
    command = RequestInfo(tuple(map(str, form.getlist("items"))), officer.actor)
    refused, typed = await submit(request, store, clock, id, officer, form, command)
    if refused:
        return await _render(request, store, clock, id, officer, refused=refused, typed=typed)
    return RedirectResponse(f"{HOME}cases/{id}/info?done=true", 303)


@router.post("/receipt")
async def record_info(request: Request, id: str, officer: InfoRecorder, store: Store, clock: Clock) -> Response:
    """Record which papers came; if that is refused, show the form as it was filled in."""
    form = await form_of(request)
    command = RecordInfo(tuple(map(str, form.getlist("items"))))
    refused, typed = await submit(request, store, clock, id, officer, form, command)
    if refused:
        return await _render(request, store, clock, id, officer, refused=refused, typed=typed)
    return RedirectResponse(f"{HOME}cases/{id}/info?done=true", 303)


async def _render(
    request: Request,
    store: KernelStore,
    clock: KernelClock,
    id: str,
    officer: Principal,
    *,
    done: bool = False,
    refused: Sequence[Refused] = (),
    typed: Mapping[str, Sequence[str]] | None = None,
) -> Response:
    record = await queries.find_case(store, id, officer.scope)
    state: State = record.state
    case, today, lang = info_file(record, clock().at), tehran_day(clock().at), lang_of(request)
    waiting, asked = case.state == INFO_REQUESTED, case.request
    return templates.render(
        request,
        "info.html",
        status=STATUSES[MESSAGES[refused[0].code].kind] if refused else 200,
        officer=officer,
        case=case,
        number=case_number(record.subject, record.state.province),
        rules=policy(state.policy),
        days_left=days_used(today, asked.due, state.province) if waiting and asked and asked.due >= today else None,
        may_ask=case.state == OPEN and case.requests_left > 0 and permits(officer.roles, "decide_screening"),
        may_record=bool(asked and not asked.supplied and case.state in (OPEN, INFO_REQUESTED))
        and permits(officer.roles, "record_info"),
        may_read_case=permits(officer.roles, "decide_screening", "R"),
        done=done,
        key=uuid7(),
        typed=typed or {},
        errors=[error_of(record, each, lang, "items") for each in refused],
        codes=codes,
    )
