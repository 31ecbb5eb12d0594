"""Dead letters: what waits for an operator or for another version, by cause, and what an operator does about it.

A parked event is retried after the fix, or discarded on record. Undecodable bytes are decoded again by a version that
can, or explained. Payloads are never edited.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Literal

import msgspec

from base.clock import Clock, machine_now
from contracts.commands import Refused
from contracts.envelope import DecodeError, InvalidEvent, decode_from, digest
from contracts.subjects import kind_of
from kernel.batch import CHUNK, PASS_ON, CircuitBreaker, concerns, drain_sources
from kernel.errors import NewerRules, ProjectionFailed, UnreadableRecord
from kernel.record import BLOCKED, Fault, Message, Parked, Reason, Undecodable, consume, unpark
from kernel.store import Projection, Source, Store, read_snapshot
from recovery.dead_letter import (
    Letter,
    LetterOutcome,
    OutcomeCode,
    event_id,
    fault_of,
    missing_letter,
    parked_letter,
    parse,
    undecodable_letter,
)
from recovery.dead_letter_store import Action, DeadLetterStore, OperatorAction, dead_letter_store
from recovery.parked_events import discard_one, insert_parked

ONE_OPERATOR_LIMIT = 1_000  # letters of one fingerprint that one operator may discard; more needs a second person
EARLY: tuple[Reason, ...] = ("early",)
EARLY_LISTED = timedelta(minutes=1)  # after which an event that waits for a missing one is a dead letter
NEXT_SHOWN = 5  # ids of events behind a letter
_POSITION = re.compile(r"[^/]+/[0-9]+@[0-9]+")  # the id of undecodable bytes


class DeadLetters:
    """The dead letters of one service."""

    def __init__(self, store: Store, clock: Clock, projection: Projection | None = None) -> None:
        self.store, self.clock, self.projection = store, clock, projection

    @cached_property
    def storage(self) -> DeadLetterStore:
        """Return where undecodable bytes and actions are stored."""
        return dead_letter_store(self.store)

    async def letters(self, subject: str = "", fingerprint: str = "") -> list[Letter]:
        """Return the letters of a subject and fingerprint if given, the oldest first, without their bytes.

        At most 10,000 for each of the three causes. Raise Transient.
        """
        found = [parked_letter(head) for head in await self.store.parked.heads(BLOCKED, subject)]
        found += await self._missing(subject)
        if not subject:
            found += await self._undecodable_letters()
        wanted = (each for each in found if fingerprint in ("", each.fingerprint))
        return sorted(wanted, key=lambda each: (each.since, each.id))

    async def whole(self, letters: Iterable[Letter]) -> list[Letter]:
        """Return the same letters with what is still there: the bytes, the ids behind an event. Raise Transient."""
        letters, found = list(letters), []
        raws = await self._undecodable([each.id for each in letters if each.kind == "undecodable"])
        for each in letters:
            if each.kind == "undecodable":
                found.append(msgspec.structs.replace(each, raw=raws[each.id].raw if each.id in raws else None))
                continue
            limit = 1 + NEXT_SHOWN if each.behind else 1
            source = (each.subject, each.source)
            parked = await self.store.parked.events(source, limit) if each.kind == "parked" else []
            raw = next((event.raw for event in parked if event.sequence == each.sequence), each.raw)
            behind = [event_id(event) for event in parked if event.sequence > each.sequence]
            found.append(msgspec.structs.replace(each, raw=raw, next=tuple(behind[:NEXT_SHOWN])))
        return found

    async def act(
        self, action: Action, ids: Sequence[str], who: str, reason: str, *, dry_run: bool
    ) -> list[LetterOutcome]:
        """Retry or discard letters, each independent of the others and each at most once.

        Raise Refused: two_persons_needed, missing_field, letter_unknown; Transient.
        """
        if action == "discard":
            if not reason.strip():
                raise Refused("missing_field", "reason")
            await self._check_number(ids)
        sources = {each: parse(each) for each in ids if not _POSITION.fullmatch(each)}
        if not dry_run:
            recorded = OperatorAction(at=machine_now(), who=who, action=action, reason=reason, letters=tuple(ids))
            await self.storage.record_action(recorded)
        bytes_ids = [each for each in ids if each not in sources]
        bytes_by_id = await self._undecodable(bytes_ids)
        outcomes = []
        for each in ids:
            if each not in sources:
                outcomes.append(await self._act_on_bytes(each, bytes_by_id.get(each), action, who, reason, dry_run))
            else:
                outcomes.append(await self._act_on_event(each, *sources[each], action, who, reason, dry_run))
        return outcomes

    async def _missing(self, subject: str) -> list[Letter]:
        """Return the missing events for which parked ones have waited longer than a minute."""
        heads = await self.store.parked.heads(EARLY, subject)
        overdue = [head for head in heads if machine_now() - head.since > EARLY_LISTED]
        if not overdue:
            return []
        snapshot = await read_snapshot(self.store, {head.subject for head in overdue})
        return [missing_letter(head, snapshot.inbox(head.subject).get(head.source, 0) + 1) for head in overdue]

    async def _undecodable_letters(self) -> list[Letter]:
        return [undecodable_letter(each, at) async for each, at in self.storage.undecodable()]

    async def _undecodable(self, ids: Collection[str]) -> dict[str, Undecodable]:
        """Return the undecodable bytes with these ids."""
        return {str(each.position): each async for each, _ in self.storage.undecodable(ids)} if ids else {}

    async def _check_number(self, ids: Sequence[str]) -> None:
        """Refuse when one operator would discard too many of one fingerprint, in however many requests."""
        bytes_ids = {each for each in ids if _POSITION.fullmatch(each)}
        undecodable = {each.id: each.fingerprint for each in await self._undecodable_letters()} if bytes_ids else {}
        sizes = Counter(undecodable.values())
        touched = {undecodable[each] for each in bytes_ids if each in undecodable}
        for each in set(ids) - bytes_ids:
            head = await self._head(parse(each)[0])
            if head is not None and head.fingerprint not in sizes:
                touched.add(head.fingerprint)
                sizes[head.fingerprint] = await self.storage.count_heads(head, ONE_OPERATOR_LIMIT + 1)
        if any(sizes[each] > ONE_OPERATOR_LIMIT for each in touched):
            raise Refused("two_persons_needed", limit=ONE_OPERATOR_LIMIT)

    async def _act_on_event(
        self, letter: str, source: Source, sequence: int, action: Action, who: str, reason: str, dry_run: bool
    ) -> LetterOutcome:
        try:
            if dry_run:
                return await self._try(letter, source, sequence, skip=action == "discard")
            if action == "discard":
                return await self._discard(letter, source, sequence, who, reason)
            return await self._retry(letter, source, sequence)
        except (NewerRules, UnreadableRecord) as e:  # its own record only
            return LetterOutcome(id=letter, outcome="parked", fault=Fault(type(e).__name__, str(e)))

    async def _retry(self, letter: str, source: Source, sequence: int) -> LetterOutcome:
        if not await self._is_blocking(source, sequence):
            return LetterOutcome(id=letter, outcome="gone")
        await self.store.parked.release((*BLOCKED, *EARLY), sources=[source])
        return await self._drain(letter, source, sequence - 1, "drained")

    async def _discard(self, letter: str, source: Source, sequence: int, who: str, reason: str) -> LetterOutcome:
        if not await discard_one(self.store, source, sequence, reason, who, self.clock, self.projection):
            return LetterOutcome(id=letter, outcome="gone")
        return await self._drain(letter, source, sequence, "discarded")

    async def _drain(
        self, letter: str, source: Source, before: int, outcome: Literal["drained", "discarded"]
    ) -> LetterOutcome:
        """Drain until nothing more of the source is ready; the worker may be doing the same.

        If a transaction fails, in the projection, the event stays ready: the worker will store the fault.
        """
        failed = Fault()
        while (head := await self._head(source)) is not None and head.reason == "ready" and not failed.error:
            try:
                await drain_sources(self.store, [source], self.clock, self.projection, CircuitBreaker())
            except PASS_ON:
                raise
            except Exception as e:
                failed = Fault.of(e.__cause__ if isinstance(e, ProjectionFailed) and e.__cause__ else e)
        inbox = await self._inbox(source)
        drained = max(0, inbox - before)
        fault = failed if failed.error else fault_of(head, inbox)
        if outcome == "drained" and not drained:
            return LetterOutcome(id=letter, outcome="parked", fault=fault)
        return LetterOutcome(id=letter, outcome=outcome, drained=drained, fault=fault)

    async def _try(self, letter: str, source: Source, sequence: int, *, skip: bool) -> LetterOutcome:
        """Consume without storing anything; `skip` the blocking event, as a discard does."""
        head = await self._head(source)
        if head is None or not await self._is_blocking(source, sequence):
            return LetterOutcome(id=letter, outcome="gone")
        subject, name = source
        if skip and (kind_of(subject) not in self.store.rules or head.reason == "invalid"):  # only removed
            return LetterOutcome(id=letter, outcome="discarded")
        before = (await self.store.read([subject]))[subject]
        chunk = [each for each in await self.store.parked.events(source, CHUNK) if each.sequence >= sequence + skip]
        messages = list(map(unpark, chunk))
        if skip:
            hash = digest(head.raw) if head.sequence == sequence else ""
            inbox, hashes = {**before.inbox, name: sequence}, {**before.inbox_hashes, name: hash}
            before = msgspec.structs.replace(before, inbox=inbox, inbox_hashes=hashes)
        rules = self.store.rules[kind_of(subject)]
        after, stopped = consume(before, rules, self.store.service, messages, self.clock())
        drained = after.inbox.get(name, 0) - before.inbox.get(name, 0)
        fault = fault_of(next(iter(stopped), None), after.inbox.get(name, 0))
        outcome: OutcomeCode = "discarded" if skip else "drained" if drained else "parked"
        return LetterOutcome(id=letter, outcome=outcome, drained=drained, fault=fault)

    async def _act_on_bytes(
        self, letter: str, found: Undecodable | None, action: Action, who: str, reason: str, dry_run: bool
    ) -> LetterOutcome:
        """Explain undecodable bytes, or park the event in them for the owner of its partition."""
        if found is None:
            return LetterOutcome(id=letter, outcome="gone")
        if action == "discard":
            if not dry_run:
                await self.storage.explain([letter], who, reason)
            return LetterOutcome(id=letter, outcome="discarded")
        if found.length > len(found.raw or b""):
            why = f"only the beginning of {found.length:,} bytes is kept: the log has them at {found.position}"
            return LetterOutcome(id=letter, outcome="parked", fault=Fault("DecodeError", why, found.code))
        try:
            message = Message(decode_from(found.position.topic, found.raw), found.raw or b"", found.position)
        except DecodeError as e:
            return LetterOutcome(id=letter, outcome="parked", fault=Fault("DecodeError", str(e), e.code))
        if isinstance(event := message.envelope.event, InvalidEvent):  # a forgery
            return LetterOutcome(id=letter, outcome="parked", fault=Fault("InvalidEvent", event.why, event.where))
        if not dry_run:
            if concerns(self.store.rules, message.envelope):
                await insert_parked(self.store, message, self.clock)
            await self.storage.explain([letter], who, "decoded again")
        return LetterOutcome(id=letter, outcome="drained", drained=1)

    async def _head(self, source: Source) -> Parked | None:
        return next(iter(await self.store.parked.events(source, 1)), None)

    async def _inbox(self, source: Source) -> int:
        subject, name = source
        return (await read_snapshot(self.store, [subject])).inbox(subject).get(name, 0)

    async def _is_blocking(self, source: Source, sequence: int) -> bool:
        """Whether parked events of the source wait for this one: it is parked first, or missing."""
        head = await self._head(source)
        if head is None or head.reason == "ready":
            return False
        if head.reason == "early":
            return await self._inbox(source) + 1 == sequence
        return head.sequence == sequence
