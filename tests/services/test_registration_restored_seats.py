"""After a restore from an older backup: is every seat given once, whatever happened between backup and restore?"""

import asyncio
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.commands import Refused
from contracts.envelope import decode
from contracts.subjects import kind_of, ledger_subject
from kernel.batch import process
from kernel.query import Query
from kernel.stores.memory import MemoryStore
from recovery.missing_events import take_back
from registration.jobs.ledger_recount import recount_ledgers
from registration.jobs.seat_allocation import Allocator
from tests.support.registration_seats import PROVINCES, Registration, name

pytestmark = pytest.mark.usefixtures("accepted_short_names")

Step = tuple[str, int, int]  # what happens, to whom, and in which province or with which quota
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["register", "approve", "withdraw", "quota", "pass"]), st.integers(0, 5), st.integers(0, 2)
    ),
    max_size=25,
)


async def take(registration: Registration, steps: Sequence[Step]) -> None:
    """Do these steps, of which some are refused."""
    for what, person, n in steps:
        try:
            match what:
                case "register":
                    await registration.register(name(person), PROVINCES[n % 2])
                case "approve" if name(person) in registration.store.records:
                    await registration.approve(name(person))
                case "withdraw":
                    await registration.withdraw(name(person))
                case "quota":
                    await registration.set_quota(n, PROVINCES[person % 2])
                case "pass":
                    await registration.run_allocator()
        except Refused:
            continue


def backup(registration: Registration) -> MemoryStore:
    """Return a copy of the store."""
    store = registration.store
    copy = MemoryStore(store.service, store.rules, store.unique)
    copy.records, copy.events = dict(store.records), deepcopy(store.events)
    copy.by_unique, copy.positions = dict(store.by_unique), dict(store.positions)
    return copy


async def restore(registration: Registration, backup: MemoryStore) -> None:
    """Put a backup in the place of the store, and take back from the log the events that it lacks."""
    log, registration.store = registration.store.events, backup
    registration.allocator = Allocator(backup, registration.clock)
    for subject, raws in log.items():
        before = (await backup.read([subject]))[subject]
        after, missing = take_back(before, backup.rules[kind_of(subject)], dict(enumerate(raws, 1)), {})
        assert not missing
        if after is not before:
            assert await backup.swap(before, after)


async def settle(registration: Registration) -> None:
    """Consume the decisions again, of which the restored inboxes have some, and give seats."""
    await process(registration.store, registration.decisions, {}, registration.clock)
    await registration.run_allocator()


@given(before=STEPS, after=STEPS, later=STEPS)
@settings(max_examples=60)
def test_no_seat_is_given_twice(before: list[Step], after: list[Step], later: list[Step]) -> None:
    async def check() -> None:
        registration = Registration()
        for province in PROVINCES:
            await registration.set_quota(1, province)
        await take(registration, before)
        kept = backup(registration)
        await take(registration, after)
        await restore(registration, kept)
        await recount_ledgers(registration.store)
        registration.check()
        await settle(registration)
        await take(registration, later)
        await registration.run_allocator()
        registration.check()

    asyncio.run(check())


async def admitted_after_the_backup() -> Registration:
    """Return a registration restored from before its only seat was given; a second applicant awaits one."""
    registration = Registration()
    await registration.set_quota(1)
    for subject in ("first", "second"):
        await registration.register(subject)
    kept = backup(registration)
    await registration.approve("first")
    await registration.run_allocator()
    await registration.approve("second")
    await restore(registration, kept)
    return registration


async def test_without_the_count_a_seat_is_given_twice() -> None:
    """The canary: this is what the count after a restore protects from."""
    registration = await admitted_after_the_backup()
    await settle(registration)
    assert sorted(await registration.with_status("admitted")) == ["first", "second"]


async def test_the_only_seat_was_given_after_the_backup() -> None:
    registration = await admitted_after_the_backup()
    assert await recount_ledgers(registration.store) == 1 and await recount_ledgers(registration.store) == 0
    await settle(registration)
    assert await registration.with_status("admitted") == ["first"]
    assert await registration.with_status("waitlisted") == ["second"]
    registration.check()


async def test_a_ledger_that_is_written_meanwhile_is_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker has completed the store and gives seats already."""
    registration = await admitted_after_the_backup()
    store, swap = registration.store, registration.store.swap
    ledger = ledger_subject("1404", "IR-20")

    async def written_before(before: object, after: object) -> object:
        monkeypatch.undo()
        record = store.records[ledger]
        await swap(record, replace(record, state=replace(record.state, quota=3)))
        return await swap(before, after)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "swap", written_before)
    await recount_ledgers(store)
    assert (registration.seat_ledger().admitted, registration.seat_ledger().quota) == (1, 3)
    assert decode(store.events["first"][-1]).event.TYPE.endswith("admitted.v1")


async def test_who_withdraws_between_the_two_counts_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker has completed the store: its API takes withdrawals, and it would give the seat again."""
    registration = await admitted_after_the_backup()
    store, count_by, taken = registration.store, registration.store.count_by, list[int]()

    async def withdrawn_after(field: str, query: Query) -> dict[Any, int]:
        found = await count_by(field, query)
        if not taken:
            await registration.withdraw("first")
        taken.append(registration.seat_ledger().admitted)
        return found

    monkeypatch.setattr(store, "count_by", withdrawn_after)
    await recount_ledgers(store)
    assert registration.seat_ledger().admitted == 1 and 0 not in taken[2:], "never too few, once it is corrected"
