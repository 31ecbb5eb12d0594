"""The calls of screening to an applicant: what came of each, and when the next one is agreed."""

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta

import msgspec
from msgspec.structs import replace

from contracts.codes import CALL_OUTCOMES
from contracts.commands import Refused
from contracts.envelope import Envelope
from contracts.events import CaseCallAgreed, CaseCallLogged, Event
from programme.calendar import tehran_day
from screening.domain.case import Case, is_open, person_of

REACHED, NO_ANSWER, CALL_BACK = "reached", "no_answer", "call_back"
DAYS_AHEAD = 30  # for which a next call can be agreed
CALLS = 100  # about one application: a record that events fill could never be decided


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call."""

    at: datetime
    by: str  # role and pseudonymous id
    outcome: str
    next_call: datetime | None = None


class LogCall(msgspec.Struct, frozen=True):
    """Log a call; `next_call` counts only where the applicant asked to be called at another time."""

    outcome: str
    next_call: datetime | None = None
    by: str = ""  # the officer, as in the envelope's actor


def check_calls(calls: Sequence[Call]) -> None:
    """Raise Refused: record_full, after as many calls as one application may have."""
    if len(calls) >= CALLS:
        raise Refused("record_full", limit=CALLS)


def log(case: Case, command: LogCall, application: int, authors: Collection[str], at: datetime) -> Sequence[Event]:
    """Log a call about an open case. Raise Refused."""
    if not is_open(case):
        raise Refused("already_decided" if case.outcome else "no_open_case")
    if person_of(command.by) in authors:
        raise Refused("registrar_may_not_screen")
    if command.outcome not in CALL_OUTCOMES:
        raise Refused("call_outcome_unknown", "call")
    if command.outcome != CALL_BACK:
        return [CaseCallLogged(application=application, outcome=command.outcome)]
    if command.next_call is None:
        raise Refused("next_call_missing", "next_call")
    if not at < command.next_call <= at + timedelta(days=DAYS_AHEAD):
        raise Refused("next_call_out_of_range", "next_call", limit=DAYS_AHEAD)
    return [
        CaseCallLogged(application=application, outcome=CALL_BACK),
        CaseCallAgreed(application=application, at=command.next_call),
    ]


def evolve(calls: tuple[Call, ...], envelope: Envelope) -> tuple[Call, ...]:
    """Return the calls after one event about the case."""
    match envelope.event:
        case CaseCallLogged(outcome=outcome):
            return (*calls, Call(envelope.time, envelope.actor, outcome))
        case CaseCallAgreed(at=at) if calls:
            return (*calls[:-1], replace(calls[-1], next_call=at))
    return calls


def next_call(calls: Sequence[Call]) -> datetime | None:
    """Return when the applicant asked to be called, unless a call was made since."""
    return calls[-1].next_call if calls else None


def unanswered(calls: Sequence[Call]) -> tuple[date, ...]:
    """Return the days, in Tehran, of the calls without an answer since the applicant was last reached."""
    reached = max((n for n, each in enumerate(calls, 1) if each.outcome == REACHED), default=0)
    return tuple(tehran_day(each.at) for each in calls[reached:] if each.outcome == NO_ANSWER)
