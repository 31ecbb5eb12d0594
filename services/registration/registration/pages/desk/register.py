"""The page on which an officer registers a person who is at the desk: all fields at once, on the signed form."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from base.ids import shown_code, uuid7
from contracts.commands import Refused
from programme import reference
from programme.messages import MESSAGES, STATUSES, message_text
from programme.policies import CURRENT, policy
from registration.api.dependencies import Guard, Registrations, bounded_intake, check_scope
from registration.domain import consent
from registration.domain.application import FIELD, FIELDS, InvalidApplication
from registration.pages.apply import OpenRound
from registration.registrations import RoundSnapshot
from security.auth import Principal
from web.authorization import allow
from web.dependencies import form_of
from web.idempotency import metadata_of
from web.pages import Pages, lang_of
from web.rate_limit import limited

ASKED = tuple(each for each in FIELDS if each.step and each.name != "province")  # an officer acts in one province

Registrar = Annotated[Principal, allow("register")]
Options = Sequence[tuple[str, str]]  # code and label

templates = Pages("registration.pages")
router = APIRouter(prefix="/desk/register", include_in_schema=False)


@router.get("")
async def form(request: Request, officer: Registrar, snapshot: OpenRound) -> Response:
    """Show the empty form, or that the round is not open."""
    return _render(request, officer, snapshot, {})


@router.post("", dependencies=[limited("applications", per_minute=6_000), bounded_intake()])
async def register(
    request: Request, officer: Registrar, snapshot: OpenRound, registrations: Registrations, guard: Guard
) -> Response:
    """Register the person and show their tracking code; if it is refused, the form as it was filled in."""
    sent = await form_of(request)
    typed = {each.name: str(sent.get(each.name, "")).strip() for each in (*ASKED, FIELD["consent"])}
    typed["province"] = officer.province
    if snapshot is None:
        return _render(request, officer, None, typed)
    errors: list[Refused] = []
    try:
        accepted = snapshot.accept(typed)
        check_scope(officer, accepted)
        metadata = metadata_of(request, officer, str(sent.get("key", "")), typed)
        async with guard.attempt(request, officer):
            done = await registrations.register(snapshot, accepted, "desk", metadata)
    except InvalidApplication as invalid:
        errors = invalid.errors
    except Refused as refused:
        if refused.code == "too_many_requests":
            raise
        errors = [refused]
    if errors:
        return _render(request, officer, snapshot, typed, errors)
    code = registrations.codes.code_of(done.record)
    days = policy(snapshot.round.policy).screening_days
    return templates.render(request, "registered.html", officer=officer, code=shown_code(code), days=days)


def _render(
    request: Request,
    officer: Principal,
    snapshot: RoundSnapshot | None,
    typed: Mapping[str, str],
    errors: Sequence[Refused] = (),
) -> Response:
    lang = lang_of(request)
    return templates.render(
        request,
        "register.html",
        status=STATUSES[MESSAGES[errors[0].code].kind] if errors else 200,
        officer=officer,
        is_open=snapshot is not None,
        inputs=ASKED,
        options=_options(officer, snapshot, lang),
        typed=typed,
        errors=[_error(each, lang) for each in errors],
        key=typed.get("key") or uuid7(),
        sentences=consent.TEXTS[consent.CURRENT].sentences(lang),
        version=consent.CURRENT,
        minimum_age=policy(snapshot.round.policy if snapshot else CURRENT).minimum_age,
    )


def _options(officer: Principal, snapshot: RoundSnapshot | None, lang: str) -> Mapping[str, Options]:
    """Return what can be chosen, by field: the officer's own counties and the job fields of the round."""
    counties = [each for each in reference.counties_of(officer.province) if officer.county in ("", each.code)]
    fields = [reference.job_fields()[code] for code in snapshot.round.fields] if snapshot else []
    closed = {each.name: [(code, label.text(lang)) for code, label in each.labels.items()] for each in ASKED}
    places: tuple[tuple[str, Sequence[Any]], ...] = (("county", counties), ("field", fields))
    return closed | {
        name: [(each.code, each.name(lang)) for each in reference.by_name(some, lang)] for name, some in places
    }


def _error(refused: Refused, lang: str) -> Mapping[str, str]:
    """Return an error that links to its input, or to the person who is registered already."""
    label = FIELD[refused.field].label.text(lang) if refused.field in FIELD else ""
    href = "/registration/desk" if refused.code == "already_registered" else f"#{refused.field}"
    message = message_text(refused.code, lang, **refused.details)
    return {"field": refused.field, "label": label, "message": message, "href": href}
