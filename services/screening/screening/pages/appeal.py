"""The appeal page: the first decision, the form that files an appeal, and the form that decides it."""

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
from programme.messages import MESSAGES, STATUSES, message_text
from programme.numbers import case_number
from programme.policies import policy
from screening import queries
from screening.api.appeals import AppealDecider, AppealFiler, AppealReader
from screening.domain.appeal import DecideAppeal, FileAppeal, excluded_as
from screening.domain.applicant import APPEALED, DECIDED, State, authors_of, facts_of
from screening.domain.case import unreachable_after
from screening.pages.case import decision_of, error_of, submit
from screening.pages.queue import HOME, templates
from screening.schemas import appeal_file
from security.auth import Principal
from security.permissions import permits
from web.dependencies import Clock, Store, form_of
from web.pages import lang_of

router = APIRouter(prefix="/cases/{id}/appeal", include_in_schema=False)


@router.get("")
async def appeal_page(
    request: Request, id: str, officer: AppealReader, store: Store, clock: Clock, done: bool = False
) -> Response:
    """Show the appeal of a case, or the form that files one."""
    return await _render(request, store, clock, id, officer, done=done)


@router.post("")
async def file_appeal(request: Request, id: str, officer: AppealFiler, store: Store, clock: Clock) -> Response:
    """File the applicant's appeal; if it is refused, show the form as it was filled in."""
    form = await form_of(request)
    command = FileAppeal(str(form.get("form", "")))
    refused, typed = await submit(request, store, clock, id, officer, form, command)
    if refused:
        return await _render(request, store, clock, id, officer, refused=refused, typed=typed)
    return RedirectResponse(f"{HOME}cases/{id}/appeal?done=true", 303)


@router.post("/decision")
async def decide_appeal(request: Request, id: str, officer: AppealDecider, store: Store, clock: Clock) -> Response:
    """Decide on the appeal; if the decision is refused, show the form as it was filled in."""
    form = await form_of(request)
    command = DecideAppeal(decision_of(form, officer))
    refused, typed = await submit(request, store, clock, id, officer, form, command)
    if refused:
        return await _render(request, store, clock, id, officer, refused=refused, typed=typed)
    return RedirectResponse(f"{HOME}cases/{id}/appeal?done=true", 303)


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
    case, today, lang = appeal_file(record), tehran_day(clock().at), lang_of(request)
    pending = case.state == APPEALED
    excluded = excluded_as(state.appeal, state.case, authors_of(state), officer.actor) if pending else ""
    may_decide = pending and permits(officer.roles, "decide_appeal")
    open_until = case.until if case.state == DECIDED and not case.appeal else None
    may_file = permits(officer.roles, "file_appeal") and open_until is not None and today <= open_until
    field = "outcome" if may_decide and not excluded else "form"
    return templates.render(
        request,
        "appeal.html",
        status=STATUSES[MESSAGES[refused[0].code].kind] if refused else 200,
        officer=officer,
        case=case,
        number=case_number(record.subject, record.state.province),
        rules=policy(state.policy),
        today=today,
        days_left=(case.appeal.due - today).days if case.appeal else 0,
        may_file=may_file,
        may_decide=may_decide and not excluded,
        may_read_case=permits(officer.roles, "decide_screening", "R"),
        excluded=message_text(excluded, lang) if may_decide and excluded else "",
        done=done,
        not_reached=unreachable_after(policy(state.policy), facts_of(state)) is None,
        key=uuid7(),
        typed=typed or {},
        errors=[error_of(record, each, lang, field) for each in refused],
        codes=codes,
    )
