"""Allocate seats: releases first, then the published order up to the free seats, then the waiting list."""

from collections.abc import Sequence
from functools import partial
from time import monotonic

from msgspec.structs import replace

from base.clock import Clock, Moment
from contracts.envelope import decode
from contracts.subjects import partition_of
from kernel.errors import Transient
from kernel.record import Record, emit, event_time
from kernel.store import Effects, Snapshot, Store
from registration import metrics, queries
from registration.domain import applicant, ledger
from registration.domain.applicant import Admit, ReleaseSeat, Waitlist, seating
from registration.jobs.faults import Faults

PASS = 200  # applicants of one ledger in one transaction
RELEASES = PASS // 2  # of them at most, so that their seats are given to others in the same pass
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
            self.promotions_at = monotonic()
        changed = 0
        for subject in sorted(found - self.faults.recent()):
            if partition_of(subject) in partitions:
                try:
                    changed += await self.allocate(subject)
                except Transient:
                    raise
                except Exception as e:  # the other ledgers go on
                    self.faults.report({subject: e})
        if changed:
            self.promotions_at = -PROMOTION_INTERVAL  # more seats may be free than one pass can give
        return changed

    async def allocate(self, subject: str) -> int:
        """Run one pass over a ledger, among those approved when it begins; return how many applicants changed.

        Raise NewerRules, UnreadableRecord, Transient.
        """
        seats: ledger.State = (await self.store.read([subject]))[subject].state
        releasing = await self.store.find_subjects(queries.line(subject, "releasing", RELEASES))
        left = PASS - len(releasing)
        limit = min(left, ledger.available(seats) + len(releasing))  # seats that are added later wait for the next pass
        awaiting = await self.store.find_subjects(queries.line(subject, "awaiting", left))
        waiting = await self.store.find_subjects(queries.line(subject, "waiting", limit)) if limit > 0 else []
        if not (releasing or awaiting or waiting):
            return 0
        faults: dict[str, Exception] = {}
        change = partial(self._pass, subject, releasing, awaiting, waiting, limit, faults)
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
        faults: dict[str, Exception],
        snapshot: Snapshot,
    ) -> Effects:
        """Release, admit, then put on the waiting list; `faults` are of the last call."""
        faults.clear()
        allocation = _Pass(self.store.service, snapshot, subject, self.clock(), faults)
        for each in releasing:
            allocation.execute(each, ReleaseSeat())
        allocation.admit([*awaiting, *waiting, *releasing], limit)
        allocation.waitlist(awaiting)
        return allocation.effects()


class _Pass:
    """The ledger and its applicants during one pass."""

    def __init__(
        self, service: str, snapshot: Snapshot, subject: str, moment: Moment, faults: dict[str, Exception]
    ) -> None:
        """Raise NewerRules, UnreadableRecord: without one of the records the published order is unknown."""
        self.service, self.subject, self.moment, self.faults = service, subject, moment, faults
        self.before = {each: snapshot.record(each) for each in (*snapshot.records, *snapshot.unreadable)}
        self.records: dict[str, Record] = dict(self.before)
        self.changed: dict[str, None] = {}  # in order
        self.seats: ledger.State = self.before[subject].state
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
        line = sorted((each for each in candidates if self._competes(each)), key=self._order)
        first = line[: max(0, min(limit, ledger.available(self.seats)))]
        for each in first:
            self.execute(each, Admit())
        self.kept = len(self.faults.keys() & set(first))

    def waitlist(self, awaiting: Sequence[str]) -> None:
        """Put those without a seat on the waiting list, once no seat is free."""
        for each in awaiting:
            if ledger.available(self.seats) > self.kept or len(self.changed) >= PASS:
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
