"""The allocator: gives seats in the published order, one transaction per ledger and pass.

An approval only marks "awaiting", a withdrawal only "releasing"; the seat counts until the pass. Every pass writes the
ledger, so of two passes at once one finds the other's version and looks again.
"""

from collections.abc import Mapping, Sequence
from time import monotonic

from msgspec.structs import replace

from base.clock import Clock, Moment
from contracts.envelope import decode
from contracts.subjects import partition_of
from kernel.record import Record, emit, event_time
from kernel.store import Changes, Known, Store
from observability import metrics
from registration.domain import applicant, ledger
from registration.domain.applicant import Admit, ReleaseSeat, Waitlist, seating
from registration.store.questions import SERVICE, Questions

PASS = 200  # applicants of one ledger in one transaction
RELEASES = PASS // 2  # of them at most, so that whoever follows is promoted in the same pass
LOOK = 1.0  # seconds between two looks for seats that became free by a raised quota
ACTOR = "allocator:"


class Allocator:
    """A worker's duty: moves ledger and applicants together, for the ledgers whose partition it owns."""

    def __init__(self, store: Store, questions: Questions, clock: Clock) -> None:
        self.store, self.questions, self.clock = store, questions, clock
        self.looked = -LOOK  # machine time of the last look for promotions

    async def __call__(self, partitions: frozenset[int]) -> int:
        """One pass over each ledger that has something to do; returns how many applicants moved. Raises Transient."""
        ledgers = await self.questions.unseated()
        if monotonic() - self.looked >= LOOK:
            ledgers |= await self.questions.promotable()
            self.looked = monotonic()
        moved = 0
        for subject in sorted(ledgers):
            if partition_of(subject) in partitions:
                moved += await self.allocate(subject)
        if moved:
            self.looked = -LOOK  # who moved may have made room for more than one pass takes
        return moved

    async def allocate(self, subject: str) -> int:
        """One pass over one ledger, among those approved when it begins; returns how many applicants moved."""
        seats: ledger.State = (await self.store.read([subject]))[subject].state
        releasing = await self.questions.line(subject, "releasing", RELEASES)
        room = PASS - len(releasing)
        most = min(room, ledger.available(seats) + len(releasing))  # seats that rise meanwhile are for the next pass
        awaiting = await self.questions.line(subject, "awaiting", room)
        waiting = await self.questions.line(subject, "waiting", most) if most > 0 else []
        moved = 0

        def change(known: Known) -> Changes:
            nonlocal moved, seats
            this = _Pass(known, subject, self.clock())
            for each in releasing:
                this.move(each, ReleaseSeat())
            this.seat([*awaiting, *waiting, *releasing], most)
            this.waitlist(awaiting)
            moved, seats = len(this.moved), this.seats
            return this.changes()

        if releasing or awaiting or waiting:
            await self.store.transact([subject, *releasing, *awaiting, *waiting], change)
            for kind, n in (
                ("quota", seats.quota),
                ("admitted", seats.admitted),
                ("available", ledger.available(seats)),
            ):
                metrics.SEATS.labels(seats.province, kind).set(n)
        return moved


class _Pass:
    """The ledger and the applicants of one pass, as they move."""

    def __init__(self, known: Known, subject: str, moment: Moment) -> None:
        self.known, self.subject, self.moment = known, subject, moment
        self.records: dict[str, Record] = dict(known)
        self.moved: dict[str, None] = {}
        self.seats: ledger.State = known[subject].state

    def move(self, subject: str, command: applicant.Command) -> None:
        """Moves one applicant, and the ledger by what that says; who changed their mind meanwhile is passed over."""
        before = self.records[subject]
        events = applicant.decide(before.state, command, event_time(before, self.moment))
        if not events:
            return
        after = emit(before, applicant, SERVICE, events, self.moment, actor=ACTOR)
        for raw in after.emitted[len(before.emitted) :]:
            self.seats = ledger.evolve(self.seats, decode(raw))
        self.records[subject] = after
        self.moved[subject] = None

    def seat(self, candidates: Sequence[str], most: int) -> None:
        """Admits the first of the published order while seats last."""
        line = sorted((each for each in candidates if self._in_line(each)), key=self._order)
        for each in line[: max(0, min(most, ledger.available(self.seats)))]:
            self.move(each, Admit())

    def waitlist(self, awaiting: Sequence[str]) -> None:
        """Puts on the waiting list who got no seat, once none is left."""
        for each in awaiting:
            if ledger.available(self.seats) > 0 or len(self.moved) >= PASS:
                return
            self.move(each, Waitlist())

    def changes(self) -> Changes:
        """What is to be stored: nobody moved, nothing; else the ledger as well, always."""
        if not self.moved:
            return ()
        own = self.known[self.subject]
        self.records[self.subject] = replace(own, state=self.seats, indexed=ledger.indexed(self.seats))
        return [
            (self.known[s], replace(self.records[s], version=self.known[s].version + 1))
            for s in (self.subject, *self.moved)
        ]

    def _in_line(self, subject: str) -> bool:
        record = self.records[subject]
        return seating(record.state) in ("awaiting", "waiting") and record.indexed["ledger"] == self.subject

    def _order(self, subject: str) -> tuple[object, ...]:
        indexed: Mapping[str, object] = self.records[subject].indexed
        return indexed["priority"], indexed["registered_at"], subject
