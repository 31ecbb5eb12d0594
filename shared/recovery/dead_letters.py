"""Dead letters: what waits for a person, grouped by what is wrong with it, and what a person does about it.

A parked event that met a fault is tried again once the rules are mended, or given up for good. What nobody can read is
read again by a version that can, or explained. Payloads are never edited.
"""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from typing import Literal

import msgspec
from msgspec.structs import replace

from base.clock import Clock, machine_now
from contracts.commands import Refused
from contracts.envelope import DecodeError, Envelope, decode
from contracts.subjects import kind_of
from kernel.batch import process
from kernel.record import Message, Record, Undecodable, discard, retry
from kernel.store import Changes, Known, Projection, Store
from recovery.dead_letter_store import Act, Action, Held, Kept, kept_by, place_id

ALONE = 1_000  # of one fingerprint that one person may give up; beyond it takes two

_FAULT = re.compile(r"(?P<name>\w+)\(.*\)(?: in (?P<where>\S+:\d+))?", re.DOTALL)


class _Typed(msgspec.Struct):
    type: str = ""


_type = msgspec.json.Decoder(_Typed)


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One event that waits for a person; of what nobody can read only the place is known."""

    id: str  # source/subject/sequence, as events are named; or topic/partition@offset
    kind: Literal["parked", "unreadable"]
    fingerprint: str  # the same for all that are mended the same way
    source: str
    subject: str = ""
    sequence: int = 0
    type: str = ""
    fault: str
    where: str = ""  # the place in the code
    since: datetime
    behind: int = 0  # events of the same source that wait behind it
    raw: bytes | None = None

    @property
    def envelope(self) -> Envelope | None:
        """The event, where it can be read."""
        try:
            return decode(self.raw) if self.raw is not None else None
        except DecodeError:
            return None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Letters of one fingerprint."""

    fingerprint: str
    kind: Literal["parked", "unreadable"]
    source: str
    type: str
    fault: str  # of the oldest
    where: str
    letters: int
    behind: int
    since: datetime  # of the oldest
    example: str  # id of the oldest


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one letter, or would: `drained` events were handled, and where it stopped again, why."""

    id: str
    outcome: Literal["drained", "faulty", "discarded", "gone"]
    drained: int = 0
    fault: str = ""


async def mend(
    store: Store,
    subject: str,
    source: str,
    action: Action,
    who: str,
    reason: str,
    clock: Clock,
    projection: Projection | None = None,
    *,
    sequence: int = 0,
) -> Record:
    """Tries the parked events of one source again, or gives up the first of them, which stays on record.

    With `sequence` only where that is the first, so that asking twice acts once. Raises Refused (nothing_parked),
    NewerRules, Transient.
    """
    mended: list[tuple[Record, Record]] = []

    def change(known: Known) -> Changes:
        before = known[subject]
        after = _mended(store, before, source, action, who, reason, clock, sequence)
        mended[:] = [(before, replace(after, version=before.version + 1))]
        return mended

    await store.transact([subject], change, None, projection)
    return mended[0][1]


def _mended(
    store: Store, before: Record, source: str, action: Action, who: str, reason: str, clock: Clock, sequence: int
) -> Record:
    if sequence and before.inbox.get(source, 0) + 1 != sequence:
        raise Refused("nothing_parked", source=source)
    rules = store.rules[kind_of(before.subject)]
    if action == "retry":
        return retry(before, rules, store.service, source, clock())
    return discard(before, rules, store.service, source, reason, who, clock())


class DeadLetters:
    """The dead letters of one service."""

    def __init__(self, store: Store, clock: Clock, projection: Projection | None = None) -> None:
        self.store, self.clock, self.projection = store, clock, projection

    @cached_property
    def kept(self) -> Kept:
        """Where they lie."""
        return kept_by(self.store)

    async def all(self, subject: str = "", fingerprint: str = "") -> list[Letter]:
        """What waits for a person, oldest first; of one subject or one fingerprint."""
        found = [letter async for held in self.kept.held(subject) for letter in letters(held)]
        if not subject:
            found += [unreadable_letter(each, at) for each, at in await self.kept.unreadable()]
        return sorted(
            (each for each in found if fingerprint in ("", each.fingerprint)), key=lambda each: (each.since, each.id)
        )

    async def act(self, action: Action, ids: Sequence[str], who: str, reason: str, *, dry_run: bool) -> list[Outcome]:
        """Tries again or gives up these letters, each for itself and each at most once.

        Raises Refused (two_persons_needed, reason_missing), NewerRules, Transient.
        """
        if action == "discard":
            if not reason.strip():
                raise Refused("missing_field", "reason")
            await self._alone(ids)
        if not dry_run:
            act = Act(at=machine_now(), who=who, action=action, reason=reason, letters=tuple(ids))
            await self.kept.note(act)
        places = {place_id(each.place): each for each, _ in await self.kept.unreadable()} if _any_place(ids) else {}
        outcomes = []
        for letter in ids:
            if "@" in letter:
                outcomes.append(await self._unread(letter, places.get(letter), action, who, reason, dry_run))
            else:
                outcomes.append(await self._parked(letter, action, who, reason, dry_run))
        return outcomes

    async def _alone(self, ids: Sequence[str]) -> None:
        """One person gives up a few, not a multitude, however it is cut into requests."""
        sizes, asked = Counter[str](), set(ids)
        touched = set()
        for each in await self.all():
            sizes[each.fingerprint] += 1
            if each.id in asked:
                touched.add(each.fingerprint)
        if any(sizes[each] > ALONE for each in touched):
            raise Refused("two_persons_needed", limit=ALONE)

    async def _parked(self, letter: str, action: Action, who: str, reason: str, dry_run: bool) -> Outcome:
        source, subject, sequence = parts_of(letter)
        try:
            if kind_of(subject) not in self.store.rules:
                raise Refused("nothing_parked", source=source)
            if dry_run:
                before = (await self.store.read([subject]))[subject]
                after = _mended(self.store, before, source, action, who, reason, self.clock, sequence)
            else:
                after = await mend(
                    self.store,
                    subject,
                    source,
                    action,
                    who,
                    reason,
                    self.clock,
                    self.projection,
                    sequence=sequence,
                )
        except Refused as refused:
            if refused.code != "nothing_parked":
                raise
            return Outcome(id=letter, outcome="gone")
        moved = after.inbox.get(source, 0) - (sequence - 1)
        fault = after.parked[source].fault if source in after.parked else ""
        if action == "discard":
            return Outcome(id=letter, outcome="discarded", drained=moved - 1, fault=fault)
        return Outcome(id=letter, outcome="faulty" if fault else "drained", drained=moved, fault=fault)

    async def _unread(
        self, letter: str, each: Undecodable | None, action: Action, who: str, reason: str, dry_run: bool
    ) -> Outcome:
        if each is None:
            return Outcome(id=letter, outcome="gone")
        if action == "discard":
            if not dry_run:
                await self.kept.explain([letter], who, reason)
            return Outcome(id=letter, outcome="discarded")
        try:
            message = Message(decode(each.raw or b""), each.raw or b"", each.place)
        except DecodeError as still:
            return Outcome(id=letter, outcome="faulty", fault=str(still))
        if not dry_run:
            done = await process(self.store, [message], {}, self.clock, self.projection)
            await self.kept.explain([letter], who, "read again")  # where it met a fault, it is parked now
            if done.faults:
                return Outcome(id=letter, outcome="faulty", fault=done.faults[0].why)
        return Outcome(id=letter, outcome="drained", drained=1)


def letters(held: Held) -> list[Letter]:
    """The letters in one record: of each source with a fault the event that meets it."""
    found = []
    for source, parked in held.parked.items():
        if not parked.fault:
            continue
        sequence = held.inbox.get(source, 0) + 1
        raw = parked.envelopes.get(sequence)
        known = raw if isinstance(raw, bytes) else None
        kind = _type_of(known)
        name, where = cause(parked.fault)
        found.append(
            Letter(
                id=f"{source}/{held.subject}/{sequence}",
                kind="parked",
                fingerprint=fingerprint("parked", source, name, where, kind),
                source=source,
                subject=held.subject,
                sequence=sequence,
                type=kind,
                fault=parked.fault.removesuffix(f" in {where}"),
                where=where,
                since=parked.since,
                behind=len(parked.envelopes) - (raw is not None),
                raw=known,
            )
        )
    return found


def unreadable_letter(each: Undecodable, at: datetime) -> Letter:
    """The letter of what nobody could read; its words without their numbers make it one of a group."""
    kind = _type_of(each.raw)
    return Letter(
        id=place_id(each.place),
        kind="unreadable",
        fingerprint=fingerprint("unreadable", each.place.topic, re.sub(r"\d+", "#", each.why), "", kind),
        source=each.place.topic,
        type=kind,
        fault=each.why,
        since=at,
        raw=each.raw,
    )


def groups(found: Sequence[Letter]) -> list[Group]:
    """The letters by fingerprint, the largest group first."""
    by: dict[str, list[Letter]] = {}
    for each in found:
        by.setdefault(each.fingerprint, []).append(each)
    made = []
    for members in by.values():
        oldest = min(members, key=lambda each: (each.since, each.id))
        made.append(
            Group(
                fingerprint=oldest.fingerprint,
                kind=oldest.kind,
                source=oldest.source,
                type=oldest.type,
                fault=oldest.fault,
                where=oldest.where,
                letters=len(members),
                behind=sum(each.behind for each in members),
                since=oldest.since,
                example=oldest.id,
            )
        )
    return sorted(made, key=lambda each: (-each.letters, each.fingerprint))


def fingerprint(*parts: str) -> str:
    """Class of fault, place in the code and type of event, in twelve characters; no subject is in it."""
    return blake2b("\0".join(parts).encode(), digest_size=6).hexdigest()


def cause(fault: str) -> tuple[str, str]:
    """The class of a fault and its place in the code, from how a record keeps it."""
    found = _FAULT.fullmatch(fault)
    return (found["name"], found["where"] or "") if found else (fault, "")


def parts_of(letter: str) -> tuple[str, str, int]:
    """Source, subject and sequence of an event's id. Raises Refused: letter_unknown."""
    source, _, rest = letter.partition("/")
    subject, _, number = rest.rpartition("/")
    if not (source and subject and number.isascii() and number.isdigit() and 0 < int(number) < 1 << 53):
        raise Refused("letter_unknown", "letters", letter=letter[:200])
    return source, subject, int(number)


def _type_of(raw: bytes | None) -> str:
    """The type that bytes name, however little else can be read of them."""
    try:
        return _type.decode(raw or b"").type[:200]
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""


def _any_place(ids: Sequence[str]) -> bool:
    return any("@" in each for each in ids)
