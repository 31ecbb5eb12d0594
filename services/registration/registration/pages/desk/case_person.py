"""The person of a case, in a frame of the case's page: who is called, under which number.

Name and number go from registration to the officer's browser; screening never has them. The reading is recorded.
"""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from contracts.codes import CALL_REASONS
from contracts.commands import Refused
from kernel.record import Record
from programme import numbers
from programme.messages import MESSAGES, STATUSES, message_text
from registration.api.applications import ApplicantId, check_assigned, find_applicant
from registration.api.dependencies import Audit, Registrations
from registration.api.search import Reader
from registration.domain.applicant import has_left
from registration.domain.application import full_name, telephone
from registration.pages.search import Numbers
from security.auth import Principal
from web.dependencies import Clock, Store
from web.middleware import FRAMED
from web.pages import Pages, lang_of
from web.rate_limit import limited

TRIES = 15  # reloads of the frame, two seconds apart, until registration has consumed the claim

templates = Pages("registration.pages")
router = APIRouter(prefix="/cases/{applicant}/person", include_in_schema=False)


@router.get("", dependencies=[limited("people_of_cases", per_minute=120)])
async def person_page(
    applicant: ApplicantId,
    request: Request,
    officer: Reader,
    store: Store,
    clock: Clock,
    registrations: Registrations,
    audit: Audit,
    reason: Annotated[str, Query(max_length=40)] = "",
    tries: Annotated[int, Query(ge=0, le=TRIES)] = 0,
) -> Response:
    """Ask for the reason; with one show name, telephone number and the masked national ID, which is recorded first.

    While the claim on the case is not known here yet, the frame loads itself again a few times.
    """
    record = await find_applicant(store, applicant, officer)
    if has_left(record.state):
        return _render(request, officer, record)
    try:
        check_assigned(officer, record, clock().at)
        if reason and reason not in CALL_REASONS:
            raise Refused("reason_unknown", field="reason")
    except Refused as refused:
        again = tries + 1 if refused.code == "not_assigned" and tries < TRIES else 0
        return _render(request, officer, record, refused=refused, next_try=again)
    if not reason:
        return _render(request, officer, record)
    await audit.append(officer.actor, record.subject, f"case/{reason}", clock().recorded)
    person = (await registrations.persons.open([record])).get(record.subject)
    if person is None:
        return _render(request, officer, record, lost=True)
    mobile = telephone(person)
    shown = Numbers(
        name=full_name(person),
        national_id=numbers.masked_national_id(person["national_id"], "•"),
        mobile=f"0{mobile[3:6]} {mobile[6:9]} {mobile[9:]}",
        call=mobile,
    )
    return _render(request, officer, record, shown=shown)


def _render(
    request: Request,
    officer: Principal,
    record: Record,
    *,
    refused: Refused | None = None,
    next_try: int = 0,
    shown: Numbers | None = None,
    lost: bool = False,
) -> Response:
    lang = lang_of(request)
    response = templates.render(
        request,
        "case_person.html",
        status=STATUSES[MESSAGES[refused.code].kind] if refused and not next_try else 200,
        officer=officer,
        subject=record.subject,
        has_left=has_left(record.state),
        refused=message_text(refused.code, lang, **refused.details) if refused else "",
        next_try=next_try,
        reasons=CALL_REASONS,
        shown=shown,
        lost=lost,
    )
    response.headers.update(FRAMED)
    return response
