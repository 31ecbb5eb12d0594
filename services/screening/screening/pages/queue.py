"""The queue page: which case comes next, and which are late?"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from contracts.commands import Refused
from kernel.record import Record
from kernel.store import Store as KernelStore
from programme.calendar import day_end, day_start, tehran_day
from programme.messages import message_text
from programme.numbers import case_number
from programme.policies import policy
from programme.work_calendar import UnknownDay, work_calendar
from screening import queries
from screening.api import claims
from screening.api.cases import Decider, Reader
from screening.api.claims import claimed_case
from screening.domain.applicant import APPEALED, AWAITING_CAPACITY, INFO_REQUESTED, OPEN, status_of
from screening.domain.calls import REACHED, next_call
from screening.schemas import due_of
from security.auth import Principal
from security.permissions import permits
from web.dependencies import Clock, Store
from web.pages import Pages, lang_of
from web.pagination import sort_key

HOME = "/screening/"
ROWS = 40
FILTERS = ("late", "today", "week", "calls", "all")
FRIDAY = 4  # the last day of the week

templates = Pages("screening.pages")
router = APIRouter(include_in_schema=False)


class Line(msgspec.Struct, frozen=True):
    """One case in the table."""

    id: str
    number: str
    field: str
    county: str
    due: date
    days_left: int  # calendar days, negative if late
    days_used: int | None  # working days; unknown beyond the calendar's end
    days_allowed: int  # working days
    claimed_until: datetime | None
    calls: int
    answered: bool  # the last call was answered
    next_call: datetime | None


class Group(msgspec.Struct, frozen=True):
    """The lines under one heading: mine, calls, late, today, week or later."""

    name: str
    lines: list[Line]


@router.get("/")
async def queue_page(
    request: Request,
    officer: Reader,
    store: Store,
    clock: Clock,
    f: Annotated[str, Query(max_length=10)] = "all",
    state: Annotated[str, Query(max_length=20)] = OPEN,
    after: Annotated[str, Query(max_length=120)] = "",
    q: Annotated[str, Query(max_length=40)] = "",
    none: bool = False,
    full: bool = False,
) -> Response:
    """Show the queue, the earliest deadline first, above it what the officer has claimed; with a number, its case."""
    found_by_number = await _find(store, q, officer) if q.strip() else []
    if len(found_by_number) == 1:
        return RedirectResponse(f"{HOME}cases/{found_by_number[0].subject}", 303)
    state = state if state in (AWAITING_CAPACITY, APPEALED, INFO_REQUESTED) else OPEN
    f = f if f in FILTERS and state == OPEN else "all"
    today = tehran_day(clock().at)
    ends = {"late": day_start(today), "today": day_end(today), "week": day_end(week_end(today))}
    counts = await queries.count(store, officer.scope, tuple(ends.values()))
    start = _sort_key(after) or ((day_start(today), "~") if f == "today" else None)
    calls = await queries.calls_until(store, officer.scope, today)
    found = []
    if f != "calls":
        found = await queries.read_queue(store, officer.scope, state, until=ends.get(f), after=start, limit=ROWS + 1)
    shown = found[:ROWS]
    mine = await queries.claimed_by(store, officer.actor, officer.scope) if state == OPEN and not after else []
    own = {each.subject for each in mine}
    if f == "calls":
        mine, own = [], set()
    groups = _groups([_line(each, today) for each in shown if each.subject not in own], today)
    late, until_tonight, until_friday = counts.due_until
    return templates.render(
        request,
        "queue.html",
        status=404 if q.strip() and not found_by_number else 200,
        q=q,
        matches=[_line(each, today) for each in found_by_number],
        officer=officer,
        may_decide=permits(officer.roles, "decide_screening"),
        state=state,
        f=f,
        today=today,
        no_case_free=none,
        too_many=message_text("cases_in_hand", lang_of(request), limit=claims.IN_HAND) if full else "",
        groups=[
            *([Group("calls", [_line(each, today) for each in calls])] if f == "calls" and calls else []),
            *([Group("mine", [_line(each, today) for each in mine])] if mine else []),
            *groups,
        ],
        counts={
            "late": late,
            "today": until_tonight - late,
            "week": until_friday,
            "calls": len(calls),
            "all": counts.by_state.get(OPEN, 0),
        },
        states=counts.by_state,
        shown=len(calls) if f == "calls" else len(own | {each.subject for each in shown}),
        more=f"?{urlencode({'f': f, 'state': state, 'after': _cursor(shown[-1])})}" if len(found) > ROWS else "",
    )


@router.post("/next")
async def claim_next_case(officer: Decider, store: Store, clock: Clock) -> Response:
    """Claim the most urgent case and redirect to its page."""
    try:
        record = await claimed_case(store, clock, officer.scope, officer.actor)
    except Refused:
        return RedirectResponse(f"{HOME}?full=true", 303)
    return RedirectResponse(f"{HOME}cases/{record.subject}" if record else f"{HOME}?none=true", 303)


async def _find(store: KernelStore, typed: str, officer: Principal) -> list[Record]:
    """Return the cases with a number; none, of no case and of another province are the same."""
    try:
        return await queries.find_numbered(store, typed, officer.scope)
    except Refused:
        return []


def week_end(day: date) -> date:
    """Return the Friday that ends the week of a day."""
    return day + timedelta((FRIDAY - day.weekday()) % 7)


def _line(record: Record, today: date) -> Line:
    state = record.state
    due = due_of(state) or today  # every case in the queue has a deadline
    rules = policy(state.policy)
    started, allowed = {
        AWAITING_CAPACITY: (state.capacity.requested, rules.capacity_days),
        APPEALED: (state.appeal.filed, rules.appeal_days),
        INFO_REQUESTED: (state.info.requested, rules.info_days),
    }.get(status_of(state), (state.case.opened, rules.screening_days))
    return Line(
        id=record.subject,
        number=case_number(record.subject, state.province),
        field=state.field,
        county=state.county,
        due=due,
        days_left=(due - today).days,
        days_used=days_used(tehran_day(started), today, state.province),
        days_allowed=allowed,
        claimed_until=state.claim.until,
        calls=len(state.calls),
        answered=bool(state.calls) and state.calls[-1].outcome == REACHED,
        next_call=next_call(state.calls),
    )


def days_used(started: date, today: date, province: str) -> int | None:
    """Return the working days from one day to another; None beyond the calendar."""
    try:
        return work_calendar().working_days_between(started, today, province)
    except UnknownDay:
        return None


def _groups(lines: Sequence[Line], today: date) -> list[Group]:
    week = (week_end(today) - today).days
    groups: dict[str, list[Line]] = {"late": [], "today": [], "week": [], "later": []}
    for line in lines:
        left = line.days_left
        groups["late" if left < 0 else "today" if left == 0 else "week" if left <= week else "later"].append(line)
    return [Group(name, members) for name, members in groups.items() if members]


def _cursor(record: Record) -> str:
    deadline, subject = queries.sort_key(record)
    return f"{deadline.isoformat()}~{subject}"


def _sort_key(cursor: str) -> queries.SortKey | None:
    """Return the sort key in a cursor; None for the first page. Raise Refused: cursor_invalid."""
    return sort_key(cursor.split("~"), datetime, str) if cursor else None
