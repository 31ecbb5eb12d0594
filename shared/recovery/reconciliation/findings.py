"""What is wrong with one subject, given what its owner holds and what its consumer has handled. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from contracts.envelope import DecodeError, Envelope, InvalidEvent, decode, digest
from kernel.record import Message
from kernel.rules import contradicts
from recovery.reconciliation.owner import History

QUIET = timedelta(minutes=1)  # machine time after which an event must have arrived

# owner_behind: the consumer has handled events that the owner does not hold (any more): the owner was restored.
# differs: both have an event of the same number, but not the same one, or the owner's events do not follow each other.
Kind = Literal["owner_behind", "differs"]


class Handled(msgspec.Struct, frozen=True):
    """What a consumer has of one subject and source."""

    sequence: int = 0
    hash: str = ""  # of its last event, if it is known
    parked: Mapping[int, bytes] = {}  # events that are not handled yet, by sequence; b"" for an invalid one


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """A difference that only an operator can resolve."""

    subject: str
    kind: Kind
    handled: int  # sequence of the consumer's last event
    held: int  # sequence of the owner's last event


class Finding(msgspec.Struct, frozen=True):
    """What is to be done about one subject."""

    missing: Sequence[Message] = ()  # to be handled, in order
    disagreement: Disagreement | None = None


NOTHING = Finding()


def judge(source: str, handled: Handled, history: History, now: datetime) -> Finding:
    """Compare what was handled with what the owner holds, from the consumer's last event on.

    An event of the last minute, one that is parked, and one that the owner has not published yet are not missing.
    """
    subject = history.subject

    def disagreement(kind: Kind) -> Finding:
        return Finding(
            disagreement=Disagreement(subject=subject, kind=kind, handled=handled.sequence, held=history.sequence)
        )

    if handled.sequence > history.sequence:
        return disagreement("owner_behind")
    events = dict(enumerate(history.events, history.first))
    known = events.get(handled.sequence)
    if known and handled.hash and digest(known) != handled.hash:
        return disagreement("differs")
    missing, last_hash = list[Message](), handled.hash
    for sequence in range(handled.sequence + 1, history.published + 1):
        if (raw := events.get(sequence)) is None:
            break
        envelope = _readable(raw, source, subject, sequence)
        if envelope is None or contradicts(envelope, last_hash):
            return disagreement("differs")
        if envelope.recorded is not None and envelope.recorded > now - QUIET:
            break
        last_hash = digest(raw)
        if sequence not in handled.parked or not handled.parked[sequence]:
            missing.append(Message(envelope, raw))
    return Finding(missing)


def _readable(raw: bytes, source: str, subject: str, sequence: int) -> Envelope | None:
    """Return the event if it is the one that it should be, and not damaged."""
    try:
        envelope = decode(raw)
    except DecodeError:
        return None
    same = (envelope.source, envelope.subject, envelope.sequence) == (source, subject, sequence)
    return envelope if same and not isinstance(envelope.event, InvalidEvent) else None
