"""Registration over memory, with its allocator and the decisions of screening: seats without an API."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from base.clock import Moment
from contracts.envelope import Context, Envelope, decode, encode
from contracts.events import ApplicantAdmitted, ApplicantSeatReleased, CaseDecided
from contracts.subjects import kind_of, ledger_subject
from kernel.batch import process
from kernel.commands import execute
from kernel.query import Query
from kernel.record import Message
from kernel.stores.memory import MemoryStore
from registration.domain import ledger
from registration.domain.applicant import Register, Withdraw
from registration.domain.ledger import SetQuota
from registration.jobs.seat_allocation import Allocator
from registration.service import service
from tests.support.registration_api import ALL_PARTITIONS, PROFILE

START = datetime(2025, 9, 27, 8, tzinfo=UTC)
PROVINCES = ("IR-20", "IR-07")


class Registration:
    """Registration over memory, with its allocator and the decisions of screening."""

    def __init__(self) -> None:
        self.store = MemoryStore(service.name, service.rules, service.unique)
        self.allocator = Allocator(self.store, self.clock)
        self.now, self.sequences = START, Counter[str]()
        self.decisions: list[Message] = []  # of screening, in its log

    @classmethod
    async def with_approved(cls, quota: int, subjects: Iterable[str]) -> "Registration":
        """Return a registration with a quota in Semnan, and these applicants approved for it in this order."""
        registration = cls()
        await registration.set_quota(quota)
        for subject in subjects:
            await registration.register(subject)
            await registration.approve(subject)
        return registration

    def clock(self) -> Moment:
        return Moment(self.now, self.now)

    async def set_quota(self, quota: int, province: str = "IR-20") -> None:
        subject = ledger_subject("1404", province)
        previous = (await self.store.read([subject]))[subject].state.quota
        command = SetQuota(round="1404", province=province, policy="1404-1", quota=quota, previous=previous)
        await execute(self.store, subject, command, self.clock)

    async def register(self, subject: str, province: str = "IR-20", county: str = "") -> None:
        self.now += timedelta(seconds=1)
        county = county or f"{province[3:]}01"
        context = Context(round="1404", province=province, county=county, field="JF001", policy="1404-1")
        command = Register(context=context, profile=PROFILE, intake_channel="import")
        await execute(self.store, subject, command, self.clock)

    async def withdraw(self, subject: str) -> None:
        await execute(self.store, subject, Withdraw("moved"), self.clock)

    async def approve(self, subject: str) -> None:
        self.sequences[subject] += 1
        application = (await self.store.read([subject]))[subject].state.application
        envelope = Envelope(
            source="screening",
            subject=subject,
            sequence=self.sequences[subject],
            time=self.now,
            event=CaseDecided(application=application, outcome="approved"),
        )
        self.decisions.append(Message(envelope, encode(envelope)))
        await process(self.store, self.decisions[-1:], {}, self.clock)

    async def run_allocator(self) -> None:
        """Run passes until nothing is left to do."""
        self.allocator.promotions_at = -1e9
        while await self.allocator(ALL_PARTITIONS):
            pass

    async def with_status(self, status: str) -> list[str]:
        return await self.store.find_subjects(Query("applicant", {"status": status}))

    def seat_ledger(self, province: str = "IR-20") -> ledger.State:
        state: ledger.State = self.store.records[ledger_subject("1404", province)].state
        return state

    def events(self, subject: str) -> list[Any]:
        return [decode(raw).event for raw in self.store.events[subject]]

    def check(self) -> None:
        """Check quota = available + held + admitted, and that the ledger agrees with the seats of the applicants."""
        for province in PROVINCES:
            subject = ledger_subject("1404", province)
            if subject not in self.store.records:
                continue
            state = self.seat_ledger(province)
            held = [
                r
                for r in self.store.records.values()
                if kind_of(r.subject) == "applicant" and r.state.seat and r.state.seat.ledger == subject
            ]
            assert state.admitted == len(held)
            assert 0 <= state.admitted <= state.quota == ledger.available(state) + ledger.HELD + state.admitted
        for subject, raws in self.store.events.items():
            balance = 0
            for raw in raws:
                event = decode(raw).event
                balance += isinstance(event, ApplicantAdmitted) - isinstance(event, ApplicantSeatReleased)
                assert balance in (0, 1), subject


def name(n: int) -> str:
    """Return the n-th applicant id."""
    return f"{n:04d}"
