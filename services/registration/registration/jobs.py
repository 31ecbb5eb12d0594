"""Periodic jobs of the worker: allocate seats, check identities."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Protocol

from msgspec.structs import replace

from base.clock import Clock, Moment
from contracts.envelope import decode
from contracts.subjects import PARTITIONS, partition_of
from kernel.commands import CommandMetadata, execute_many
from kernel.record import Record, emit, event_time
from kernel.store import Effects, Snapshot, Store
from registration import metrics, queries
from registration.domain import applicant, ledger
from registration.domain.applicant import Admit, IdentityChecked, ReleaseSeat, Waitlist, seating
from registration.domain.application import Values
from registration.persons import Persons

PASS = 200  # applicants of one ledger in one transaction
RELEASES = PASS // 2  # of them at most, so that their seats are given to others in the same pass
PROMOTION_INTERVAL = 1.0  # seconds between two queries for seats that a raised quota made free
CHECKS = 500  # identities in one request to the registry
CHECK_WAIT = 0.1  # seconds for which a call waits for the registry; the next call picks up a later answer
CHECK_TIMEOUT = 10.0  # seconds, after which the registry counts as unavailable
COUNTED = 1_000  # due identity checks that `pending_work` counts


async def pending_work(store: Store, now: datetime) -> int:
    """Count due identity checks, ledgers with undecided seats and promotable ledgers; 0 means at rest."""
    due = await store.find_subjects(queries.unchecked(range(PARTITIONS), now, COUNTED))
    return len(due) + len(await queries.unsettled_ledgers(store)) + len(await queries.promotable_ledgers(store))


class IdentityRegistry(Protocol):
    """Checks identities."""

    async def check(self, identities: Sequence[Values]) -> Sequence[str]:
        """Return `match`, `mismatch` or `unavailable` for each identity. Raise OSError, TimeoutError."""


class DevelopmentRegistry:
    """Answers from digits 4 to 9 of the national ID: of 100 serial numbers 97 match, 2 do not, 1 is unavailable.

    It takes the place of the civil registry in development; the same identity always gets the same answer.
    """

    async def check(self, identities: Sequence[Values]) -> Sequence[str]:
        """Return an answer for each identity."""
        return [self.answer(each["national_id"]) for each in identities]

    def answer(self, national_id: str) -> str:
        """Return the answer for a national ID."""
        serial = int(national_id[3:9]) % 100
        return "unavailable" if serial == 0 else "mismatch" if serial <= 2 else "match"


class NoRegistry:
    """Answers `unavailable`: in production until the civil registry is connected. Applications do not wait for it."""

    async def check(self, identities: Sequence[Values]) -> Sequence[str]:
        """Return `unavailable` for each identity."""
        return ["unavailable"] * len(identities)


class IdentityChecks:
    """Checks due identities against the registry and records only its answer.

    A job blocks the other jobs of the worker, so the request to the registry runs as a task of its own.
    """

    def __init__(self, store: Store, persons: Persons, registry: IdentityRegistry, clock: Clock) -> None:
        self.store, self.persons, self.registry, self.clock = store, persons, registry, clock
        self.request: asyncio.Task[Mapping[str, IdentityChecked]] | None = None

    async def __call__(self, partitions: frozenset[int]) -> int:
        """Send a request, or record the answers to it; return how many were recorded. Raise Transient."""
        if self.request is None:
            due = await self.store.find_subjects(queries.unchecked(partitions, self.clock().at, CHECKS))
            if not due:
                return 0
            self.request = asyncio.create_task(self._check(due))
            await asyncio.wait([self.request], timeout=CHECK_WAIT)
        if not self.request.done():
            return 0
        finished, self.request = self.request, None
        commands = finished.result()
        await execute_many(self.store, commands, self.clock, CommandMetadata(actor="identity:"))
        return len(commands)

    async def _check(self, due: Sequence[str]) -> Mapping[str, IdentityChecked]:
        records = await self.store.read(due)
        identities = await self.persons.open(list(records.values()))
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                results = await self.registry.check(list(identities.values()))
        except (OSError, TimeoutError):
            results = ["unavailable"] * len(identities)
        by_subject = dict(zip(identities, results, strict=True))
        return {
            subject: IdentityChecked(record.state.application, by_subject.get(subject, "unavailable"))
            for subject, record in records.items()
        }


class Allocator:
    """Gives seats in the published order, one transaction per ledger and pass, for ledgers of assigned partitions.

    An approval only marks an applicant `awaiting`, a withdrawal `releasing`; a seat counts until the pass. Every pass
    writes the ledger, so that of two concurrent passes the second one conflicts and starts again.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.promotions_at = -PROMOTION_INTERVAL  # machine time of the last query for promotable ledgers

    async def __call__(self, partitions: frozenset[int]) -> int:
        """Run one pass over each ledger with work to do; return how many applicants changed. Raise Transient."""
        found = await queries.unsettled_ledgers(self.store)
        if monotonic() - self.promotions_at >= PROMOTION_INTERVAL:
            found |= await queries.promotable_ledgers(self.store)
            self.promotions_at = monotonic()
        changed = 0
        for subject in sorted(found):
            if partition_of(subject) in partitions:
                changed += await self.allocate(subject)
        if changed:
            self.promotions_at = -PROMOTION_INTERVAL  # more seats may be free than one pass can give
        return changed

    async def allocate(self, subject: str) -> int:
        """Run one pass over a ledger, among those approved when it begins; return how many applicants changed."""
        seats: ledger.State = (await self.store.read([subject]))[subject].state
        releasing = await self.store.find_subjects(queries.line(subject, "releasing", RELEASES))
        left = PASS - len(releasing)
        limit = min(left, ledger.available(seats) + len(releasing))  # seats that are added later wait for the next pass
        awaiting = await self.store.find_subjects(queries.line(subject, "awaiting", left))
        waiting = await self.store.find_subjects(queries.line(subject, "waiting", limit)) if limit > 0 else []
        if not (releasing or awaiting or waiting):
            return 0
        change = partial(self._pass, subject, releasing, awaiting, waiting, limit)
        written = await self.store.transact([subject, *releasing, *awaiting, *waiting], change)
        after = {record.subject: record for _, record in written.changes}
        if subject in after:
            seats = after[subject].state
        metrics.observe_seats(
            seats.province, quota=seats.quota, admitted=seats.admitted, available=ledger.available(seats)
        )
        return max(0, len(after) - 1)

    def _pass(
        self,
        subject: str,
        releasing: Sequence[str],
        awaiting: Sequence[str],
        waiting: Sequence[str],
        limit: int,
        snapshot: Snapshot,
    ) -> Effects:
        """Release, admit, then put on the waiting list."""
        allocation = _Pass(self.store.service, snapshot, subject, self.clock())
        for each in releasing:
            allocation.execute(each, ReleaseSeat())
        allocation.admit([*awaiting, *waiting, *releasing], limit)
        allocation.waitlist(awaiting)
        return allocation.effects()


class _Pass:
    """The ledger and its applicants during one pass."""

    def __init__(self, service: str, snapshot: Snapshot, subject: str, moment: Moment) -> None:
        """Raise NewerRules, UnreadableRecord: without one of the records the published order is unknown."""
        self.service, self.subject, self.moment = service, subject, moment
        self.before = {each: snapshot.record(each) for each in (*snapshot.records, *snapshot.unreadable)}
        self.records: dict[str, Record] = dict(self.before)
        self.changed: dict[str, None] = {}  # in order
        self.seats: ledger.State = self.before[subject].state

    def execute(self, subject: str, command: applicant.Command) -> None:
        """Change an applicant, and fold the events into the ledger; skip a command that no longer applies."""
        before = self.records[subject]
        events = applicant.decide(before.state, command, event_time(before, self.moment))
        if not events:
            return
        after = emit(before, applicant, self.service, events, self.moment, actor="allocator:")
        for raw in after.new_events[len(before.new_events) :]:
            self.seats = ledger.evolve(self.seats, decode(raw))
        self.records[subject] = after
        self.changed[subject] = None

    def admit(self, candidates: Sequence[str], limit: int) -> None:
        """Admit the first candidates of the published order while seats are free."""
        line = sorted((each for each in candidates if self._competes(each)), key=self._order)
        for each in line[: max(0, min(limit, ledger.available(self.seats)))]:
            self.execute(each, Admit())

    def waitlist(self, awaiting: Sequence[str]) -> None:
        """Put those without a seat on the waiting list, once no seat is free."""
        for each in awaiting:
            if ledger.available(self.seats) > 0 or len(self.changed) >= PASS:
                return
            self.execute(each, Waitlist())

    def effects(self) -> Effects:
        """Return the changes: none if no applicant changed, otherwise the ledger as well."""
        if not self.changed:
            return Effects()
        self.records[self.subject] = replace(
            self.before[self.subject], state=self.seats, indexed=ledger.indexed(self.seats)
        )
        return Effects([(self.before[s], self.records[s]) for s in (self.subject, *self.changed)])

    def _competes(self, subject: str) -> bool:
        record = self.records[subject]
        return seating(record.state) in ("awaiting", "waiting") and record.indexed["ledger"] == self.subject

    def _order(self, subject: str) -> tuple[object, ...]:
        indexed = self.records[subject].indexed
        return *(indexed[field] for field in queries.PUBLISHED_ORDER), subject
