"""Pages about seats: where is every seat of a province, who is next, and when is registration open?"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from base.spreadsheet import csv_of
from contracts.codes import PROPOSAL_REASONS, ROLES
from contracts.commands import Refused
from contracts.envelope import decode
from contracts.events import RoundOpened, RoundWindowSet
from contracts.subjects import ledger_subject, round_subject
from kernel.store import Store as StorePort
from programme import reference
from registration import queries
from registration.api.seats.ledgers import (
    LedgerReader,
    ListReader,
    ProvinceCode,
    read_ledger,
    read_ledgers,
    read_waiting,
    totals,
    urgency,
    visible_province,
)
from registration.api.seats.proposals import Proposal, proposal_of, read_proposals
from registration.domain import round as rounds
from registration.domain.proposal import OPEN
from security.permissions import permits
from web.dependencies import Clock, Store
from web.pages import Pages, lang_of

FIRST, PAGE = 5, 50  # applicants of the waiting list on the page of the ledger, and on a page of its own
COLUMNS = ("round", "province", "name_fa", "quota", "admitted", "held", "available", "waiting")

Standing = Literal["open", "ahead", "over"]
RoundName = Annotated[str, Query(alias="round", max_length=10)]

templates = Pages("registration.pages")
router = APIRouter(include_in_schema=False)


class Line(msgspec.Struct, frozen=True):
    """When registration is open in a province."""

    province: str
    window: rounds.Window
    own: bool  # a window of its own, not that of the round
    standing: Standing


class RoundLine(msgspec.Struct, frozen=True):
    """A round: in how many provinces registration is open, its window, and the sum of its quotas."""

    round: str
    window: rounds.Window
    open_in: int
    ahead: bool
    quota: int


class WindowChange(msgspec.Struct, frozen=True):
    """A window that was set, of the round or of one province."""

    at: datetime
    province: str  # empty: of the round
    opens: datetime
    closes: datetime
    role: str
    officer: str


@router.get("/ledger")
async def ledgers_page(
    request: Request, officer: LedgerReader, store: Store, clock: Clock, round_: RoundName = ""
) -> Response:
    """Show the seats of the officer's province, or of all 31, the most urgent first."""
    if officer.province:
        return await ledger_page(officer.scope, request, officer, store, clock, round_)
    known, chosen = await chosen_round(store, round_)
    rows = await read_ledgers(store, chosen.round) if chosen else []
    open_: list[Proposal] = []
    if chosen and permits(officer.roles, "set_quota", "R"):
        found = [proposal_of(each) for each in await read_proposals(store, chosen.round, officer)]
        open_ = [each for each in found if each.status == OPEN]
    return templates.render(
        request,
        "ledgers.html",
        open=open_,
        to_sign=sum(each.proposed_by.officer != officer.id for each in open_),
        lines=[await _round_line(store, each, clock().at) for each in known],
        roles=ROLES,
        reasons=PROPOSAL_REASONS,
        officer=officer,
        rounds=known,
        chosen=chosen,
        rows=sorted(rows, key=urgency),
        total=totals(rows),
        now=clock().at,
    )


@router.get("/ledger.csv")
async def ledgers_csv(officer: LedgerReader, store: Store, round_: RoundName = "") -> Response:
    """Return the seats of the provinces in the officer's scope as a file."""
    _, chosen = await chosen_round(store, round_)
    rows = await read_ledgers(store, chosen.round) if chosen else []
    lines: list[Sequence[str]] = [COLUMNS]
    for each in rows:
        if chosen and officer.scope in ("", each.province):
            name = reference.provinces()[each.province].name_fa
            figures = (each.quota, each.admitted, each.held, each.available, each.waiting)
            lines.append((chosen.round, each.province, name, *map(str, figures)))
    headers = {"Content-Disposition": 'attachment; filename="peyvand-seats.csv"'}
    return Response(csv_of(lines), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/ledger/{province}")
async def ledger_page(
    province: ProvinceCode,
    request: Request,
    officer: LedgerReader,
    store: Store,
    clock: Clock,
    round_: RoundName = "",
) -> Response:
    """Show the seats of one province, the changes of its quota, its window, and the first of its waiting list."""
    code = visible_province(province, officer)
    known, chosen = await chosen_round(store, round_)
    if chosen is None:
        raise Refused("round_unknown")
    return templates.render(
        request,
        "ledger.html",
        officer=officer,
        rounds=known,
        chosen=chosen,
        province=code,
        row=await read_ledger(store, chosen.round, code),
        first=await read_waiting(store, ledger_subject(chosen.round, code), FIRST),
        line=_line(chosen, code, clock().at),
        roles=ROLES,
        now=clock().at,
    )


@router.get("/ledger/{province}/waiting")
async def waiting_page(
    province: ProvinceCode,
    request: Request,
    officer: ListReader,
    store: Store,
    round_: RoundName = "",
    after: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Show the waiting list of one province."""
    code = visible_province(province, officer)
    known, chosen = await chosen_round(store, round_)
    if chosen is None:
        raise Refused("round_unknown")
    found = await read_waiting(store, ledger_subject(chosen.round, code), PAGE + 1, after)
    waiting = await queries.waiting_by_province(store, chosen.round)
    return templates.render(
        request,
        "waiting.html",
        officer=officer,
        rounds=known,
        chosen=chosen,
        province=code,
        people=found[:PAGE],
        following=found[PAGE - 1].id if len(found) > PAGE else "",
        after=after,
        total=waiting.get(code, 0),
    )


@router.get("/windows")
async def windows_page(
    request: Request, officer: LedgerReader, store: Store, clock: Clock, round_: RoundName = ""
) -> Response:
    """Show when registration is open in the provinces of the officer's scope, and what was changed."""
    known, chosen = await chosen_round(store, round_)
    lines: list[Line] = []
    changes: list[WindowChange] = []
    if chosen:
        seen = officer.province
        codes = [each.code for each in reference.by_name(reference.provinces().values(), lang_of(request))]
        lines = [_line(chosen, code, clock().at) for code in codes if seen in ("", code)]
        changes = await _changes(store, chosen.round, seen)
    return templates.render(
        request,
        "windows.html",
        officer=officer,
        rounds=known,
        chosen=chosen,
        lines=lines,
        changes=changes,
        roles=ROLES,
    )


async def chosen_round(store: StorePort, name: str) -> tuple[list[rounds.State], rounds.State | None]:
    """Return the rounds, the one that opened last first, and the one with this name, otherwise the first."""
    states: list[rounds.State] = [record.state for record in await store.find(queries.rounds())]
    known = sorted((each for each in states if each.window), key=_opens, reverse=True)
    return known, next((each for each in known if each.round == name), known[0] if known else None)


async def _round_line(store: StorePort, state: rounds.State, at: datetime) -> RoundLine:
    """Return a round at a glance; its quotas are those of the ledgers. Raise Transient."""
    lines = [_line(state, code, at) for code in reference.provinces()]
    return RoundLine(
        state.round,
        lines[0].window if state.window is None else state.window,
        open_in=sum(each.standing == "open" for each in lines),
        ahead=all(each.standing == "ahead" for each in lines),
        quota=totals(await read_ledgers(store, state.round)).quota,
    )


def _opens(state: rounds.State) -> Any:
    return state.window and state.window.opens, state.round


def _line(state: rounds.State, province: str, at: datetime) -> Line:
    window = rounds.window_of(state, province)
    assert window is not None, "a round that was opened has a window"
    standing: Standing = "ahead" if at < window.opens else "open" if at < window.closes else "over"
    return Line(province, window, province in state.windows and window != state.window, standing)


async def _changes(store: StorePort, round_id: str, province: str) -> list[WindowChange]:
    """Return the windows that were set for the round and for a province, or for all of them; the latest first."""
    found = []
    for envelope in map(decode, await store.history(round_subject(round_id))):
        event, role = envelope.event, envelope.actor.partition(":")
        if isinstance(event, RoundOpened | RoundWindowSet) and envelope.context.province in (
            "",
            province or envelope.context.province,
        ):
            found.append(
                WindowChange(envelope.time, envelope.context.province, event.opens, event.closes, role[0], role[2])
            )
    return found[::-1]
