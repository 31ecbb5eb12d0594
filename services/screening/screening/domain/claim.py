"""The claim on an open case: for a while it is offered to no other officer, so that no one is called by two."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import msgspec

from contracts.commands import Refused
from contracts.envelope import Envelope
from contracts.events import CaseClaimed, CaseDecided, CaseInfoRequested, CaseReleased, Event
from programme.policies import policy
from screening.domain.case import Case, is_open, person_of

CLAIMS = 100  # of one application: a record that events fill could never be decided


class Claim(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who works on the case of the present application, until when; empty if no one does."""

    by: str = ""  # role and pseudonymous id
    until: datetime | None = None
    ended: int = 0  # earlier claims on it


class ClaimCase(msgspec.Struct, frozen=True):
    """Claim an open case that no one has claimed."""

    by: str  # the officer, as in the envelope's actor


class ReleaseCase(msgspec.Struct, frozen=True):
    """Return a claimed case to the queue."""

    by: str


def claim(
    present: Claim,
    case: Case,
    command: ClaimCase,
    application: int,
    version: str,
    authors: Collection[str],
    at: datetime,
) -> Sequence[Event]:
    """Claim a case for the hold of the policy; nothing happens if the same person has it. Raise Refused."""
    if not is_open(case):
        raise Refused("already_decided" if case.outcome else "no_open_case")
    if person_of(command.by) in authors:
        raise Refused("registrar_may_not_screen")
    if present.until and present.until > at:
        if person_of(present.by) == person_of(command.by):
            return []
        raise Refused("case_claimed", until=present.until)
    if present.ended >= CLAIMS:
        raise Refused("record_full", limit=CLAIMS)
    return [CaseClaimed(application=application, until=at + timedelta(minutes=policy(version).claim_minutes))]


def release(present: Claim, command: ReleaseCase, application: int) -> Sequence[Event]:
    """Return a case to the queue. Raise Refused: only who claimed it may."""
    if not present.by or person_of(present.by) != person_of(command.by):
        raise Refused("not_claimed")
    return [CaseReleased(application=application, reason="returned")]


def expires_at(present: Claim, case: Case) -> datetime | None:
    """Return the end of the claim on a case that is open."""
    return present.until if is_open(case) else None


def expire(application: int, present: Claim, case: Case, now: datetime) -> Sequence[Event]:
    """Return the end of the claim once its time is over."""
    end = expires_at(present, case)
    return [CaseReleased(application=application, reason="expired")] if end and end <= now else []


def evolve(present: Claim, envelope: Envelope) -> Claim:
    """Return the claim after one event about the case; a decision or a request for papers ends it."""
    match envelope.event:
        case CaseClaimed(until=until):
            return Claim(by=envelope.actor, until=until, ended=present.ended + bool(present.by))
        case CaseReleased() | CaseDecided() | CaseInfoRequested() if present.by:
            return Claim(ended=present.ended + 1)
    return present
