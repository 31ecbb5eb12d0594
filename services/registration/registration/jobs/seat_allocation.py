"""Allocate seats: releases first, then the published order up to the free seats, then the waiting list."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from time import monotonic

import msgspec
from msgspec.structs import replace

from base.clock import Clock, Moment
from contracts.envelope import decode
from contracts.subjects import partition_of
from kernel.errors import Conflict, Transient
from kernel.record import Record, emit, event_time
from kernel.store import Effects, Snapshot, Store
from registration import metrics, queries
from registration.domain import applicant, ledger
from registration.domain.applicant import Admit, ReleaseSeat, Waitlist
from registration.jobs.faults import Faults

PASS = 200  # applicants of one ledger in one transaction
PROMOTION_INTERVAL = 1.0  # seconds between two queries for seats that a raised quota made free


class Allocator:
    """Gives seats in the published order, one transaction per ledger and pass, for ledgers of assigned partitions.

    An approval only marks an applicant `awaiting`, a withdrawal `releasing`; a seat counts until the pass. Every pass
    writes the ledger, so that of two concurrent passes the second one conflicts and starts again.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.faults = Faults(store.service, "Allocator")  # by ledger, or by applicant
        self.promotions_at = -PROMOTION_INTERVAL  # machine time of the last query for promotable ledgers

    async def __call__(self, partitions: frozenset[int]) -> int:
        """Run one pass over each ledger with work to do; return how many applicants changed. Raise Transient."""
        found = await queries.unsettled_ledgers(self.store)
        if monotonic() - self.promotions_at >= PROMOTION_INTERVAL:
            found |= await queries.promotable_ledgers(self.store)
            metrics.UNIDENTIFIED.set(len(await self.store.find_subjects(queries.every_unidentified())))
            self.promotions_at = monotonic()
        changed = 0
        for subject in sorted(found - self.faults.recent()):
            if partition_of(subject) in partitions:
                try:
                    changed += await self.allocate(subject)
                except Conflict:  # it waits for the next call; the other ledgers go on
                    metrics.ALLOCATION_CONFLICTS.inc()
                except Transient:
                    raise
                except Exception as e:  # the other ledgers go on
                    self.faults.report({subject: e})
        if changed:
            self.promotions_at = -PROMOTION_INTERVAL  # more seats may be free than one pass can give
        return changed

    async def allocate(self, subject: str) -> int:
        """Run one pass over a ledger, among those approved when it begins; return how many applicants changed.

        A pass that others keep interfering with is halved.
        Raise NewerRules, UnreadableRecord, Conflict, Transient.
        """
        size = PASS
        while True:
            try:
                return await self._allocate(subject, size)
            except Conflict:
                size //= 2
                if not size:
                    raise

    async def _allocate(self, subject: str, size: int) -> int:
        """Change at most `size` applicants, besides those for whom the last minute's passes raised."""
        at_fault = self.faults.recent()
        seats: ledger.State = (await self.store.read([subject]))[subject].state
        releases = max(1, size // 2)  # not all, so that their seats are given to others in the same pass
        found = await self.store.find_subjects(queries.line(subject, "releasing", releases + len(at_fault)))
        releasing = [each for each in found if each not in at_fault][:releases]
        left = size - len(releasing) + len(at_fault)  # who is at fault keeps a place, and takes none from the others
        limit = min(left, ledger.available(seats) + len(releasing))  # seats that are added later wait for the next pass
        awaiting = await self.store.find_subjects(queries.line(subject, "awaiting", left)) if left > 0 else []
        waiting = await self.store.find_subjects(queries.line(subject, "waiting", limit)) if limit > 0 else []
        if not (releasing or awaiting or waiting):
            return 0
        faults: dict[str, Exception] = {}
        change = partial(self._pass, subject, releasing, awaiting, waiting, limit, size, faults)
        written = await self.store.transact([subject, *releasing, *awaiting, *waiting], change)
        self.faults.report(faults)
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
        size: int,
        faults: dict[str, Exception],
        snapshot: Snapshot,
    ) -> Effects:
        """Release, admit, then put on the waiting list; `faults` are of the last call."""
        faults.clear()
        allocation = _Pass(self.store.service, snapshot, subject, self.clock(), faults)
        for each in releasing:
            allocation.execute(each, ReleaseSeat())
        allocation.admit([*awaiting, *waiting, *releasing], limit)
        allocation.waitlist(awaiting, size)
        return allocation.effects()


class _Pass:
    """The ledger and its applicants during one pass."""

    def __init__(
        self, service: str, snapshot: Snapshot, subject: str, moment: Moment, faults: dict[str, Exception]
    ) -> None:
        """Raise NewerRules, UnreadableRecord if the ledger cannot be read."""
        self.service, self.subject, self.moment, self.faults = service, subject, moment, faults
        self.seats: ledger.State = snapshot.record(subject).state
        self.before, self.unreadable = snapshot.records, snapshot.unreadable
        self.faults |= {each: unreadable.error for each, unreadable in self.unreadable.items()}
        self.records: dict[str, Record] = dict(self.before)
        self.changed: dict[str, None] = {}  # in order
        self.kept = 0  # free seats of applicants for whom `Admit` raises

    def execute(self, subject: str, command: applicant.Command) -> None:
        """Change an applicant, and fold the events into the ledger; skip a command that no longer applies.

        An applicant for whom it raises is added to the faults and stays as they are.
        """
        if subject in self.faults:
            return
        before, seats = self.records[subject], self.seats
        try:
            events = applicant.decide(before.state, command, event_time(before, self.moment))
            if not events:
                return
            after = emit(before, applicant, self.service, events, self.moment, actor="allocator:")
            for raw in after.new_events[len(before.new_events) :]:
                seats = ledger.evolve(seats, decode(raw))
        except Exception as e:  # the others go on
            self.faults[subject] = e
            return
        self.seats = seats
        self.records[subject] = after
        self.changed[subject] = None

    def admit(self, candidates: Sequence[str], limit: int) -> None:
        """Admit the first candidates of the published order while seats are free."""
        places = {each: place for each in candidates if (place := self._place(each))}
        first = sorted(places, key=places.__getitem__)[: max(0, min(limit, ledger.available(self.seats)))]
        for each in first:
            self.execute(each, Admit())
        self.kept = len(self.faults.keys() & set(first))

    def waitlist(self, awaiting: Sequence[str], size: int) -> None:
        """Put those without a seat on the waiting list, once no seat is free."""
        for each in awaiting:
            if ledger.available(self.seats) > self.kept or len(self.changed) >= size:
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

    def _place(self, subject: str) -> tuple[int, datetime, str] | None:
        """Return the place in the published order of an applicant who competes for the ledger's seats.

        Of a record that cannot be read it is what the allocator has found it by.
        """
        try:
            unreadable = self.unreadable.get(subject)
            indexed = unreadable.indexed if unreadable else applicant.indexed(self.records[subject].state)
            found = msgspec.convert(indexed, _Place)
        except Exception as e:  # the others go on
            self.faults.setdefault(subject, e)
            return None
        competes = found.ledger == self.subject and found.seating in ("awaiting", "waiting")
        return (found.priority, found.registered_at, subject) if competes else None


class _Place(msgspec.Struct, frozen=True):
    """The fields of an applicant by which seats are given."""

    priority: int
    registered_at: datetime
    ledger: str = ""
    seating: str = ""
