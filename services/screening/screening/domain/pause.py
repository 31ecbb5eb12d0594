"""The clock of a case while someone outside screening has to act: their working days are added to its due day."""

from datetime import date

from programme.work_calendar import work_calendar


def moved(due: date, first: date, last: date, province: str) -> date:
    """Return a due day, later by the working days after `first` up to `last`, on which it was the turn of someone else.

    What was overdue on the first day stays due on its day: no one gets rid of a delay by a question. Nothing becomes
    overdue by an answer that comes on a day off: the next working day is screening's. Raise UnknownDay.
    """
    if due < first:
        return due
    calendar = work_calendar()
    later = calendar.add_working_days(due, days(first, last, province), province)
    return later if later >= last else calendar.add_working_days(last, 1, province)


def days(first: date, last: date, province: str) -> int:
    """Return the working days of a turn that passed from one to the other on these two days. Raise UnknownDay."""
    return work_calendar().working_days_between(first, last, province)
