"""The allocator: seats are given in the published order, never more than the quota, whatever happens concurrently."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.commands import Refused
from contracts.events import ApplicantAdmitted
from contracts.subjects import ledger_subject, partition_of
from kernel.query import Query
from kernel.store import Effects
from registration import queries
from registration.domain import ledger
from registration.jobs import seat_allocation
from tests.support.registration_api import ALL_PARTITIONS
from tests.support.registration_seats import PROVINCES, Registration, name

pytestmark = pytest.mark.usefixtures("accepted_short_names")


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


@settings(max_examples=150)
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
