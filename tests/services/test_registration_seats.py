"""The allocator: seats are given in the published order, never more than the quota, whatever happens concurrently."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import REGISTRY

from base.clock import Moment
from contracts.commands import Refused
from contracts.envelope import Context, Envelope, decode, encode
from contracts.events import ApplicantAdmitted, ApplicantSeatReleased, CaseDecided
from contracts.subjects import kind_of, ledger_subject, partition_of
from kernel.batch import process
from kernel.commands import execute
from kernel.errors import Transient, UnreadableRecord
from kernel.query import Query
from kernel.record import EVENTS_LIMIT, Message
from kernel.store import Effects
from kernel.stores.memory import MemoryStore
from registration import queries
from registration.domain import applicant, ledger
from registration.domain.applicant import Admit, Register, ReleaseSeat, Withdraw
from registration.domain.ledger import SetQuota
from registration.jobs import faults as job_faults
from registration.jobs import seat_allocation
from registration.jobs.seat_allocation import Allocator
from registration.service import service
from tests.support.registration_api import ALL_PARTITIONS, PROFILE

pytestmark = pytest.mark.usefixtures("accepted_short_names")

START = datetime(2025, 9, 27, 8, tzinfo=UTC)
PROVINCES = ("IR-20", "IR-07")


class Registration:
    """Registration over memory, with its allocator and the decisions of screening."""

    def __init__(self) -> None:
        self.store = MemoryStore(service.name, service.rules, service.unique)
        self.allocator = Allocator(self.store, self.clock)
        self.now, self.sequences = START, Counter[str]()

    def clock(self) -> Moment:
        return Moment(self.now, self.now)

    async def set_quota(self, quota: int, province: str = "IR-20") -> None:
        command = SetQuota(round="1404", province=province, policy="1404-1", quota=quota)
        await execute(self.store, ledger_subject("1404", province), command, self.clock)

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
        await process(self.store, [Message(envelope, encode(envelope))], {}, self.clock)

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
    return f"{n:04d}"


async def test_five_hundred_concurrent_approvals_for_a_hundred_seats_admit_the_first_hundred() -> None:
    registration = Registration()
    await registration.set_quota(100)
    order = [name(n * 7 % 500) for n in range(500)]  # by registration, not by id
    for subject in order:
        await registration.register(subject)
    await asyncio.gather(*(registration.approve(subject) for subject in order))
    await asyncio.gather(registration.run_allocator(), registration.run_allocator())
    assert sorted(await registration.with_status("admitted")) == sorted(order[:100])
    assert sorted(await registration.with_status("waitlisted")) == sorted(order[100:])
    registration.check()


async def test_applicants_approved_before_a_pass_compete_in_it() -> None:
    registration = Registration()
    await registration.set_quota(1)
    await registration.register("early")
    await registration.register("late")
    await registration.approve("late")
    await registration.run_allocator()
    await registration.approve("early")
    await registration.run_allocator()
    assert await registration.with_status("admitted") == ["late"] and await registration.with_status("waitlisted") == [
        "early"
    ]


async def test_a_released_seat_goes_to_the_first_of_the_list_in_the_same_pass() -> None:
    registration = Registration()
    await registration.set_quota(2)
    for subject in "abcd":
        await registration.register(subject)
        await registration.approve(subject)
    await registration.run_allocator()
    await registration.withdraw("a")
    assert registration.seat_ledger().admitted == 2, "the seat counts until the pass"
    version = registration.store.records["ledger:1404/IR-20"].version
    assert await registration.allocator(ALL_PARTITIONS) == 2
    assert registration.store.records["ledger:1404/IR-20"].version == version + 1
    assert sorted(await registration.with_status("admitted")) == ["b", "c"] and await registration.with_status(
        "waitlisted"
    ) == ["d"]
    assert registration.events("c")[-1] == ApplicantAdmitted(promoted=True)
    registration.check()


async def test_a_raised_quota_promotes_in_the_published_order_over_several_passes() -> None:
    registration = Registration()
    await registration.set_quota(0)
    order = [name(n * 11 % 300) for n in range(300)]
    for subject in order:
        await registration.register(subject)
        await registration.approve(subject)
    await registration.run_allocator()
    assert len(await registration.with_status("waitlisted")) == 300
    await registration.set_quota(250)
    assert await registration.allocator(ALL_PARTITIONS) == 0, "found by the next query for promotions only"
    await registration.run_allocator()
    assert sorted(await registration.with_status("admitted")) == sorted(order[:250])
    registration.check()


async def test_without_a_quota_everyone_waits() -> None:
    registration = Registration()
    await registration.register("a")
    await registration.approve("a")
    await registration.run_allocator()
    assert await registration.with_status("waitlisted") == ["a"] and registration.seat_ledger().quota == 0


async def test_an_applicant_who_withdraws_during_a_pass_is_skipped() -> None:
    registration = Registration()
    await registration.set_quota(1)
    for subject in "ab":
        await registration.register(subject)
        await registration.approve(subject)
    find_subjects = registration.store.find_subjects

    async def find_then_withdraw(query: Query) -> list[str]:
        found = await find_subjects(query)
        if found == ["a", "b"]:
            await registration.withdraw("a")
        return found

    registration.store.find_subjects = find_then_withdraw  # type: ignore[method-assign]
    await registration.allocator.allocate("ledger:1404/IR-20")
    registration.store.find_subjects = find_subjects  # type: ignore[method-assign]
    assert await registration.with_status("admitted") == ["b"] and await registration.with_status("withdrawn") == ["a"]


async def test_only_the_worker_of_the_ledgers_partition_gives_seats() -> None:
    registration = Registration()
    await registration.set_quota(1)
    await registration.register("a")
    await registration.approve("a")
    owned = ledger_subject("1404", "IR-20")
    assert await registration.allocator(ALL_PARTITIONS - {partition_of(owned)}) == 0
    assert await registration.allocator(frozenset({partition_of(owned)})) == 1


async def test_a_repeated_pass_changes_nothing() -> None:
    """After a crash behind the transaction the next pass finds nothing to do."""
    registration = Registration()
    await registration.set_quota(1)
    await registration.register("a")
    await registration.approve("a")
    assert await registration.allocator(ALL_PARTITIONS) == 1 and await registration.allocator(ALL_PARTITIONS) == 0
    assert len(registration.events("a")) == 2
    registration.check()


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["register", "approve", "approve", "withdraw", "pass", "quota", "elsewhere"]),
        st.integers(0, 11),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(MOVES)
def test_seats_add_up_in_every_story(moves: list[tuple[str, int]]) -> None:
    async def run() -> None:
        registration = Registration()
        await registration.set_quota(3)
        for move, n in moves:
            subject = name(n)
            try:
                match move:
                    case "register":
                        await registration.register(subject)
                    case "elsewhere":
                        await registration.register(subject, "IR-07")
                    case "approve":
                        await registration.approve(subject)
                    case "withdraw":
                        await registration.withdraw(subject)
                    case "quota":
                        await registration.set_quota(n, PROVINCES[n % 2])
                    case "pass":
                        await asyncio.gather(
                            registration.allocator(ALL_PARTITIONS), registration.allocator(ALL_PARTITIONS)
                        )
            except Refused:
                pass
            registration.check()
        await registration.run_allocator()
        registration.check()
        for province in PROVINCES:  # no seat stays free while an applicant waits for it
            line = queries.line(ledger_subject("1404", province), "waiting", 1)
            waiting = await registration.store.find_subjects(line)
            assert not waiting or ledger.available(registration.seat_ledger(province)) == 0
        assert not await queries.unsettled_ledgers(registration.store)

    asyncio.run(run())


async def test_canary_seats_given_without_the_ledger_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    registration = Registration()
    await registration.set_quota(1)
    await registration.register("a")
    await registration.approve("a")
    effects = seat_allocation._Pass.effects
    monkeypatch.setattr(seat_allocation._Pass, "effects", lambda self: Effects(effects(self).changes[1:]))
    await registration.allocator.allocate("ledger:1404/IR-20")
    with pytest.raises(AssertionError):
        registration.check()


def faults() -> float:
    return REGISTRY.get_sample_value("peyvand_scheduler_faults_total", {"service": "registration"}) or 0.0


@pytest.mark.parametrize("error", [UnreadableRecord("a"), ValueError("a")])
async def test_a_ledger_that_raises_stops_no_other(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registration, before = Registration(), faults()
    for subject, province in (("a", "IR-07"), ("b", "IR-20")):
        await registration.set_quota(1, province)
        await registration.register(subject, province)
        await registration.approve(subject)
    allocate = Allocator.allocate

    async def broken(self: Allocator, subject: str) -> int:
        if subject == ledger_subject("1404", "IR-07"):
            raise error
        return await allocate(self, subject)

    monkeypatch.setattr(Allocator, "allocate", broken)
    assert await registration.allocator(ALL_PARTITIONS) == 1 and await registration.allocator(ALL_PARTITIONS) == 0
    assert registration.store.records["b"].state.seat and not registration.store.records["a"].state.seat
    assert faults() == before + 1 and "subject='ledger:1404/IR-07'" in capsys.readouterr().out
    monkeypatch.setattr(Allocator, "allocate", allocate)
    later = monotonic() + job_faults.RETRY
    monkeypatch.setattr(job_faults, "monotonic", lambda: later)
    assert await registration.allocator(ALL_PARTITIONS) == 1, "it is tried again"


async def test_an_unreachable_database_stops_the_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    registration = Registration()
    await registration.register("a")
    await registration.approve("a")

    async def unreachable(self: Allocator, subject: str) -> int:
        raise Transient

    monkeypatch.setattr(Allocator, "allocate", unreachable)
    with pytest.raises(Transient):
        await registration.allocator(ALL_PARTITIONS)
    assert not registration.allocator.faults.recent()


def raise_for(county: str, command: type[applicant.Command], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the rules raise when they decide on this command about an applicant of this county."""
    decide = applicant.decide

    def raising(state: applicant.State, decided: applicant.Command, at: datetime) -> Any:
        if isinstance(decided, command) and state.context.county == county:
            raise ValueError
        return decide(state, decided, at)

    monkeypatch.setattr(applicant, "decide", raising)


async def test_an_applicant_for_whom_a_seat_raises_keeps_it_free_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others get what they would have got anyway: no seat is given to the next in line, and the line goes on."""
    registration, before = Registration(), faults()
    await registration.set_quota(2)
    for subject in "abcd":
        await registration.register(subject, county="2002" if subject == "a" else "2001")
        await registration.approve(subject)
    raise_for("2002", Admit, monkeypatch)
    await registration.run_allocator()
    await registration.run_allocator()
    assert await registration.with_status("admitted") == ["b"] and await registration.with_status("approved") == ["a"]
    assert sorted(await registration.with_status("waitlisted")) == ["c", "d"]
    assert faults() == before + 1 and "subject='a'" in capsys.readouterr().out
    registration.check()
    await registration.withdraw("b")
    await registration.run_allocator()
    assert await registration.with_status("admitted") == ["c"], "the seat of b, not that of a"
    monkeypatch.undo()
    await registration.run_allocator()
    assert sorted(await registration.with_status("admitted")) == ["a", "c"]
    registration.check()


async def test_a_seat_whose_release_raises_stays_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    registration = Registration()
    await registration.set_quota(2)
    for subject in "abcd":
        await registration.register(subject, county="2002" if subject == "a" else "2001")
        await registration.approve(subject)
    await registration.run_allocator()
    for subject in "ab":
        await registration.withdraw(subject)
    raise_for("2002", ReleaseSeat, monkeypatch)
    await registration.run_allocator()
    assert await registration.with_status("admitted") == ["c"] and registration.seat_ledger().admitted == 2
    registration.check()


async def test_a_record_that_is_full_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    registration = Registration()
    await registration.set_quota(1)
    for subject in "abc":
        await registration.register(subject)
        await registration.approve(subject)
    full = replace(registration.store.records["b"], last_sequence=EVENTS_LIMIT)
    registration.store.records["b"] = full
    await registration.run_allocator()
    assert await registration.with_status("admitted") == ["a"] and await registration.with_status("waitlisted") == ["c"]
    assert registration.allocator.faults.recent() == {"b"}
