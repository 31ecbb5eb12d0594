"""The page of who answers calls and sits at the desk: who is it, where does the application stand, what comes next?"""

from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from base.ids import uuid7
from contracts.codes import (
    DECISION_REASONS,
    DESK_REASONS,
    IDENTITY_RESULTS,
    INFO_ITEMS,
    INTAKE_CHANNELS,
    ROLES,
    WITHDRAWAL_REASONS,
)
from contracts.commands import Refused
from programme import numbers, reference
from programme.calendar import tehran_day
from programme.messages import MESSAGES, STATUSES, message_text
from registration import queries
from registration.api.applications import ApplicantId, find_applicant
from registration.api.correction import Corrector, corrected
from registration.api.dependencies import Audit, Guard, Registrations
from registration.api.search import Finder, Found, read_person, search_limit, searched
from registration.domain import round as rounds
from registration.domain.applicant import State, status
from registration.domain.application import CORRECTABLE, FIELD, full_name, telephone
from registration.domain.desk_acts import ACTS, Act, closed, last_day_to_appeal
from registration.domain.next_step import NextStep, next_step
from registration.domain.progress import rejected_before
from registration.pages.track import working_days_left
from registration.registrations import RegistrationService
from security.auth import Principal
from security.permissions import permits
from web.dependencies import Clock, Store, form_of
from web.idempotency import metadata_of
from web.pages import Pages, lang_of
from web.problems import Invalid

PERMISSIONS: dict[Act, str] = {
    "correction": "correct",
    "withdrawal": "withdraw",
    "tracking_code": "reissue_tracking_code",
    "appeal": "file_appeal",
}
TURNS: dict[NextStep, str] = {  # who acts next
    "correct_identity": "applicant",
    "screening_call": "screening",
    "bring_papers": "applicant",
    "appeal_review": "screening",
    "capacity_call": "screening",
    "seat": "registration",
    "market_offer": "market",
    "register_again": "applicant",
}

templates = Pages("registration.pages")
router = APIRouter(prefix="/desk", include_in_schema=False)


class Numbers(msgspec.Struct, frozen=True):
    """The identity as a page shows it: with its numbers masked or, once that is recorded too, in clear."""

    name: str
    national_id: str
    mobile: str
    call: str = ""  # the number to dial; empty while masked
    born: date | None = None


class CorrectionInput(msgspec.Struct, frozen=True):
    """An input of the form that corrects an application."""

    name: str
    label: str
    options: Sequence[tuple[str, str]]  # code and label; none where it is typed
    is_date: bool


class Deadline(msgspec.Struct, frozen=True):
    """By when the next step is due."""

    day: date
    days_left: int | None  # working days; -1 after it


@router.get("")
async def search_form(request: Request, officer: Finder, store: Store) -> Response:
    """Ask for a number and a reason."""
    return await render_desk(request, officer, store)


@router.post("", dependencies=[search_limit])
async def search(
    request: Request,
    officer: Finder,
    store: Store,
    clock: Clock,
    registrations: Registrations,
    guard: Guard,
    audit: Audit,
) -> Response:
    """Show the person, with masked numbers; who is outside the scope is not found."""
    form = await form_of(request)
    typed, reason, round_id = (str(form.get(name, "")) for name in ("query", "reason", "round"))
    errors = [] if typed.strip() else [Refused("missing_field", "query")]
    errors += [] if reason in DESK_REASONS else [Refused("reason_unknown", "reason")]
    values: dict[str, Any] = {"typed": typed[:40], "reason": reason, "round_id": round_id}
    if errors:
        return await render_desk(request, officer, store, errors, **values)
    try:
        record = await searched(request, officer, registrations, guard, round_id, typed, reason)
    except Refused as refused:
        if refused.field != "query":
            raise
        return await render_desk(request, officer, store, [refused], **values)
    found = await read_person(officer, store, clock, registrations, audit, record, f"search/{reason}")
    person = await person_values(request, officer, store, clock, registrations, found, masked_numbers(found))
    return await render_desk(request, officer, store, **values, **person)


@router.post("/{applicant}/identity", dependencies=[search_limit])
async def identity(
    applicant: ApplicantId,
    request: Request,
    officer: Finder,
    store: Store,
    clock: Clock,
    registrations: Registrations,
    audit: Audit,
) -> Response:
    """Show the numbers in clear: a second reading, with its own reason."""
    reason = str((await form_of(request)).get("reason", ""))
    record = await find_applicant(store, applicant, officer)
    if reason not in DESK_REASONS:
        raise Refused("reason_unknown", field="reason")
    found = await read_person(officer, store, clock, registrations, audit, record, f"identity/{reason}")
    person = await person_values(request, officer, store, clock, registrations, found, clear_numbers(found))
    return await render_desk(request, officer, store, reason=reason, round_id=record.state.context.round, **person)


@router.post("/{applicant}/correction", dependencies=[search_limit])
async def correction(
    applicant: ApplicantId,
    request: Request,
    officer: Corrector,
    store: Store,
    clock: Clock,
    registrations: Registrations,
    audit: Audit,
) -> Response:
    """Correct the data on the signed form; if it is refused, show the form as it was filled in."""
    form = await form_of(request)
    typed = {name: str(form.get(name, "")) for name in (*CORRECTABLE, "form_number", "reason", "key")}
    changes = {name: typed[name] for name in CORRECTABLE if typed[name].strip()}
    key = typed.pop("key")
    errors: list[Refused] = []
    try:
        metadata = metadata_of(request, officer, key, typed)
        record = await corrected(
            officer, store, clock, registrations, audit, applicant, changes, typed["form_number"], metadata
        )
    except Invalid as invalid:
        errors = list(invalid.refusals)
    except Refused as refused:
        if refused.code == "not_found":
            raise
        errors = [refused if refused.field else Refused(refused.code, "form_number", **refused.details)]
    record = await find_applicant(store, applicant, officer)
    found = await read_person(officer, store, clock, registrations, audit, record, "search/correction")
    person = await person_values(request, officer, store, clock, registrations, found, masked_numbers(found))
    reason = typed["reason"] if typed["reason"] in DESK_REASONS else "visitor"
    filled = typed if errors else {}
    return await render_desk(
        request,
        officer,
        store,
        errors,
        reason=reason,
        round_id=record.state.context.round,
        filled=filled,
        done="" if errors else "correction",
        **person,
    )


async def person_values(
    request: Request,
    officer: Principal,
    store: Store,
    clock: Clock,
    registrations: RegistrationService,
    found: Found,
    shown: Numbers | None,
) -> dict[str, Any]:
    """Return what the page shows of a person."""
    state: State = found.record.state
    step, today, lang = next_step(state), tehran_day(clock().at), lang_of(request)
    current = state.current
    due = {
        "screening_call": current.case_due,
        "bring_papers": current.info_due,
        "appeal_review": current.appeal_due,
        "capacity_call": current.capacity_due,
    }.get(step)
    waiting = found.record.indexed.get("seating") == "waiting"
    return {
        "found": found,
        "state": state,
        "standing": status(state),
        "step": step,
        "acts": TURNS.get(step, ""),
        "deadline": Deadline(due, working_days_left(today, due, state.context.province)) if due else None,
        "position": await queries.count_ahead(store, found.record) + 1 if waiting else None,
        "shown": shown,
        "closed": {act: closed(state, act, clock().at, today) if act in permitted(officer) else "role" for act in ACTS},
        "may_return": not rejected_before(state.current, clock().at),
        "withdrawal_reasons": WITHDRAWAL_REASONS,
        "appeal_until": last_day_to_appeal(state.current, state.context.policy, state.context.province),
        "inputs": _inputs(state, (await registrations.round_snapshot(state.context.round)).round.fields, lang),
        "key": uuid7(),
        "papers": [INFO_ITEMS[each].text(lang) for each in current.info_items if each in INFO_ITEMS],
        "reasons": [DECISION_REASONS[each].text(lang) for each in state.current.reasons if each in DECISION_REASONS],
    }


def permitted(officer: Principal) -> Collection[Act]:
    """Return what the officer's roles permit for a person."""
    return [act for act in ACTS if permits(officer.roles, PERMISSIONS[act])]


def masked_numbers(found: Found) -> Numbers | None:
    """Return the identity with masked numbers; None if there is none."""
    person = found.identity
    if person is None:
        return None
    mobile = numbers.masked_mobile(telephone(person), "•")
    return Numbers(
        name=full_name(person),
        national_id=numbers.masked_national_id(person["national_id"], "•"),
        mobile=f"{mobile[:4]} {mobile[4:7]} {mobile[7:]}",
    )


def clear_numbers(found: Found) -> Numbers | None:
    """Return the identity in clear; None if there is none."""
    person = found.identity
    if person is None:
        return None
    number, mobile = person["national_id"], telephone(person)
    return Numbers(
        name=full_name(person),
        national_id=f"{number[:3]} {number[3:9]} {number[9]}",
        mobile=f"0{mobile[3:6]} {mobile[6:9]} {mobile[9:]}",
        call=mobile,
        born=person["birth_date"],
    )


def _inputs(state: State, offered: Collection[str], lang: str) -> list[CorrectionInput]:
    """Return what can be corrected; the job field until the decision."""
    options: dict[str, list[tuple[str, str]]] = {
        "county": [
            (each.code, each.name(lang))
            for each in reference.by_name(reference.counties_of(state.context.province), lang)
        ],
        "field": [
            (each.code, each.name(lang))
            for each in reference.by_name(reference.job_fields().values(), lang)
            if each.code in offered
        ],
    }
    fields = [FIELD[name] for name in CORRECTABLE if name != "field" or not state.current.outcome]
    return [
        CorrectionInput(
            name=each.name,
            label=each.label.text(lang),
            options=options.get(each.name) or [(code, label.text(lang)) for code, label in each.labels.items()],
            is_date=each.value_type is date,
        )
        for each in fields
    ]


async def _rounds(store: Store) -> list[str]:
    """Return the rounds, the one that opened last first."""
    states: list[rounds.State] = [record.state for record in await store.find(queries.rounds())]
    opened = sorted(((s.window.opens, s.round) for s in states if s.window), reverse=True)
    return [each for _, each in opened]


async def render_desk(
    request: Request, officer: Principal, store: Store, errors: Sequence[Refused] = (), /, **values: Any
) -> Response:
    """Return the page with the search form, and with a person if `values` has those of `person_values`."""
    known, lang = await _rounds(store), lang_of(request)
    shown = {
        "typed": "",
        "reason": "",
        "found": None,
        "shown": None,
        "round_id": "",
        "filled": {},
        "act": {"act": "", "form": "", "why": ""},
        "done": "",
        **values,
    }
    if shown["round_id"] not in known:
        shown["round_id"] = known[0] if known else ""
    return templates.render(
        request,
        "search.html",
        status=STATUSES[MESSAGES[errors[0].code].kind] if errors else 200,
        officer=officer,
        rounds=known,
        errors=[{"field": e.field, "message": message_text(e.code, lang, **e.details)} for e in errors],
        labels={
            "reasons": DESK_REASONS,
            "identity": IDENTITY_RESULTS,
            "channels": INTAKE_CHANNELS,
            "roles": ROLES,
        },
        **shown,
    )
