"""Deadlines of the programme: working days after a day, by a version of the policies and the current calendar."""

from datetime import date, datetime, time, timedelta

from programme.calendar import TEHRAN, tehran_day
from programme.policies import policy
from programme.work_calendar import work_calendar


def appeal_until(rejected: datetime, version: str, province: str) -> date:
    """Return the last day, in Tehran, on which an appeal against a rejection may be filed.

    Raise UnknownVersion, and UnknownDay where the calendar ends before it.
    """
    days = policy(version).appeal_window_days
    return work_calendar().add_working_days(tehran_day(rejected), days, province)


def proposal_until(made: datetime, version: str) -> datetime:
    """Return the end of the last day, in Tehran, on which a proposal about seats may be signed.

    Raise UnknownVersion, and UnknownDay where the calendar ends before it.
    """
    days = policy(version).proposal_days
    last = work_calendar().add_working_days(tehran_day(made), days, "")
    return datetime.combine(last + timedelta(days=1), time(), TEHRAN)
