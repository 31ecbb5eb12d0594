"""A dead letter: a parked event that blocks those behind it, a missing one, or bytes that hold no event."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec

from contracts.commands import Refused
from contracts.envelope import DecodeError, Envelope, UnhandledEvent, decode
from kernel.record import Fault, LogPosition, Parked, Undecodable, fingerprint
from kernel.store import Source

Kind = Literal["parked", "undecodable"]
OutcomeCode = Literal["drained", "parked", "discarded", "gone"]


class _Typed(msgspec.Struct):
    type: str = ""


_decode_type = msgspec.json.Decoder(_Typed).decode


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that blocks those behind it, or bytes that hold no event."""

    id: str  # source/subject/sequence; of a missing event its own; of undecodable bytes topic/partition@offset
    kind: Kind
    fingerprint: str  # the same for all with the same cause
    reason: str
    source: str  # of undecodable bytes the topic
    subject: str = ""
    sequence: int = 0
    type: str = ""
    fault: Fault = Fault()
    since: datetime
    behind: int = 0  # parked events of the same subject and source that follow
    position: LogPosition | None = None  # of a missing event none
    raw: bytes | None = None  # only from `whole`
    length: int = 0  # of undecodable bytes, of which `raw` may be the beginning
    next: tuple[str, ...] = ()  # ids of the first of those behind, only from `whole`

    @property
    def envelope(self) -> Envelope | None:
        """Return the event, if this version can decode it and it is valid."""
        try:
            envelope = decode(self.raw) if self.raw is not None else None
        except DecodeError:
            return None
        return None if envelope and isinstance(envelope.event, UnhandledEvent) else envelope


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The letters with one fingerprint."""

    fingerprint: str
    kind: Kind
    reason: str
    source: str
    type: str
    fault: Fault  # of the oldest
    letters: int
    behind: int
    since: datetime  # of the oldest
    example: str  # id of the oldest


class LetterOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a letter, or would: events handled, and the fault at which it stopped again."""

    id: str
    outcome: OutcomeCode
    drained: int = 0
    fault: Fault = Fault()


def group(letters: Iterable[Letter]) -> list[Group]:
    """Return the letters by fingerprint, the largest group first."""
    by_fingerprint: dict[str, list[Letter]] = {}
    for each in letters:
        by_fingerprint.setdefault(each.fingerprint, []).append(each)
    groups = []
    for members in by_fingerprint.values():
        oldest = min(members, key=lambda each: (each.since, each.id))
        groups.append(
            Group(
                fingerprint=oldest.fingerprint,
                kind=oldest.kind,
                reason=oldest.reason,
                source=oldest.source,
                type=oldest.type,
                fault=oldest.fault,
                letters=len(members),
                behind=sum(each.behind for each in members),
                since=oldest.since,
                example=oldest.id,
            )
        )
    return sorted(groups, key=lambda each: (-each.letters, each.fingerprint))


def parse(letter: str) -> tuple[Source, int]:
    """Return (subject, source) and sequence of an event id. Raise Refused: letter_unknown."""
    source, _, rest = letter.partition("/")
    subject, _, number = rest.rpartition("/")
    if not (source and subject and number.isascii() and number.isdigit() and 0 < int(number) < 1 << 53):
        raise Refused("letter_unknown", "letters", letter=letter[:200])
    return (subject, source), int(number)


def event_id(each: Parked) -> str:
    """Return the id of a parked event."""
    return f"{each.source}/{each.subject}/{each.sequence}"


def parked_letter(head: Parked) -> Letter:
    """Describe a parked event, without its bytes."""
    return Letter(
        id=event_id(head),
        kind="parked",
        fingerprint=head.fingerprint,
        reason=head.reason,
        source=head.source,
        subject=head.subject,
        sequence=head.sequence,
        type=head.type,
        fault=head.fault,
        since=head.since,
        behind=head.behind,
        position=head.position,
    )


def missing_letter(head: Parked, sequence: int) -> Letter:
    """Describe the missing event before a head; its type is unknown."""
    return Letter(
        id=f"{head.source}/{head.subject}/{sequence}",
        kind="parked",
        fingerprint=fingerprint("early", head.source),
        reason="early",
        source=head.source,
        subject=head.subject,
        sequence=sequence,
        fault=fault_of(head, sequence - 1),
        since=head.since,
        behind=head.behind + 1,
    )


def fault_of(head: Parked | None, handled: int) -> Fault:
    """Return why a source with this head does not go on after the event `handled`."""
    if head is None:
        return Fault()
    if head.reason == "early":
        return Fault("EventMissing", f"event {handled + 1} is missing, event {head.sequence} waits for it")
    return head.fault


def undecodable_letter(each: Undecodable, at: datetime) -> Letter:
    """Describe undecodable bytes."""
    kind = _type_in(each.raw)
    return Letter(
        id=str(each.position),
        kind="undecodable",
        fingerprint=fingerprint("undecodable", each.position.topic, each.code, kind),
        reason="undecodable",
        source=each.position.topic,
        type=kind,
        fault=Fault("DecodeError", each.why, each.code),
        since=at,
        position=each.position,
        length=each.length,
    )


def _type_in(raw: bytes | None) -> str:
    """Return the type that bytes name, however little else can be read of them."""
    try:
        return _decode_type(raw or b"").type[:200]
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""
