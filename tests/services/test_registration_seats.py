"""The allocator: the right ones get seats, never more than there are, whatever happens meanwhile."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.clock import Moment
from contracts.commands import Refused
from contracts.envelope import Context, Envelope, decode, encode
from contracts.events import ApplicantAdmitted, ApplicantSeatReleased, CaseDecided
from contracts.subjects import kind_of, ledger_subject, partition_of
from kernel.batch import process
from kernel.commands import execute
from kernel.record import Message
from registration.consumer import seats
from registration.consumer.seats import Allocator
from registration.domain import ledger
from registration.domain.applicant import Register, Withdraw
from registration.domain.ledger import SetQuota
from registration.store.memory import MemoryQuestions, memory_store

START = datetime(2025, 9, 27, 8, tzinfo=UTC)
ALL = frozenset(range(32))
PROVINCES = ("IR-20", "IR-07")


class Country:
    """Registration's store, with an office that registers and a screening that decides."""

    def __init__(self) -> None:
        self.store = memory_store()
        self.questions = MemoryQuestions(self.store)
        self.allocator = Allocator(self.store, self.questions, self.clock)
        self.now, self.heard = START, Counter[str]()

    def clock(self) -> Moment:
        return Moment(self.now, self.now)

    async def quota(self, quota: int, province: str = "IR-20") -> None:
        command = SetQuota(round="1404", province=province, policy="1404-1", quota=quota)
        await execute(self.store, ledger_subject("1404", province), command, self.clock)

    async def register(self, subject: str, province: str = "IR-20") -> None:
        self.now += timedelta(seconds=1)
        place = Context(round="1404", province=province, county=f"{province[3:]}01", field="JF001", policy="1404-1")
        command = Register(
            place=place, sex="female", age_band="25-34", work_mode="independent", intake_channel="import"
        )
        await execute(self.store, subject, command, self.clock)

    async def withdraw(self, subject: str) -> None:
        await execute(self.store, subject, Withdraw("moved"), self.clock)

    async def approve(self, subject: str) -> None:
        self.heard[subject] += 1
        application = (await self.store.read([subject]))[subject].state.application
        envelope = Envelope(
            source="screening",
            subject=subject,
            sequence=self.heard[subject],
            time=self.now,
            event=CaseDecided(application=application, outcome="approved"),
        )
        await process(self.store, [Message(envelope, encode(envelope))], {}, self.clock)

    async def settle(self) -> None:
        self.allocator.looked = -1e9
        while await self.allocator(ALL):
            pass

    def status(self, status: str) -> list[str]:
        return [r.subject for r in self.store.find(lambda i: i.get("status") == status)]

    def seat_ledger(self, province: str = "IR-20") -> ledger.State:
        state: ledger.State = self.store.kept[ledger_subject("1404", province)].state
        return state

    def said(self, subject: str) -> list[Any]:
        return [decode(raw).event for raw in self.store.emitted[subject]]

    def check(self) -> None:
        """D3: quota = available + held + admitted, and what the ledger says is what the applicants hold."""
        for province in PROVINCES:
            subject = ledger_subject("1404", province)
            if subject not in self.store.kept:
                continue
            state = self.seat_ledger(province)
            held = [
                r
                for r in self.store.kept.values()
                if kind_of(r.subject) == "applicant" and r.state.seat and r.state.seat.ledger == subject
            ]
            assert state.admitted == len(held)
            assert 0 <= state.admitted <= state.quota == ledger.available(state) + ledger.HELD + state.admitted
        for subject, raws in self.store.emitted.items():
            balance = 0
            for raw in raws:
                event = decode(raw).event
                balance += isinstance(event, ApplicantAdmitted) - isinstance(event, ApplicantSeatReleased)
                assert balance in (0, 1), subject


def name(n: int) -> str:
    return f"{n:04d}"


async def test_five_hundred_concurrent_approvals_for_a_hundred_seats_give_the_right_hundred() -> None:
    country = Country()
    await country.quota(100)
    order = [name(n * 7 % 500) for n in range(500)]  # by registration, not by id
    for subject in order:
        await country.register(subject)
    await asyncio.gather(*(country.approve(subject) for subject in order))
    await asyncio.gather(country.settle(), country.settle())
    assert sorted(country.status("admitted")) == sorted(order[:100])
    assert sorted(country.status("waitlisted")) == sorted(order[100:])
    country.check()


async def test_those_approved_when_the_pass_begins_are_the_ones_who_compete() -> None:
    country = Country()
    await country.quota(1)
    await country.register("early")
    await country.register("late")
    await country.approve("late")
    await country.settle()
    await country.approve("early")
    await country.settle()
    assert country.status("admitted") == ["late"] and country.status("waitlisted") == ["early"]


async def test_a_released_seat_goes_to_the_first_of_the_list_in_the_same_pass() -> None:
    country = Country()
    await country.quota(2)
    for subject in "abcd":
        await country.register(subject)
        await country.approve(subject)
    await country.settle()
    await country.withdraw("a")
    assert country.seat_ledger().admitted == 2, "the seat counts until the pass"
    version = country.store.kept["ledger:1404/IR-20"].version
    assert await country.allocator(ALL) == 2
    assert country.store.kept["ledger:1404/IR-20"].version == version + 1
    assert sorted(country.status("admitted")) == ["b", "c"] and country.status("waitlisted") == ["d"]
    assert country.said("c")[-1] == ApplicantAdmitted(promoted=True)
    country.check()


async def test_a_raised_quota_promotes_in_the_published_order_more_than_one_pass_takes() -> None:
    country = Country()
    await country.quota(0)
    order = [name(n * 11 % 300) for n in range(300)]
    for subject in order:
        await country.register(subject)
        await country.approve(subject)
    await country.settle()
    assert len(country.status("waitlisted")) == 300
    await country.quota(250)
    assert await country.allocator(ALL) == 0, "nothing marks it: the next look finds it"
    await country.settle()
    assert sorted(country.status("admitted")) == sorted(order[:250])
    country.check()


async def test_without_a_quota_everybody_waits() -> None:
    country = Country()
    await country.register("a")
    await country.approve("a")
    await country.settle()
    assert country.status("waitlisted") == ["a"] and country.seat_ledger().quota == 0


async def test_who_withdraws_meanwhile_is_passed_over() -> None:
    country = Country()
    await country.quota(1)
    for subject in "ab":
        await country.register(subject)
        await country.approve(subject)
    line = country.questions.line

    async def slow(ledger: str, seating: str, limit: int) -> list[str]:
        found = await line(ledger, seating, limit)
        if found == ["a", "b"]:
            await country.withdraw("a")
        return found

    country.questions.line = slow  # type: ignore[method-assign]
    await country.allocator.allocate("ledger:1404/IR-20")
    assert country.status("admitted") == ["b"] and country.status("withdrawn") == ["a"]


async def test_only_the_owner_of_the_ledgers_partition_gives_seats() -> None:
    country = Country()
    await country.quota(1)
    await country.register("a")
    await country.approve("a")
    owned = ledger_subject("1404", "IR-20")
    assert await country.allocator(ALL - {partition_of(owned)}) == 0
    assert await country.allocator(frozenset({partition_of(owned)})) == 1


async def test_a_pass_that_is_stored_twice_counts_once() -> None:
    """A crash after the transaction: the next pass finds nothing to do."""
    country = Country()
    await country.quota(1)
    await country.register("a")
    await country.approve("a")
    assert await country.allocator(ALL) == 1 and await country.allocator(ALL) == 0
    assert len(country.said("a")) == 2
    country.check()


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["register", "approve", "approve", "withdraw", "pass", "quota", "elsewhere"]),
        st.integers(0, 11),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(MOVES)
def test_whatever_happens_seats_add_up(moves: list[tuple[str, int]]) -> None:
    async def run() -> None:
        country = Country()
        await country.quota(3)
        for move, n in moves:
            subject = name(n)
            try:
                match move:
                    case "register":
                        await country.register(subject)
                    case "elsewhere":
                        await country.register(subject, "IR-07")
                    case "approve":
                        await country.approve(subject)
                    case "withdraw":
                        await country.withdraw(subject)
                    case "quota":
                        await country.quota(n, PROVINCES[n % 2])
                    case "pass":
                        await asyncio.gather(country.allocator(ALL), country.allocator(ALL))
            except Refused:
                pass
            country.check()
        await country.settle()
        country.check()
        for province in PROVINCES:  # no seat stays free while somebody waits for it
            waiting = await country.questions.line(ledger_subject("1404", province), "waiting", 1)
            assert not waiting or ledger.available(country.seat_ledger(province)) == 0
        assert not await country.questions.unseated()

    asyncio.run(run())


async def test_canary_seats_given_without_the_ledger_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    country = Country()
    await country.quota(1)
    await country.register("a")
    await country.approve("a")
    honest = seats._Pass.changes
    monkeypatch.setattr(seats._Pass, "changes", lambda self: honest(self)[1:])
    await country.allocator.allocate("ledger:1404/IR-20")
    with pytest.raises(AssertionError):
        country.check()
