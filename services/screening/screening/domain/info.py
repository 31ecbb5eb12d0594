"""The request for papers in a case: made by an officer, answered at a desk, lapsed after a day; the clock is paused."""

from collections.abc import Collection, Sequence
from datetime import date, datetime

import msgspec
from msgspec.structs import replace

from contracts.codes import INFO_ITEMS
from contracts.commands import Refused
from contracts.envelope import Context, Envelope
from contracts.events import CaseInfoLapsed, CaseInfoRequested, CaseInfoSupplied, Event
from programme.calendar import day_end, tehran_day
from programme.policies import policy
from programme.work_calendar import UnknownDay, work_calendar
from screening.domain.case import REJECTED, Case, Decide, person_of
from screening.domain.pause import days, moved


class InfoRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The latest request of the present application, and the turns that the applicant had in all of them."""

    number: int = 0  # of requests
    items: tuple[str, ...] = ()
    requested: datetime | None = None
    due: date | None = None  # by which the applicant is to answer
    before: date | None = None  # the due day of the case when it was made
    received: tuple[str, ...] = ()
    supplied: datetime | None = None
    lapsed: bool = False
    periods: tuple[tuple[date, date], ...] = ()  # the days on which each turn that is over began and ended


class RequestInfo(msgspec.Struct, frozen=True):
    """Ask the applicant for papers, by their codes."""

    items: tuple[str, ...]
    by: str = ""  # the officer, as in the envelope's actor


class RecordInfo(msgspec.Struct, frozen=True):
    """Record which of the papers came."""

    items: tuple[str, ...]


def is_waiting(info: InfoRequest, case: Case) -> bool:
    """Return whether it is the applicant's turn."""
    return info.requested is not None and not (info.supplied or info.lapsed or case.outcome)


def request(
    info: InfoRequest,
    case: Case,
    command: RequestInfo,
    application: int,
    context: Context,
    authors: Collection[str],
    at: datetime,
) -> Event:
    """Ask for papers, while the case is open and no other request waits. Raise Refused."""
    if case.outcome:
        raise Refused("already_decided")
    if case.opened is None or case.due is None:
        raise Refused("no_open_case")
    if person_of(command.by) in authors:
        raise Refused("registrar_may_not_screen")
    check_turn(info, case)
    rules, today = policy(context.policy), tehran_day(at)
    if info.number >= rules.info_requests:
        raise Refused("info_requests_used", limit=rules.info_requests)
    items = _known(command.items, INFO_ITEMS)
    calendar = work_calendar()
    try:
        due = calendar.add_working_days(today, rules.info_days, context.province)
        case_due = moved(case.due, today, due, context.province)
    except UnknownDay as e:
        raise Refused("calendar_ended") from e
    return CaseInfoRequested(
        application=application, items=items, due=due, case_due=case_due, calendar=calendar.version
    )


def record(info: InfoRequest, case: Case, command: RecordInfo, application: int, province: str, at: datetime) -> Event:
    """Record the papers that came, in time or late; the turn is screening's. Raise Refused."""
    if case.outcome:
        raise Refused("already_decided")
    if info.requested is None or info.supplied or info.due is None or info.before is None:
        raise Refused("no_info_requested")
    items = _known(command.items, info.items)
    first, last = _period(info, info.due, at)
    return CaseInfoSupplied(application=application, items=items, case_due=moved(info.before, first, last, province))


def check_decision(info: InfoRequest, case: Case, command: Decide) -> None:
    """Let no one reject an applicant who still has days to answer. Raise Refused: applicant_has_time."""
    if command.outcome == REJECTED and is_waiting(info, case):
        raise Refused("applicant_has_time", "outcome", until=info.due)


def check_turn(info: InfoRequest, case: Case) -> None:
    """Let no one begin anything else while it is the applicant's turn. Raise Refused: info_already_requested."""
    if is_waiting(info, case):
        raise Refused("info_already_requested", until=info.due)


def lapses_at(info: InfoRequest, case: Case) -> datetime | None:
    """Return the end of the last day to answer while the request waits."""
    return day_end(info.due) if is_waiting(info, case) and info.due else None


def lapse(application: int, info: InfoRequest, case: Case, now: datetime) -> Sequence[Event]:
    """Return the lapse once the last day to answer is over."""
    end = lapses_at(info, case)
    return [CaseInfoLapsed(application=application, due=info.due)] if end and info.due and end <= now else []


def evolve(info: InfoRequest, case: Case, envelope: Envelope) -> tuple[InfoRequest, Case]:
    """Return the request and the case, whose due day moves, after one event about them."""
    match envelope.event:
        case CaseInfoRequested(items=items, due=due, case_due=case_due):
            made = InfoRequest(
                number=info.number + 1,
                items=items,
                requested=envelope.time,
                due=due,
                before=case.due,
                periods=info.periods,
            )
            return made, replace(case, due=case_due)
        case CaseInfoSupplied(items=items, case_due=case_due):
            answered = replace(info, received=items, supplied=envelope.time)
            if not info.lapsed and info.due:
                answered = replace(answered, periods=(*info.periods, _period(info, info.due, envelope.time)))
            return answered, replace(case, due=case_due)
        case CaseInfoLapsed(due=due):
            return replace(info, lapsed=True, periods=(*info.periods, _period(info, due, day_end(due)))), case
    return info, case


def days_of_applicant(info: InfoRequest, case: Case, at: datetime, province: str) -> int:
    """Return the working days until this time on which it was the applicant's turn. Raise UnknownDay."""
    now = min(at, case.decided or at)
    current = (
        [_period(info, info.due, now)] if info.requested and info.due and not (info.supplied or info.lapsed) else []
    )
    return sum(days(first, last, province) for first, last in (*info.periods, *current))


def _period(info: InfoRequest, due: date, end: datetime) -> tuple[date, date]:
    """Return the days on which the latest turn began and ended: after its due day it is screening's turn again."""
    first = tehran_day(info.requested or end)
    return first, min(tehran_day(end), due)


def _known(items: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Return the items without repeats. Raise Refused: items_missing, code_unknown."""
    if not items:
        raise Refused("items_missing", "items")
    if any(item not in known for item in items):
        raise Refused("code_unknown", "items")
    return tuple(dict.fromkeys(items))
