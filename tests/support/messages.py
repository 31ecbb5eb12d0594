"""Consumed events for tests, and rules that fail until they are fixed."""

from typing import Any

from msgspec.structs import replace

from contracts.envelope import Context, Envelope, decode, digest, encode
from contracts.events import ApplicantRegistered, ApplicantWithdrawn, CaseOpened, Event
from kernel.commands import CommandMetadata
from kernel.record import LogPosition, Message, Private
from tests.support.small_services import NOON, ReportingRules

REGISTERED = ApplicantRegistered(sex="female", age_band="25-34", work_mode="independent", intake_channel="web")
WITHDRAWN = ApplicantWithdrawn(reason="other")
CONTEXT = Context(round="1404", province="IR-20", county="2001", policy="1404-1")
UNKNOWN_TYPE = "ir.peyvand.registration.applicant.photographed.v1"  # only a newer version knows it


def message(
    source: str, sequence: int, event: Event | None = None, subject: str = "p", field: str = "honey"
) -> Message:
    """Return a consumed event; by default registration emits ApplicantRegistered and screening CaseOpened."""
    event = event or (REGISTERED if source == "registration" else CaseOpened(due=NOON.date()))
    envelope = Envelope(
        source=source,
        subject=subject,
        sequence=sequence,
        time=NOON,
        event=event,
        context=replace(CONTEXT, field=field),
    )
    return Message(envelope, encode(envelope), LogPosition(f"peyvand.{source}", 0, sequence))


def chain(
    source: str, *sequences: int, after: Message | None = None, subject: str = "p", field: str = "honey"
) -> list[Message]:
    """Return consumed events each of which names the one before it, as producers emit them; the first `after`."""
    found = list[Message]()
    for sequence in sequences:
        bare = message(source, sequence, subject=subject, field=field)
        last = found[-1] if found else after
        envelope = replace(bare.envelope, previous=digest(last.raw) if last else "")
        found.append(Message(envelope, encode(envelope), bare.position))
    return found


def unknown(sequence: int, subject: str = "p") -> Message:
    """Return an event of registration whose type only a newer version knows."""
    known = message("registration", sequence, subject=subject)
    raw = known.raw.replace(REGISTERED.TYPE.encode(), UNKNOWN_TYPE.encode())
    return Message(decode(raw), raw, known.position)


def person(value: str) -> CommandMetadata:
    """Return the metadata of a command about the person with this blind index."""
    return CommandMetadata(private=Private(indexed={"person": value}))


class Picky(ReportingRules):
    """Rules with a bug: they raise on every withdrawal until `fixed` is set."""

    fixed = False

    @classmethod
    def evolve(cls, state: Any, envelope: Envelope) -> Any:
        if isinstance(envelope.event, ApplicantWithdrawn) and not cls.fixed:
            raise ValueError("a bug")
        return ReportingRules.evolve(state, envelope)
