"""What an officer may do for an applicant on a signed form, and why an act is closed."""

from datetime import date, datetime, timedelta
from typing import Literal, get_args

from programme.deadlines import appeal_until
from programme.work_calendar import UnknownDay
from registration.domain.applicant import CODES_A_DAY, State
from registration.domain.progress import Application

Act = Literal["correction", "withdrawal", "tracking_code", "appeal"]
ACTS: tuple[Act, ...] = get_args(Act)
Closed = Literal[
    "",
    "erased",
    "withdrawn",
    "unidentified",  # after a restore: the person is identified first
    "codes_of_the_day",
    "no_decision",
    "not_rejected",
    "appealed",  # once in a round
    "too_late",
]


def closed(state: State, act: Act, at: datetime, today: date) -> Closed:
    """Return why an act is closed for an applicant, or an empty text; `today` is the day in Tehran."""
    if state.erased_at or not state.application:
        return "erased"
    if act == "tracking_code":
        recent = len(state.issued) == CODES_A_DAY and at - state.issued[0] < timedelta(days=1)
        return "codes_of_the_day" if recent else ""
    if state.current.withdrawn_at:
        return "withdrawn"
    if act == "correction":
        return "unidentified" if state.unidentified else ""
    return _appeal_closed(state, today) if act == "appeal" else ""


def _appeal_closed(state: State, today: date) -> Closed:
    current = state.current
    if current.appealed_at:
        return "appealed"
    if not current.outcome or current.decided_at is None:
        return "no_decision"
    if current.outcome != "rejected":
        return "not_rejected"
    until = last_day_to_appeal(current, state.context.policy, state.context.province)
    return "too_late" if until is not None and today > until else ""


def last_day_to_appeal(current: Application, policy: str, province: str) -> date | None:
    """Return the last day to appeal against a rejection; None without one, after an appeal, or beyond the calendar."""
    if current.outcome != "rejected" or current.appealed_at or not current.decided_at:
        return None
    try:
        return appeal_until(current.decided_at, policy, province)
    except UnknownDay:
        return None
