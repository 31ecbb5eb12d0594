"""The screening case of one application: opened with a due day, decided by an officer, breached after the day."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime

import msgspec
from msgspec.structs import replace

from contracts.codes import APPROVAL_REASONS, OUTCOMES, REJECTION_REASONS
from contracts.commands import Refused
from contracts.envelope import Context, Envelope
from contracts.events import CaseBreached, CaseDecided, CaseOpened, Event
from programme.calendar import day_end, tehran_day
from programme.policies import Policy, policy
from programme.work_calendar import UnknownDay, work_calendar
from screening.domain.eligibility import Facts, answers_kept, violated

APPROVED, REJECTED = "approved", "rejected"
UNREACHABLE = "unreachable"  # the reason to reject that unanswered calls must precede


class Case(msgspec.Struct, frozen=True, omit_defaults=True):
    """The screening of the present application: its deadline and its decision."""

    opened: datetime | None = None
    due: date | None = None
    breached: bool = False
    outcome: str = ""
    reasons: tuple[str, ...] = ()
    rule_version: str = ""
    decided: datetime | None = None
    decider: str = ""  # role and pseudonymous id
    within_sla: bool = False
    met: tuple[str, ...] = ()  # conditions to which the answer was yes
    unmet: tuple[str, ...] = ()  # and no


class Decide(msgspec.Struct, frozen=True):
    """Decide on a case; an approval needs the answers to all conditions that are asked by telephone."""

    outcome: str
    reasons: tuple[str, ...] = ()
    checklist: Mapping[str, bool] | None = None
    by: str = ""  # the officer, as in the envelope's actor


def open_case(application: int, version: str, province: str, at: datetime) -> CaseOpened:
    """Open the case of an application registered at this time; the policy version gives the working days.

    Raise UnknownDay where the calendar ends before the due day: the cause is parked until there is a longer one.
    """
    calendar = work_calendar()
    due = calendar.add_working_days(tehran_day(at), policy(version).screening_days, province)
    return CaseOpened(application=application, due=due, calendar=calendar.version)


def is_open(case: Case) -> bool:
    """Return whether the case waits for a decision."""
    return case.opened is not None and not case.outcome


def breaches_at(case: Case) -> datetime | None:
    """Return the end of the due day while the case is open and no breach is recorded."""
    return day_end(case.due) if is_open(case) and case.due and not case.breached else None


def breach(application: int, case: Case, now: datetime) -> Sequence[Event]:
    """Return the breach once the due day is over."""
    end = breaches_at(case)
    return [CaseBreached(application=application, due=case.due)] if end and case.due and end <= now else []


def decide(
    case: Case,
    command: Decide,
    application: int,
    context: Context,
    facts: Facts,
    authors: Collection[str],
    at: datetime,
) -> Sequence[Event]:
    """Decide on an open case, before or after its breach. Raise Refused."""
    if case.outcome:
        raise Refused("already_decided")
    if case.opened is None or case.due is None:
        raise Refused("no_open_case")
    if person_of(command.by) in authors:
        raise Refused("registrar_may_not_screen")
    rules = policy(context.policy)
    reasons, kept = reasons_of(command, rules, facts), answers_kept(rules, command.checklist)
    return [
        CaseDecided(
            application=application,
            outcome=command.outcome,
            reasons=reasons,
            rule_version=rules.version,
            working_hours=_working_hours(case.opened, at, context.province),
            within_sla=tehran_day(at) <= case.due,
            met=kept[True],
            unmet=kept[False],
        )
    ]


def evolve(case: Case, envelope: Envelope) -> Case:
    """Return the case after one event about it."""
    match envelope.event:
        case CaseOpened(due=due):
            return Case(opened=envelope.time, due=due)
        case CaseBreached():
            return replace(case, breached=True)
        case CaseDecided() as event:
            return replace(
                case,
                outcome=event.outcome,
                reasons=event.reasons,
                rule_version=event.rule_version,
                decided=envelope.time,
                decider=envelope.actor,
                within_sla=event.within_sla,
                met=event.met,
                unmet=event.unmet,
            )
    return case


def person_of(actor: str) -> str:
    """Return the pseudonymous person in an actor, whatever the role: `registrar:of-2f9c` -> `of-2f9c`, `web:` -> ``."""
    return actor.partition(":")[2]


def _working_hours(opened: datetime, at: datetime, province: str) -> int:
    try:
        return work_calendar().working_hours_between(opened, at, province)
    except UnknownDay as e:
        raise Refused("calendar_ended") from e


def reasons_of(command: Decide, rules: Policy, facts: Facts) -> tuple[str, ...]:
    """Return the reasons of a decision that the rules permit. Raise Refused.

    outcome_unknown, reasons_missing, reason_unknown, not_called_enough, not_eligible.
    """
    if command.outcome not in OUTCOMES:
        raise Refused("outcome_unknown", "outcome")
    known = APPROVAL_REASONS if command.outcome == APPROVED else REJECTION_REASONS
    reasons = tuple(dict.fromkeys(command.reasons)) or (tuple(APPROVAL_REASONS) if command.outcome == APPROVED else ())
    if not reasons:
        raise Refused("reasons_missing", "reasons")
    if any(reason not in known for reason in reasons):
        raise Refused("reason_unknown", "reasons")
    if UNREACHABLE in reasons and (missing := unreachable_after(rules, facts)):
        calls, days = missing
        wanted = {"calls": rules.unreachable_calls, "days": rules.unreachable_days}
        raise Refused("not_called_enough", "reasons", **wanted, missing=calls, missing_days=days)
    if command.outcome == APPROVED and (failed := violated(rules, facts, command.checklist)):
        raise Refused("not_eligible", "outcome", rules=failed)
    return reasons


def unreachable_after(rules: Policy, facts: Facts) -> tuple[int, int] | None:
    """Return how many unanswered calls, and days with one, are missing before UNREACHABLE is a reason; None if none."""
    calls = max(0, rules.unreachable_calls - len(facts.unanswered))
    days = max(0, rules.unreachable_days - len(set(facts.unanswered)))
    return (calls, days) if calls or days else None
