"""The appeal against a rejection: filed once by a signed form, decided by another person, breached after a day."""

from collections.abc import Collection, Sequence
from datetime import date, datetime

import msgspec
from msgspec.structs import replace

from contracts.commands import Refused
from contracts.envelope import Context, Envelope
from contracts.events import CaseAppealBreached, CaseAppealDecided, CaseAppealed, Event
from programme.calendar import day_end, tehran_day
from programme.deadlines import appeal_until
from programme.numbers import form_number
from programme.policies import policy
from programme.work_calendar import UnknownDay, work_calendar
from screening.domain.case import REJECTED, Case, Decide, person_of, reasons_of
from screening.domain.eligibility import Facts, answers_kept


class Appeal(msgspec.Struct, frozen=True, omit_defaults=True):
    """The appeal of the present application: its deadline and its decision."""

    filed: datetime | None = None
    filer: str = ""  # pseudonymous id of the officer who filed it for the applicant
    form: str = ""
    due: date | None = None
    breached: bool = False
    outcome: str = ""
    reasons: tuple[str, ...] = ()
    met: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()
    decided: datetime | None = None


class FileAppeal(msgspec.Struct, frozen=True):
    """File the applicant's appeal; `form` is the number of the form that the applicant signed."""

    form: str


class DecideAppeal(msgspec.Struct, frozen=True):
    """Decide on an appeal, by the conditions of a first decision."""

    decision: Decide


def is_pending(appeal: Appeal) -> bool:
    """Return whether the appeal waits for a decision."""
    return appeal.filed is not None and not appeal.outcome


def file(appeal: Appeal, case: Case, command: FileAppeal, application: int, context: Context, at: datetime) -> Event:
    """Record the appeal, once and within the window after a rejection. Raise Refused."""
    if appeal.filed:
        raise Refused("already_appealed")
    if case.outcome != REJECTED or case.decided is None:
        raise Refused("not_rejected")
    form = form_number(command.form, context.province)
    calendar, today = work_calendar(), tehran_day(at)
    try:
        if today > (until := appeal_until(case.decided, context.policy, context.province)):
            raise Refused("appeal_too_late", until=until)
        due = calendar.add_working_days(today, policy(context.policy).appeal_days, context.province)
    except UnknownDay as e:
        raise Refused("calendar_ended") from e
    return CaseAppealed(application=application, due=due, form=form, calendar=calendar.version)


def decide(
    appeal: Appeal,
    case: Case,
    command: DecideAppeal,
    application: int,
    context: Context,
    facts: Facts,
    authors: Collection[str],
) -> Event:
    """Decide on a pending appeal, before or after its breach. Raise Refused."""
    if appeal.outcome:
        raise Refused("already_decided")
    if not appeal.filed:
        raise Refused("no_open_appeal")
    if excluded := excluded_as(appeal, case, authors, command.decision.by):
        raise Refused(excluded)
    rules = policy(context.policy)
    kept = answers_kept(rules, command.decision.checklist)
    return CaseAppealDecided(
        application=application,
        outcome=command.decision.outcome,
        reasons=reasons_of(command.decision, rules, facts),
        rule_version=rules.version,
        met=kept[True],
        unmet=kept[False],
    )


def excluded_as(appeal: Appeal, case: Case, authors: Collection[str], by: str) -> str:
    """Return the refusal of a person who may not decide this appeal, or an empty text: whatever their role.

    Who took the first decision, who filed the appeal and who wrote the application may not.
    """
    person = person_of(by)
    if person and person == person_of(case.decider):
        return "first_decider_may_not"
    if person and person == appeal.filer:
        return "filer_may_not"
    return "registrar_may_not_screen" if person in authors else ""


def breaches_at(appeal: Appeal) -> datetime | None:
    """Return the end of the due day while the appeal is pending and no breach is recorded."""
    return day_end(appeal.due) if is_pending(appeal) and appeal.due and not appeal.breached else None


def breach(application: int, appeal: Appeal, now: datetime) -> Sequence[Event]:
    """Return the breach once the due day is over."""
    end = breaches_at(appeal)
    return [CaseAppealBreached(application=application, due=appeal.due)] if end and appeal.due and end <= now else []


def evolve(appeal: Appeal, envelope: Envelope) -> Appeal:
    """Return the appeal after one event about it."""
    match envelope.event:
        case CaseAppealed(due=due, form=form):
            return Appeal(filed=envelope.time, filer=person_of(envelope.actor), due=due, form=form)
        case CaseAppealBreached():
            return replace(appeal, breached=True)
        case CaseAppealDecided(outcome=outcome, reasons=reasons, met=met, unmet=unmet):
            return replace(appeal, outcome=outcome, reasons=reasons, met=met, unmet=unmet, decided=envelope.time)
    return appeal
