"""The second look at an approval: a drawn share is reviewed by another officer, so that lists are approved with care.

The draw follows from the decision alone, and can be repeated by anyone who has its event; it is not known
before the decision. A review never costs the applicant anything: it shows in the case and in the figures of the area.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from contracts.codes import REVIEW_REASONS
from contracts.commands import Refused
from contracts.envelope import Envelope
from contracts.events import CaseDecided, CaseReviewed, Event
from programme.policies import policy
from screening.domain.case import APPROVED, Case, person_of

PENDING, AGREED, DISAGREED = "pending", "agreed", "disagreed"


class Review(msgspec.Struct, frozen=True, omit_defaults=True):
    """The second look at the first decision, if it was drawn."""

    drawn: bool = False
    at: datetime | None = None
    by: str = ""  # role and pseudonymous id
    reasons: tuple[str, ...] = ()  # why the reviewer disagrees


class ReviewCase(msgspec.Struct, frozen=True):
    """Agree with a drawn approval, or disagree for reasons."""

    agrees: bool
    reasons: tuple[str, ...] = ()
    by: str = ""  # the officer, as in the envelope's actor


def is_drawn(event: CaseDecided, envelope: Envelope) -> bool:
    """Return whether an approval is in the share of the policy; those without answers have nothing to look at."""
    decision = f"{envelope.subject}/{event.application}/{envelope.time.isoformat()}"
    number = int.from_bytes(blake2b(decision.encode(), digest_size=8).digest()) % 100
    share = policy(envelope.context.policy).second_look_percent if event.outcome == APPROVED and event.met else 0
    return number < share


def status_of(review: Review) -> str:
    """Return PENDING, AGREED or DISAGREED; empty if the decision was not drawn."""
    if not review.drawn or review.at is None:
        return PENDING if review.drawn else ""
    return DISAGREED if review.reasons else AGREED


def excluded_as(case: Case, authors: Collection[str], by: str) -> str:
    """Return the refusal of a person who may not review this decision, whatever the role, or an empty text."""
    if person_of(by) == person_of(case.decider):
        return "decider_may_not_review"
    return "registrar_may_not_screen" if person_of(by) in authors else ""


def review(
    present: Review, case: Case, command: ReviewCase, application: int, authors: Collection[str]
) -> Sequence[Event]:
    """Review a drawn approval, once. Raise Refused."""
    if not present.drawn:
        raise Refused("not_drawn")
    if present.at:
        raise Refused("already_reviewed")
    if excluded := excluded_as(case, authors, command.by):
        raise Refused(excluded)
    reasons = () if command.agrees else tuple(dict.fromkeys(command.reasons))
    if not command.agrees and (not reasons or not set(reasons) <= REVIEW_REASONS.keys()):
        raise Refused("review_reason_missing", "reasons")
    return [CaseReviewed(application=application, reasons=reasons)]


def evolve(present: Review, envelope: Envelope) -> Review:
    """Return the review after one event about the case."""
    match envelope.event:
        case CaseDecided() as event:
            return Review(drawn=is_drawn(event, envelope))
        case CaseReviewed(reasons=reasons):
            return replace(present, at=envelope.time, by=envelope.actor, reasons=reasons)
    return present
