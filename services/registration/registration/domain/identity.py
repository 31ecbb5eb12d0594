"""The identity of an application: when the registry is queried, and how its data is corrected."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from contracts.commands import EventWithContext, Refused
from contracts.envelope import Context, Envelope
from contracts.events import ApplicantUpdated, CaseDecided

FINAL = frozenset({"match", "mismatch"})  # answers of the registry after which it is not queried again
RECHECK_AFTER = (timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=3), timedelta(days=7))
MAX_CORRECTIONS = 5  # of one application: each queries the registry, which must not become a way to try identities


class Correct(msgspec.Struct, frozen=True, kw_only=True):
    """Correct the data of an application: what is published as it will be, and what changes of the identity."""

    application: int
    context: Context
    profile: Mapping[str, str]  # by event field
    identity: bool  # something that the identity registry compares changes
    contact: bool = False  # something else that no event contains changes
    corrections: int  # of the application so far: those made meanwhile are not overwritten


def corrected(
    command: Correct, application: int, before: Context, profile: Mapping[str, str], made: int, outcome: str
) -> ApplicantUpdated:
    """Return the event of a correction of the application that is given by its place, profile and corrections so far.

    Raise Refused: changed_meanwhile, nothing_changed, corrections_used_up, already_decided.
    """
    after = command.context
    same = (after.round, after.province) == (before.round, before.province)
    if (command.application, command.corrections) != (application, made) or not same:
        raise Refused("changed_meanwhile")
    if not (command.identity or command.contact) and (after, command.profile) == (before, profile):
        raise Refused("nothing_changed")
    if made >= MAX_CORRECTIONS:
        raise Refused("corrections_used_up", limit=MAX_CORRECTIONS)
    if outcome and after.field != before.field:  # the decision was about the job field
        raise Refused("already_decided", field="field")
    return ApplicantUpdated(application=application, identity_changed=command.identity, **command.profile)


def taken_back(
    decision: Envelope, application: int, now: Context, profile: Mapping[str, str]
) -> Sequence[EventWithContext]:
    """Return what takes the job field of an application back to the one that a decision was about; often nothing."""
    event, field = decision.event, decision.context.field
    about_this = isinstance(event, CaseDecided) and event.application == application
    if not about_this or field in ("", now.field):
        return ()
    updated = ApplicantUpdated(application=application, identity_changed=False, **profile)
    return [EventWithContext(updated, replace(now, field=field))]


def check_due(registered_at: datetime | None, checks: int, checked_at: datetime | None) -> datetime | None:
    """Return when the next check is due: at once, then with growing pauses; after the last one an officer decides."""
    if checks > len(RECHECK_AFTER):
        return None
    return registered_at if checked_at is None else checked_at + RECHECK_AFTER[checks - 1]
