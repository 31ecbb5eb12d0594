"""Parked events: what is early, faulty or unknown waits alone, and in the end nothing is lost or handled twice.

Types that only a newer version knows: test_unknown_types.py. What operators do with them, and races:
test_parked_races.py. What stops a worker before it parks everything:
test_circuit_breaker.py.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from base.clock import Moment
from contracts.subjects import partition_of
from kernel.batch import CHUNK, drain, process
from kernel.record import BLOCKED, Message
from kernel.roles.consumer import RETRIED
from kernel.store import Change, Effects, Snapshot
from kernel.stores.memory import MemoryStore
from recovery.parked_events import insert_parked
from tests.support.fixtures import StoreOf
from tests.support.messages import WITHDRAWN, Picky, message
from tests.support.parked_events import EVERYWHERE, REGISTRATION, head, parked, record, settle
from tests.support.small_services import NOON, ReportingRules, Tallies, noon

only_mongodb = pytest.mark.parametrize(
    "store_of", [pytest.param("mongodb", marks=pytest.mark.server)], indirect=True
)  # memory keeps records as objects: none is unreadable


# Any order


def arrivals(chance: Any, subject: str) -> list[list[Message]]:
    """Return ten events of two sources in any order, some repeated, cut into batches."""
    events = [message("registration", n, subject=subject) for n in range(1, 7)]
    events += [message("screening", n, subject=subject) for n in range(1, 5)]
    arriving = [*events, *(chance.choice(events) for _ in range(chance.randrange(10)))]
    chance.shuffle(arriving)
    cuts = sorted(chance.randrange(len(arriving)) for _ in range(chance.randrange(5)))
    return [arriving[a:b] for a, b in zip([0, *cuts], [*cuts, len(arriving)], strict=True)]


async def check_any_order(store: Any, subject: str, batches: Sequence[Sequence[Message]]) -> None:
    tallies = Tallies()
    for batch in batches:
        await process(store, batch, {}, noon, tallies.move)
        await parked(store)
        await settle(store, projection=tallies.move)
    assert not await parked(store)
    found = await record(store, subject)
    assert found.inbox == {"registration": 6, "screening": 4}
    assert found.state.consumed == {"ApplicantRegistered": 6, "CaseOpened": 4}
    assert sum(tallies.counts.values()) == 10


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.randoms(use_true_random=False))
def test_any_order_repetition_and_batching_end_the_same_in_memory(chance: random.Random) -> None:
    rules: Any = {"applicant": ReportingRules}
    asyncio.run(check_any_order(MemoryStore("reporting", rules), "p", arrivals(chance, "p")))


async def test_any_order_repetition_and_batching_end_the_same(store_of: StoreOf) -> None:
    store, chance = await store_of("reporting"), random.Random(1404)
    for n in range(25):
        await check_any_order(store, f"p{n}", arrivals(chance, f"p{n}"))


# Gaps


async def test_a_gap_closes_and_what_waited_is_handled_in_chunks(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    total = CHUNK + 500
    events = [message("registration", n) for n in range(1, total + 1)]
    await process(store, events[1:], {}, noon, tallies.move)
    assert (await record(store)).version == 0, "parking changes no record"
    assert (await head(store)).reason == "early" and await store.parked.ready(EVERYWHERE, 10) == []
    assert await drain(store, EVERYWHERE, noon, tallies.move) == 0
    await process(store, events[:1], {}, noon, tallies.move)
    assert (await head(store)).reason == "ready", "the gap is closed"
    assert await store.parked.ready(EVERYWHERE, 10) == [REGISTRATION]
    assert await store.parked.ready([n for n in EVERYWHERE if n != partition_of("p")], 10) == []
    assert await drain(store, EVERYWHERE, noon, tallies.move) == 1
    assert (await record(store)).inbox == {"registration": CHUNK + 1}
    assert [len(each) for each in (await parked(store)).values()] == [499]
    assert await drain(store, EVERYWHERE, noon, tallies.move) == 1
    assert (await record(store)).inbox == {"registration": total}
    assert await drain(store, EVERYWHERE, noon, tallies.move) == 0 and not await parked(store)
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): total}


async def test_nine_thousand_parked_events_of_one_subject_drain(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    events = [message("registration", n) for n in range(1, 9_001)]
    for start in (1, 5_000):
        await process(store, events[start : start + 4_999 if start == 1 else None], {}, noon, tallies.move)
    assert (await head(store)).behind == 8_998
    await process(store, [events[0], message("registration", 1, subject="q")], {}, noon, tallies.move)
    chunks = 0
    while await drain(store, EVERYWHERE, noon, tallies.move):
        chunks += 1
    assert (await record(store)).inbox == {"registration": 9_000} and not await parked(store)
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 9_001} and chunks == 5


async def test_a_second_gap_stops_a_drain(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    await settle(store, [message("registration", n) for n in (2, 3, 5, 6)], [message("registration", 1)])
    assert (await record(store)).inbox == {"registration": 3}
    left = await parked(store)
    assert [(each.sequence, each.reason) for each in left[REGISTRATION]] == [(5, "early"), (6, "early")]
    await settle(store, [message("registration", 4)])
    assert (await record(store)).inbox == {"registration": 6} and not await parked(store)


async def test_an_event_before_the_head_becomes_the_head(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    for n in (5, 7, 3, 4):
        await settle(store, [message("registration", n)])
        await parked(store)
    assert [each.sequence for each in (await parked(store))[REGISTRATION]] == [3, 4, 5, 7]
    await settle(store, [message("registration", n) for n in (1, 2)])
    assert (await record(store)).inbox == {"registration": 5}


async def test_what_was_handled_elsewhere_is_removed_without_an_effect(store_of: StoreOf) -> None:
    """A completion after a restore moves inboxes past parked events, more of them than one chunk holds."""
    store, tallies = await store_of("reporting"), Tallies()
    await process(store, [message("registration", n) for n in range(2, CHUNK + 1_000)], {}, noon)

    def complete(snapshot: Snapshot) -> Effects:
        before = snapshot.record("p")
        return Effects([(before, replace(before, inbox={"registration": CHUNK + 500}))])

    await store.transact(["p"], complete)
    assert await store.parked.release(["early"], sources=[REGISTRATION]) == 1
    await settle(store, projection=tallies.move)
    assert (await record(store)).inbox == {"registration": CHUNK + 999} and not await parked(store)
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 499}


# Records that cannot be read


@only_mongodb
async def test_events_of_a_record_that_cannot_be_read_are_parked(store_of: StoreOf) -> None:
    """Written by newer rules, or broken: its document stays as it is, and other subjects flow."""
    store = await store_of("reporting")
    await settle(store, [message("registration", 1), message("registration", 1, subject="q")])
    await store.records.update_one({"_id": "p"}, {"$set": {"rules_version": 2, "state": '{"shape": "newer"}'}})
    await store.records.update_one({"_id": "q"}, {"$set": {"state": '{"province": 7}'}})
    before = await store.records.find({}).to_list()
    await settle(store, [message("registration", n, subject=s) for n in (1, 2, 3) for s in ("p", "q", "r")])
    assert await store.records.find({"_id": {"$ne": "r"}}).to_list() == before
    assert (await record(store, "r")).inbox == {"registration": 3}
    heads = {each.subject: (each.reason, each.sequence, each.behind) for each in await store.parked.heads(BLOCKED)}
    assert heads == {"p": ("newer_rules", 2, 1), "q": ("unreadable_record", 2, 1)}
    assert await store.parked.release(RETRIED) == 2
    await settle(store)  # still unreadable: parked again for the same reasons
    assert {each.subject: each.reason for each in await store.parked.heads(BLOCKED)} == {
        "p": "newer_rules",
        "q": "unreadable_record",
    }
    await store.records.update_many({}, {"$set": {"rules_version": 1, "state": '{"province": "IR-20"}'}})
    assert await store.parked.release(RETRIED) == 2
    await settle(store)
    assert [(await record(store, s)).inbox for s in "pq"] == [{"registration": 3}] * 2 and not await parked(store)


# Faults


async def test_a_fault_is_retried_at_once_after_the_fix(store_of: StoreOf) -> None:
    """The retry drains in order what waits behind, and moves the projection."""
    store, tallies = await store_of("reporting", rules=Picky), Tallies()
    Picky.fixed = False
    bad = [message("registration", 1), message("registration", 2, WITHDRAWN), message("registration", 3)]
    await settle(store, bad, projection=tallies.move)
    first = await head(store)
    assert (first.reason, first.sequence, first.behind, first.fault.message) == ("fault", 2, 1, "a bug")

    def later() -> Moment:
        return Moment(NOON + timedelta(hours=1), NOON + timedelta(hours=1))

    assert await store.parked.release(["fault"], sources=[REGISTRATION]) == 1
    await settle(store, projection=tallies.move, clock=later)
    assert await head(store) == first, "a retry without a fix changes nothing, nor since when the event is parked"
    Picky.fixed = True
    assert await store.parked.release(["fault"], sources=[REGISTRATION]) == 1
    await settle(store, projection=tallies.move)
    assert (await record(store)).inbox == {"registration": 3} and not await parked(store)
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 2, ("IR-20", "ApplicantWithdrawn"): 1}
    await settle(store, bad, projection=tallies.move)
    assert sum(tallies.counts.values()) == 3, "repeats of what was parked are repeats"


async def test_a_projection_that_fails_in_a_drain_blocks_its_own_subject_only(store_of: StoreOf) -> None:
    store, tallies, fixed = await store_of("reporting"), Tallies(), False

    async def picky(changes: Sequence[Change], session: Any) -> None:
        if not fixed and any(after.subject == "p5" and after.state.consumed for _, after in changes):
            raise ZeroDivisionError("p5")
        await tallies.move(changes, session)

    subjects = [f"p{n}" for n in range(9)]
    await process(store, [message("registration", 2, subject=s) for s in subjects], {}, noon, picky)
    for subject in subjects:
        assert await insert_parked(store, message("registration", 1, subject=subject), noon)
    await settle(store, projection=picky)
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 16}
    assert list(await parked(store)) == [("p5", "registration")]
    first = await head(store, ("p5", "registration"))
    assert (first.reason, first.fault.error, first.sequence, first.behind) == ("fault", "ZeroDivisionError", 1, 1)
    fixed = True
    await store.parked.release(["fault"])
    await settle(store, projection=picky)
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 18} and not await parked(store)
