"""The page of a lost tracking code: it is sent again to the registered number; the page never shows whether."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends
from starlette.background import BackgroundTask
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from contracts.commands import Refused
from kernel.errors import Transient
from kernel.record import Fault
from programme import numbers
from programme.messages import message_text
from registration import metrics
from registration.api.dependencies import Registrations
from registration.api.tracking import send_again
from registration.registrations import RegistrationService
from security.auth import Principal
from web.authorization import public
from web.dependencies import form_of
from web.pages import Pages, lang_of
from web.rate_limit import limited

PATH = "/registration/tracking/lost"
PARSERS = {"national_id": numbers.national_id, "phone": numbers.mobile}

Anyone = Annotated[Principal, public()]

log = structlog.get_logger(__name__)
templates = Pages("registration.pages")
router = APIRouter(prefix="/tracking/lost", include_in_schema=False)


@router.get("")
async def lost_form(request: Request, principal: Anyone) -> Response:
    """Ask for national ID and mobile number."""
    return templates.render(request, "lost_code.html", typed=dict.fromkeys(PARSERS, ""), errors=[], sent=False)


@router.post("", dependencies=[limited("lost-code", per_minute=10, burst=20)])
async def lost_code(
    request: Request,
    principal: Anyone,
    registrations: Registrations,
    form: Annotated[FormData, Depends(form_of)],
) -> Response:
    """Answer the same to everyone, and look after the answer is sent: neither it nor its time reveals who applied."""
    typed = {name: str(form.get(name, ""))[:40] for name in PARSERS}
    parsed, refusals = _parse(typed)
    if refusals:
        errors = [
            {"field": each.field, "message": message_text(each.code, lang_of(request), **each.details)}
            for each in refusals
        ]
        return templates.render(request, "lost_code.html", status=422, typed=typed, errors=errors, sent=False)
    return RedirectResponse(f"{PATH}/sent", 303, background=BackgroundTask(_send, registrations, *parsed))


@router.get("/sent")
async def code_sent(request: Request, principal: Anyone) -> Response:
    """State what happens if the data matched."""
    return templates.render(request, "lost_code.html", typed={}, errors=[], sent=True)


async def _send(registrations: RegistrationService, national_id: str, mobile: str) -> None:
    try:
        result = "sent" if await send_again(registrations, national_id, mobile) else "not_sent"
    except Transient:  # the person asks again
        result = "failed"
    except Exception as error:  # raised, it would end the visitor's connection, and show that someone is registered
        fault = Fault.of(error)  # its message is not logged: it may contain an identity
        log.error("lost code not looked up", error=fault.error, where=fault.where)
        result = "failed"
    metrics.LOST_CODES.labels(result).inc()


def _parse(typed: dict[str, str]) -> tuple[list[str], list[Refused]]:
    """Return national ID and mobile number, and what is wrong with them."""
    parsed, refusals = list[str](), list[Refused]()
    for name, parse in PARSERS.items():
        try:
            parsed.append(parse(typed[name], name))
        except Refused as refused:
            refusals.append(refused)
    return parsed, refusals
