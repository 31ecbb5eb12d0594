"""The page on which an applicant is erased for good: what is deleted, by whose wish, and that it cannot be undone."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from base.ids import uuid7
from contracts.codes import ERASURE_REASONS
from contracts.commands import Refused
from kernel.record import Record
from programme.messages import MESSAGES, STATUSES, message_text
from registration.api.applications import ApplicantId, find_applicant
from registration.api.dependencies import Audit, OfErasures
from registration.api.erasure import ON_REQUEST, Eraser, erased
from security.auth import Principal
from web.dependencies import Clock, Store, form_of
from web.idempotency import metadata_of
from web.pages import Pages, lang_of

TYPED = ("reason", "form_number", "confirmed", "key")

templates = Pages("registration.pages")
router = APIRouter(prefix="/desk/{applicant}/erasure", include_in_schema=False)


@router.get("")
async def form(applicant: ApplicantId, request: Request, officer: Eraser, store: Store) -> Response:
    """Show what an erasure does, and ask for its reason."""
    return _render(
        request, officer, await find_applicant(store, applicant, officer), {"reason": ON_REQUEST, "form_number": ""}
    )


@router.post("")
async def erase(
    applicant: ApplicantId,
    request: Request,
    officer: Eraser,
    store: Store,
    clock: Clock,
    erasures: OfErasures,
    audit: Audit,
) -> Response:
    """Erase the applicant once it is confirmed; if it is refused, show the form as it was filled in."""
    sent = await form_of(request)
    typed = {name: str(sent.get(name, "")).strip() for name in TYPED}
    record = await find_applicant(store, applicant, officer)
    metadata = metadata_of(request, officer, typed["key"], typed)
    if not typed["confirmed"]:
        return _render(request, officer, record, typed, [Refused("missing_field", "confirmed")])
    try:
        found = await erased(record, typed["reason"], typed["form_number"], officer, clock, erasures, audit, metadata)
    except Refused as refused:
        return _render(request, officer, record, typed, [refused])
    return _render(request, officer, found, typed)


def _render(
    request: Request, officer: Principal, record: Record, typed: Mapping[str, str], errors: Sequence[Refused] = ()
) -> Response:
    lang = lang_of(request)
    return templates.render(
        request,
        "erasure.html",
        status=STATUSES[MESSAGES[errors[0].code].kind] if errors else 200,
        officer=officer,
        subject=record.subject,
        state=record.state,
        reasons=ERASURE_REASONS,
        typed=typed,
        key=typed.get("key") or uuid7(),
        errors=[{"field": each.field, "message": message_text(each.code, lang, **each.details)} for each in errors],
    )
