"""The case page: the conditions, the form of the decision and the form of the capacity."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from fastapi import APIRouter
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from base.clock import Clock as KernelClock
from base.ids import uuid7
from contracts import codes
from contracts.commands import Refused
from contracts.envelope import decode
from kernel.commands import execute
from kernel.record import Record
from kernel.store import Store as KernelStore
from programme.calendar import tehran_day
from programme.messages import MESSAGES, STATUSES, localized, message_text
from programme.numbers import case_number
from programme.policies import policy
from screening import queries
from screening.api.capacities import Identifier
from screening.api.cases import Decider, Reader
from screening.api.claims import claim_one
from screening.domain import review as reviews
from screening.domain.applicant import Command, authors_of, facts_of
from screening.domain.capacity import IdentifyCapacity
from screening.domain.case import REJECTED, Decide, unreachable_after
from screening.domain.claim import ReleaseCase
from screening.pages.queue import HOME, templates
from screening.schemas import case_file, due_of, findings
from screening.schemas_info import time_used
from security.auth import Principal
from security.permissions import permits
from web.dependencies import Clock, Store, form_of
from web.idempotency import metadata_of
from web.pages import lang_of

CALL_DAYS, CALL_HOURS = 14, range(8, 20)  # that the form offers for the next call
ANSWERS = {"yes": True, "no": False}  # anything else is no answer

router = APIRouter(prefix="/cases", include_in_schema=False)


@router.get("/{id}")
async def case_page(
    request: Request, id: str, officer: Reader, store: Store, clock: Clock, done: bool = False
) -> Response:
    """Show a case."""
    return await render(request, store, clock, id, officer, done=done)


@router.post("/{id}/decision")
async def decide_case(request: Request, id: str, officer: Decider, store: Store, clock: Clock) -> Response:
    """Decide; if the decision is refused, show the form as it was filled in."""
    form = await form_of(request)
    return await _execute(request, store, clock, id, officer, form, decision_of(form, officer))


@router.post("/{id}/claim")
async def claim_case(request: Request, id: str, officer: Decider, store: Store, clock: Clock) -> Response:
    """Claim this case, so that its person may be called."""
    form = await form_of(request)
    await queries.find_case(store, id, officer.scope)
    metadata = metadata_of(request, officer, str(form.get("key", "")), {"claim": id})
    try:
        await claim_one(store, clock, id, officer.actor, metadata)
    except Refused as refused:
        return await render(request, store, clock, id, officer, refused=[refused])
    return RedirectResponse(f"{HOME}cases/{id}", 303)


@router.post("/{id}/release")
async def release_case(request: Request, id: str, officer: Decider, store: Store, clock: Clock) -> Response:
    """Return the case to the queue and redirect there."""
    refused, typed = await submit(
        request, store, clock, id, officer, await form_of(request), ReleaseCase(officer.actor)
    )
    if refused:
        return await render(request, store, clock, id, officer, refused=refused, typed=typed)
    return RedirectResponse(HOME, 303)


@router.post("/{id}/capacity")
async def identify_capacity(request: Request, id: str, officer: Identifier, store: Store, clock: Clock) -> Response:
    """Identify the capacity; if the capacity is refused, show the form as it was filled in."""
    form = await form_of(request)
    fields = {name: str(form.get(name, "")) for name in ("product_group", "unit", "monthly_band", "skill_level")}
    command = IdentifyCapacity(**fields, needs=tuple(map(str, form.getlist("needs"))))
    empty = [Refused("code_unknown", name) for name, value in fields.items() if not value]
    return await _execute(request, store, clock, id, officer, form, command, empty)


async def _execute(
    request: Request,
    store: KernelStore,
    clock: KernelClock,
    id: str,
    officer: Principal,
    form: FormData,
    command: Decide | IdentifyCapacity,
    empty: Sequence[Refused] = (),
) -> Response:
    """Execute the command, unless fields are empty: then show all of them at once."""
    refused, typed = await submit(request, store, clock, id, officer, form, command, empty)
    if refused:
        return await render(request, store, clock, id, officer, refused=refused, typed=typed)
    return RedirectResponse(f"{HOME}cases/{id}?done=true", 303)


def decision_of(form: FormData, officer: Principal) -> Decide:
    """Return the decision in a form, with the answers to the conditions that an officer asks about."""
    answers = {
        name.removeprefix("rule."): ANSWERS[value]
        for name, value in form.multi_items()
        if name.startswith("rule.") and isinstance(value, str) and value in ANSWERS
    }
    outcome = str(form.get("outcome", ""))
    reasons = tuple(map(str, form.getlist("reasons"))) if outcome == REJECTED else ()
    return Decide(outcome, reasons, answers, officer.actor)


async def submit(
    request: Request,
    store: KernelStore,
    clock: KernelClock,
    id: str,
    officer: Principal,
    form: FormData,
    command: Command,
    empty: Sequence[Refused] = (),
) -> tuple[Sequence[Refused], dict[str, list[str]]]:
    """Execute the command of a form under the form's key, unless fields are empty.

    Return the refusals, and the fields as they were filled in. Raise Refused: not_found, if the case is outside the
    officer's scope.
    """
    await queries.find_case(store, id, officer.scope)
    typed: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        typed.setdefault(name, []).append(value if isinstance(value, str) else "")
    key = (typed.pop("key", None) or [""])[0]
    if empty:
        return empty, typed
    try:
        await execute(store, id, command, clock, metadata_of(request, officer, key, typed))
    except Refused as refused:
        return [refused], typed
    return (), typed


async def render(
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
    """Show the case with its forms, as they were filled in if one was refused."""
    record = await queries.find_case(store, id, officer.scope)
    today, due = tehran_day(clock().at), due_of(record.state)
    return templates.render(
        request,
        "case.html",
        status=STATUSES[MESSAGES[refused[0].code].kind] if refused else 200,
        officer=officer,
        may_decide=permits(officer.roles, "decide_screening"),
        case=case_file(record, [decode(raw) for raw in await store.history(id)]),
        number=case_number(record.subject, record.state.province),
        rules=policy(record.state.policy),
        time_used=time_used(record.state, clock().at),
        due=due,
        days_left=(due - today).days if due else 0,
        done=done,
        review=record.state.review,
        may_review=reviews.status_of(record.state.review) == reviews.PENDING
        and not reviews.excluded_as(record.state.case, authors_of(record.state), officer.actor),
        call_days=[today + timedelta(each) for each in range(CALL_DAYS)],
        call_hours=CALL_HOURS,
        unanswered=len(facts_of(record.state).unanswered),
        not_reached=unreachable_after(policy(record.state.policy), facts_of(record.state)) is None,
        key=uuid7(),
        typed=typed or {},
        errors=[error_of(record, each, lang_of(request)) for each in refused],
        codes=codes,
    )


def error_of(record: Record, refused: Refused, lang: str, field: str = "outcome") -> dict[str, str]:
    """Return a refusal for the error summary; one that is about no field is shown at the given one."""
    details = dict(refused.details)
    if refused.code == "not_eligible":
        violated = [each for each in findings(record.state) if each.rule in details["rules"]]
        details["rules"] = [localized(each.fa, each.en, lang).removesuffix(".") for each in violated]
    return {"field": refused.field or field, "message": message_text(refused.code, lang, **details)}
