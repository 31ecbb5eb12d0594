"""The officers' desk: the queue by deadline, and the case page with the rules, the decision and the capacity."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import cache
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Query
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from base.clock import Clock
from base.ids import uuid7
from contracts import codes
from contracts.commands import Refused
from kernel.commands import execute
from kernel.record import Record
from kernel.store import Store
from programme.calendar import day_end, day_start, tehran_day, working_days_between
from programme.messages import MESSAGES, STATUSES, message_text
from programme.policies import policy
from screening.api.cases import DECIDERS, READERS, found_case
from screening.api.views import case_file, due_of, findings
from screening.domain.applicant import AWAITING_CAPACITY, OPEN, stage_of
from screening.domain.capacity import IdentifyCapacity
from screening.domain.case import REJECTED, Decide
from screening.store import Cases, Place, place_of
from security.auth import Principal
from web.app import allow, metadata_of
from web.pages import Pages, lang_of, pages

HOME = "/screening/"
ROWS = 40
FILTERS = ("late", "today", "week", "all")
FRIDAY = 4  # the last day of the week
ANSWERS = {"yes": True, "no": False}  # anything else is no answer

Errors = Sequence[dict[str, str]]


class Line(msgspec.Struct, frozen=True):
    """One case in the table."""

    id: str
    number: str
    field: str
    county: str
    due: date
    days_left: int  # calendar days, negative when late
    gone: int  # working days since the clock began
    allowed: int
    held: bool  # somebody has it in hand


class Group(msgspec.Struct, frozen=True):
    """Lines under one heading: late, today, week, later."""

    name: str
    lines: list[Line]


@cache
def desk() -> Pages:
    """The desk's templates."""
    return pages("screening")


def router(store: Store, questions: Cases, clock: Clock) -> APIRouter:
    """The pages under /screening."""
    api = APIRouter(include_in_schema=False)

    @api.get("/")
    async def queue_page(
        request: Request,
        officer: Annotated[Principal, allow(*READERS)],
        f: Annotated[str, Query(max_length=10)] = "all",
        state: Annotated[str, Query(max_length=20)] = OPEN,
        after: Annotated[str, Query(max_length=120)] = "",
        none: bool = False,
    ) -> Response:
        """The queue, the earliest deadline first."""
        state = AWAITING_CAPACITY if state == AWAITING_CAPACITY else OPEN
        f = f if f in FILTERS and state == OPEN else "all"
        today = tehran_day(clock().at)
        ends = {"late": day_start(today), "today": day_end(today), "week": day_end(week_end(today))}
        counts = await questions.counts(officer.scope, tuple(ends.values()))
        begin = (day_start(today), "~") if f == "today" else None
        found = await questions.queue(officer.scope, state, ROWS + 1, _place(after) or begin, ends.get(f))
        shown = found[:ROWS]
        held = await questions.held([each.subject for each in shown])
        late, until_today, until_week = counts.open_until
        return desk().render(
            request,
            "queue.html",
            officer=officer,
            may_decide=bool(officer.roles & set(DECIDERS)),
            state=state,
            f=f,
            today=today,
            nothing_free=none,
            groups=_groups([_line(each, today, held) for each in shown], today),
            counts={"late": late, "today": until_today - late, "week": until_week, "all": counts.states.get(OPEN, 0)},
            states=counts.states,
            shown=len(shown),
            more=f"?{urlencode({'f': f, 'state': state, 'after': _cursor(shown[-1])})}" if len(found) > ROWS else "",
        )

    @api.post("/next")
    async def next_case(officer: Annotated[Principal, allow(*DECIDERS)]) -> Response:
        """Hands the officer the most urgent case that nobody has in hand."""
        subject = await questions.take(officer.scope, officer.actor)
        return RedirectResponse(f"{HOME}cases/{subject}" if subject else f"{HOME}?none=true", 303)

    @api.get("/cases/{id}")
    async def case_page(
        request: Request, id: str, officer: Annotated[Principal, allow(*READERS)], done: bool = False
    ) -> Response:
        """The case."""
        return await _case(request, id, officer, done=done)

    @api.post("/cases/{id}/decision")
    async def decide_case(request: Request, id: str, officer: Annotated[Principal, allow(*DECIDERS)]) -> Response:
        """Takes the decision form; what is refused comes back with what was typed."""
        form = await request.form()
        answers = {
            name.removeprefix("rule."): ANSWERS[value]
            for name, value in form.multi_items()
            if name.startswith("rule.") and isinstance(value, str) and value in ANSWERS
        }
        outcome = str(form.get("outcome", ""))
        reasons = tuple(str(each) for each in form.getlist("reasons")) if outcome == REJECTED else ()
        return await _asked(request, id, officer, form, Decide(outcome, reasons, answers, officer.actor))

    @api.post("/cases/{id}/capacity")
    async def identify_case(request: Request, id: str, officer: Annotated[Principal, allow(*DECIDERS)]) -> Response:
        """Takes the capacity form; what is refused comes back with what was typed."""
        form = await request.form()
        told = {name: str(form.get(name, "")) for name in ("product_group", "unit", "monthly_band", "skill_level")}
        needs = tuple(str(each) for each in form.getlist("needs"))
        return await _asked(request, id, officer, form, IdentifyCapacity(**told, needs=needs))

    async def _asked(
        request: Request, id: str, officer: Principal, form: FormData, command: Decide | IdentifyCapacity
    ) -> Response:
        await found_case(questions, id, officer)
        typed: dict[str, list[str]] = {}
        for name, value in form.multi_items():
            typed.setdefault(name, []).append(value if isinstance(value, str) else "")
        key = (typed.pop("key", None) or [""])[0]
        try:
            await execute(store, id, command, clock, metadata_of(request, officer, key, typed))
        except Refused as refused:
            return await _case(request, id, officer, refused=refused, typed=typed)
        return RedirectResponse(f"{HOME}cases/{id}?done=true", 303)

    async def _case(
        request: Request,
        id: str,
        officer: Principal,
        *,
        done: bool = False,
        refused: Refused | None = None,
        typed: dict[str, list[str]] | None = None,
    ) -> Response:
        record = await found_case(questions, id, officer)
        today, due = tehran_day(clock().at), due_of(record.state)
        return desk().render(
            request,
            "case.html",
            status=STATUSES[MESSAGES[refused.code].kind] if refused else 200,
            officer=officer,
            may_decide=bool(officer.roles & set(DECIDERS)),
            case=case_file(record, await questions.history(id)),
            number=number_of(record),
            rules=policy(record.state.policy),
            due=due,
            days_left=(due - today).days if due else 0,
            done=done,
            key=uuid7(),
            typed=typed or {},
            errors=_errors(record, refused, lang_of(request)),
            codes=codes,
        )

    return api


def number_of(record: Record) -> str:
    """How people name a case: its province's digits and the end of its id. It finds nothing and tells nobody."""
    return f"{record.state.province[3:]}-{record.subject[-6:]}"


def week_end(day: date) -> date:
    """The Friday that ends the week of a day."""
    return day + timedelta((FRIDAY - day.weekday()) % 7)


def _line(record: Record, today: date, held: dict[str, str]) -> Line:
    state = record.state
    waits_for_capacity = stage_of(state) == AWAITING_CAPACITY
    began = state.capacity.requested if waits_for_capacity else state.case.opened
    due = due_of(state) or today  # the queue holds only what has a deadline
    rules = policy(state.policy)
    return Line(
        id=record.subject,
        number=number_of(record),
        field=state.field,
        county=state.county,
        due=due,
        days_left=(due - today).days,
        gone=working_days_between(tehran_day(began), today),
        allowed=rules.capacity_days if waits_for_capacity else rules.screening_days,
        held=record.subject in held,
    )


def _groups(lines: Sequence[Line], today: date) -> list[Group]:
    week = (week_end(today) - today).days
    places: dict[str, list[Line]] = {"late": [], "today": [], "week": [], "later": []}
    for line in lines:
        left = line.days_left
        places["late" if left < 0 else "today" if left == 0 else "week" if left <= week else "later"].append(line)
    return [Group(name, found) for name, found in places.items() if found]


def _errors(record: Record, refused: Refused | None, lang: str) -> Errors:
    if refused is None:
        return []
    if refused.code != "not_eligible":
        return [{"field": refused.field or "outcome", "message": message_text(refused.code, lang, **refused.details)}]
    broken = [each for each in findings(record.state) if each.rule in refused.details["rules"]]
    text = " ".join(each.fa if lang == "fa" else each.en for each in broken)
    said = (
        "تأیید نمی‌شود؛ این شرط‌ها برقرار یا پرسیده نیست:"
        if lang == "fa"
        else "Not to be approved; not met, or not asked:"
    )
    return [{"field": "outcome", "message": f"{said} {text}"}]


def _cursor(record: Record) -> str:
    deadline, subject = place_of(record)
    return f"{deadline.isoformat()}~{subject}"


def _place(cursor: str) -> Place | None:
    """Where the page before ended; one that cannot be read begins anew."""
    deadline, _, subject = cursor.partition("~")
    try:
        return (datetime.fromisoformat(deadline), subject) if subject else None
    except ValueError:
        return None
