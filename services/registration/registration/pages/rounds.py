"""The page on which the ministry opens a round, or amends one: job fields, policy, and from which day to which."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from base.ids import uuid7
from contracts.codes import PRODUCT_GROUPS
from contracts.commands import Refused
from contracts.subjects import ROUND, round_subject
from kernel.commands import execute
from kernel.store import Store as StorePort
from programme import calendar, reference, text
from programme.messages import MESSAGES, STATUSES, message_text
from programme.policies import CURRENT, versions
from registration import queries
from registration.api.dependencies import Registrations
from registration.api.rounds import RoundOpener
from registration.domain import round as rounds
from registration.pages.texts import ROUND_LABELS
from security.auth import Principal
from web.dependencies import Clock, Store, form_of
from web.idempotency import metadata_of
from web.pages import Pages, lang_of

PATH = "/registration/rounds"
TYPED = ("round", "opens", "closes", "policy", "key")

templates = Pages("registration.pages")
router = APIRouter(prefix="/rounds", include_in_schema=False)


class Line(msgspec.Struct, frozen=True):
    """A round as the list shows it; both days take applications."""

    round: str
    first: date
    last: date
    fields: int
    own_windows: int  # provinces with a window of their own
    policy: str
    is_open: bool


@router.get("")
async def rounds_page(request: Request, officer: RoundOpener, store: Store, clock: Clock) -> Response:
    """Show every round, and the form: empty, or filled in with the round that `round` names."""
    return await _render(request, officer, store, clock().at, amended=request.query_params.get("round", ""))


@router.post("")
async def open_round(
    request: Request, officer: RoundOpener, store: Store, clock: Clock, registrations: Registrations
) -> Response:
    """Open or amend a round; windows of single provinces stay. If it is refused, show the form as it was filled in."""
    sent = await form_of(request)
    typed: dict[str, Any] = {name: str(sent.get(name, "")).strip() for name in TYPED}
    typed["fields"] = tuple(dict.fromkeys(map(str, sent.getlist("fields"))))
    metadata = metadata_of(request, officer, typed["key"], {**typed, "fields": " ".join(typed["fields"])})
    command, errors = await _command(store, typed)
    if command is not None:
        try:
            await execute(store, round_subject(command.round), command, clock, metadata)
            registrations.invalidate(command.round)
            return RedirectResponse(f"{PATH}?done={command.round}", 303)
        except Refused as refused:
            errors = [refused]
    return await _render(request, officer, store, clock().at, errors, typed)


async def _command(store: StorePort, typed: Mapping[str, Any]) -> tuple[rounds.OpenRound | None, Sequence[Refused]]:
    """Return the command of a form, or every fault in it."""
    errors = [Refused("missing_field", each) for each in ("round", "opens", "closes") if not typed[each]]
    round_id = text.digits(typed["round"])
    if typed["round"] and not re.fullmatch(ROUND, round_id):
        errors.append(Refused("round_invalid", "round"))
    days: dict[str, date] = {}
    for name in ("opens", "closes"):
        try:
            days |= {name: calendar.parse_date(typed[name], name)} if typed[name] else {}
        except Refused as refused:
            errors.append(refused)
    if typed["policy"] not in versions():
        errors.append(Refused("policy_unknown", "policy", known=versions()))
    if not typed["fields"] or set(typed["fields"]) - set(reference.job_fields()):
        errors.append(Refused("missing_field" if not typed["fields"] else "code_unknown", "fields"))
    if errors:
        return None, errors
    subject = round_subject(round_id)
    known: rounds.State | None = (await store.read([subject]))[subject].state
    window = rounds.Window(calendar.day_start(days["opens"]), calendar.day_end(days["closes"]))
    return (
        rounds.OpenRound(
            round=round_id,
            policy=typed["policy"],
            fields=typed["fields"],
            window=window,
            windows=known.windows if known else {},
            simulation=known.simulation if known else None,
        ),
        (),
    )


async def _render(
    request: Request,
    officer: Principal,
    store: StorePort,
    now: datetime,
    errors: Sequence[Refused] = (),
    typed: Mapping[str, Any] | None = None,
    amended: str = "",
) -> Response:
    lang = lang_of(request)
    states: list[rounds.State] = [record.state for record in await store.find(queries.rounds())]
    filled = typed or _filled(next((each for each in states if each.round == amended), None))
    found = [
        {
            "field": each.field,
            "label": ROUND_LABELS[each.field].text(lang) if each.field in ROUND_LABELS else "",
            "message": message_text(each.code, lang, **each.details),
            "href": f"#{each.field if each.field in ROUND_LABELS else 'closes'}",
        }
        for each in errors
    ]
    return templates.render(
        request,
        "rounds.html",
        status=STATUSES[MESSAGES[errors[0].code].kind] if errors else 200,
        officer=officer,
        rounds=sorted((_line(each, now) for each in states if each.window), key=lambda each: each.first, reverse=True),
        done=next((each.round for each in states if each.round == request.query_params.get("done", "")), ""),
        errors=found,
        labels=ROUND_LABELS,
        filled=filled,
        groups=_groups(lang),
        policies=versions(),
        key=filled.get("key") or uuid7(),
    )


def _line(state: rounds.State, now: datetime) -> Line:
    assert state.window is not None
    first, last = _days(state.window)
    is_open = any(rounds.is_open(state, province, now) for province in reference.provinces())
    return Line(state.round, first, last, len(state.fields), len(state.windows), state.policy, is_open)


def _days(window: rounds.Window) -> tuple[date, date]:
    """Return the first and the last day of a window."""
    return calendar.tehran_day(window.opens), calendar.tehran_day(window.closes - datetime.resolution)


def _filled(state: rounds.State | None) -> Mapping[str, Any]:
    """Return the form of a round; of a new one all job fields are chosen."""
    if state is None or state.window is None:
        return {"policy": CURRENT, "fields": tuple(reference.job_fields())}
    opens, closes = map(calendar.jalali_text, _days(state.window))
    return {"round": state.round, "opens": opens, "closes": closes, "policy": state.policy, "fields": state.fields}


def _groups(lang: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return every job field, code and name, by product group."""
    named = sorted(reference.by_name(reference.job_fields().values(), lang), key=lambda field: field.group)
    return [
        (PRODUCT_GROUPS[group].text(lang), [(each.code, each.name(lang)) for each in some])
        for group, some in groupby(named, key=lambda field: field.group)
    ]
