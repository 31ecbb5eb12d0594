"""What an officer does for a person on a form that they signed: filled in, shown once more, recorded with a receipt.

An appeal is screening's: its confirmation posts to the page of the case, which files it by the command of the API.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from base.clock import Clock as ClockPort
from base.ids import shown_code, uuid7
from contracts.codes import DESK_REASONS, WITHDRAWAL_REASONS
from contracts.commands import Refused
from kernel.record import Record
from kernel.store import Store as StorePort
from programme.calendar import tehran_day
from programme.numbers import form_number
from registration import acts
from registration.api.applications import ApplicantId, find_applicant
from registration.api.dependencies import Audit, Registrations
from registration.api.search import Finder, Found, read_person, search_limit
from registration.domain.applicant import status
from registration.domain.application import full_name
from registration.domain.desk_acts import ACTS, Act, closed
from registration.pages.search import masked_numbers, permitted, person_values, render_desk, templates
from registration.registrations import RegistrationService
from security.audit import Audit as AuditPort
from security.auth import Principal
from web.authorization import allow
from web.dependencies import Clock, Store, form_of
from web.idempotency import metadata_of
from web.pages import lang_of

FIELDS = ("act", "reason", "form", "why", "application", "key")  # of the forms
Withdrawer = Annotated[Principal, allow("withdraw")]
Reissuer = Annotated[Principal, allow("reissue_tracking_code")]

router = APIRouter(prefix="/desk", include_in_schema=False)


class ActPages(msgspec.Struct, frozen=True):
    """What the pages of the desk are made with, and for whom."""

    request: Request
    officer: Principal
    store: StorePort
    clock: ClockPort
    registrations: RegistrationService
    audit: AuditPort

    async def found(self, record: Record, act: str) -> Found:
        """Read the person; the reading is recorded first."""
        return await read_person(
            self.officer, self.store, self.clock, self.registrations, self.audit, record, f"search/{act}"
        )

    async def page(self, record: Record, typed: Mapping[str, str], refused: Sequence[Refused]) -> Response:
        """Show the person with the form of the act as it was filled in, and why it is refused."""
        found = await self.found(record, typed["act"])
        person = await person_values(
            self.request, self.officer, self.store, self.clock, self.registrations, found, masked_numbers(found)
        )
        return await render_desk(
            self.request,
            self.officer,
            self.store,
            [Refused(each.code, typed["act"], **each.details) for each in refused],
            reason=typed["reason"],
            round_id=record.state.context.round,
            act=typed,
            **person,
        )

    async def act(self, record: Record, typed: Mapping[str, str], *, done: bool = False) -> Response:
        """Show what would be recorded, or the receipt of what was."""
        found, lang = await self.found(record, typed["act"]), lang_of(self.request)
        code = self.registrations.codes.code_of(record) if done and typed["act"] == "tracking_code" else ""
        return templates.render(
            self.request,
            "act.html",
            officer=self.officer,
            done=done,
            typed=typed,
            applicant=record.subject,
            state=record.state,
            standing=status(record.state),
            person=full_name(found.identity) if found.identity else "",
            why=WITHDRAWAL_REASONS[typed["why"]].text(lang) if typed["why"] in WITHDRAWAL_REASONS else "",
            at=self.clock().at,
            code=shown_code(code) if code else "",
        )


@router.post("/{applicant}/review", dependencies=[search_limit])
async def review(
    applicant: ApplicantId,
    request: Request,
    officer: Finder,
    store: Store,
    clock: Clock,
    registrations: Registrations,
    audit: Audit,
) -> Response:
    """Show what would be recorded; nothing is yet. What cannot be is shown at its form, as it was filled in."""
    record, typed = await find_applicant(store, applicant, officer), await _typed(request)
    pages = ActPages(request, officer, store, clock, registrations, audit)
    at = clock().at
    if closed(record.state, typed["act"], at, tehran_day(at)) or typed["act"] not in permitted(officer):
        return await pages.page(record, typed, [])  # it shows why the act is closed
    try:
        return await pages.act(record, _reviewed(record, typed))
    except Refused as refused:
        return await pages.page(record, typed, [refused])


@router.post("/{applicant}/withdrawal", dependencies=[search_limit])
async def withdraw(
    applicant: ApplicantId,
    request: Request,
    officer: Withdrawer,
    store: Store,
    clock: Clock,
    registrations: Registrations,
    audit: Audit,
) -> Response:
    """Withdraw the person on the form that they signed, and show the receipt."""
    record, typed = await find_applicant(store, applicant, officer), await _typed(request, "withdrawal")
    pages = ActPages(request, officer, store, clock, registrations, audit)
    metadata = metadata_of(request, officer, typed["key"], typed)
    try:
        form = _checked(record, typed)
        shown = typed["application"]
        application = int(shown) if shown.isdecimal() else 0
        done = await acts.withdraw(registrations, record, typed["why"], form, metadata, application)
    except Refused as refused:
        return await pages.page(record, typed, [refused])
    return await pages.act(done.record, typed, done=True)


@router.post("/{applicant}/tracking-code", dependencies=[search_limit])
async def reissue_code(
    applicant: ApplicantId,
    request: Request,
    officer: Reissuer,
    store: Store,
    clock: Clock,
    registrations: Registrations,
    audit: Audit,
) -> Response:
    """Issue another tracking code on the form that they signed; only the receipt shows it."""
    record, typed = await find_applicant(store, applicant, officer), await _typed(request, "tracking_code")
    pages = ActPages(request, officer, store, clock, registrations, audit)
    metadata = metadata_of(request, officer, typed["key"], typed)
    try:
        done = await acts.reissue_code(registrations, record, _checked(record, typed), metadata)
    except Refused as refused:
        return await pages.page(record, typed, [refused])
    return await pages.act(done.record, typed, done=True)


async def _typed(request: Request, act: Act | None = None) -> dict[str, Any]:
    """Return what the form has; an act that does not exist is an appeal, which this service does not record."""
    form = await form_of(request)
    typed: dict[str, Any] = {name: str(form.get(name, ""))[:64] for name in FIELDS}
    typed["act"] = act or (typed["act"] if typed["act"] in ACTS else "appeal")
    typed["reason"] = typed["reason"] if typed["reason"] in DESK_REASONS else "visitor"
    return typed


def _reviewed(record: Record, typed: Mapping[str, str]) -> dict[str, Any]:
    """Return what the confirmation sends: for this application, under a key of its own. Raise Refused."""
    return {**typed, "form": _checked(record, typed), "application": record.state.application, "key": uuid7()}


def _checked(record: Record, typed: Mapping[str, str]) -> str:
    """Return the number of the signed form as it is kept. Raise Refused: form_number_invalid, reason_unknown."""
    if typed["act"] == "withdrawal" and typed["why"] not in WITHDRAWAL_REASONS:
        raise Refused("reason_unknown")
    return form_number(typed["form"], record.state.context.province)
