"""Operators discard, insert and release parked events while others are parked or drained: every head stays exact."""

import asyncio
import random
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.events import TYPES
from contracts.subjects import partition_of
from kernel.batch import drain, process
from kernel.roles.consumer import RETRIED
from kernel.store import Effects, Snapshot
from recovery.parked_events import discard_one, insert_parked
from tests.support.fixtures import StoreOf
from tests.support.messages import REGISTERED, UNKNOWN_TYPE, message, unknown
from tests.support.parked_events import EVERYWHERE, REGISTRATION, head, parked, record, settle
from tests.support.small_services import POISON, Tallies, noon

RACES = 25


# Operators


async def test_a_discarded_event_lets_what_follows_through(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    await settle(store, [message("registration", 1, field=POISON), *(message("registration", n) for n in (2, 3))])
    assert not await discard_one(store, REGISTRATION, 2, "wrong", "operator:o1", noon, None), "it does not block"
    assert await discard_one(store, REGISTRATION, 1, "nonsense", "operator:o1", noon, None)
    left = await head(store)
    assert (left.sequence, left.reason, left.behind) == (2, "ready", 1)
    await parked(store)
    await settle(store)
    found = await record(store)
    assert found.inbox == {"registration": 3} and found.state.consumed == {"ApplicantRegistered": 2}
    assert [(each.sequence, each.who) for each in found.discarded] == [(1, "operator:o1")]
    assert not await discard_one(store, REGISTRATION, 4, "nothing", "operator:o1", noon, None), "nothing is parked"
    await settle(store, [message("registration", 1, field=POISON)])
    assert await record(store) == found and not await parked(store)


async def test_a_missing_event_can_be_discarded(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    await settle(store, [message("registration", n) for n in (3, 4)])
    assert await discard_one(store, REGISTRATION, 1, "lost", "operator:o1", noon, None)
    assert (await head(store)).reason == "early"
    assert await discard_one(store, REGISTRATION, 2, "lost", "operator:o1", noon, None)
    await settle(store)
    found = await record(store)
    assert found.inbox == {"registration": 4} and [each.sequence for each in found.discarded] == [1, 2]


async def test_a_discard_behind_events_that_were_handled_elsewhere_waits_for_the_drain(store_of: StoreOf) -> None:
    """Otherwise what is parked behind the discarded event would be left without a head."""
    store = await store_of("reporting")
    await settle(store, [message("registration", n) for n in (3, 4, 5, 6, 8, 9)])

    def complete(snapshot: Snapshot) -> Effects:
        before = snapshot.record("p")
        return Effects([(before, replace(before, inbox={"registration": 6}))])

    await store.transact(["p"], complete)
    await discard_one(store, REGISTRATION, 7, "lost", "operator:o1", noon, None)
    await parked(store)
    await store.parked.release(["early"])
    await settle(store)
    await discard_one(store, REGISTRATION, 7, "lost", "operator:o1", noon, None)
    await settle(store)
    assert (await record(store)).inbox == {"registration": 9} and not await parked(store)


async def test_an_event_is_inserted_among_the_parked_ones(store_of: StoreOf) -> None:
    """It is drained if it is the next one, waits if it is early, and is refused if it was handled."""
    store, tallies = await store_of("reporting"), Tallies()
    await settle(store, [message("registration", 1)], projection=tallies.move)
    assert not await insert_parked(store, message("registration", 1), noon) and not await parked(store)
    assert await insert_parked(store, message("registration", 4), noon)
    assert await insert_parked(store, message("registration", 4), noon), "inserted again, it is kept once"
    assert [(await head(store)).reason, (await head(store)).behind] == ["early", 0]
    assert await insert_parked(store, message("registration", 3), noon)
    assert [each.sequence for each in (await parked(store))[REGISTRATION]] == [3, 4]
    assert (await head(store)).reason == "early"
    assert await insert_parked(store, message("registration", 2), noon)
    assert ((await head(store)).reason, (await head(store)).behind) == ("ready", 2)
    await settle(store, projection=tallies.move)
    assert (await record(store)).inbox == {"registration": 4} and not await parked(store)
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 4}


async def test_heads_are_released_by_reason_partition_type_and_source(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    subjects = ["a", "b", "c"]
    await settle(store, [message("registration", 1, subject=s, field=POISON) for s in subjects])
    await settle(store, [unknown(1, subject=f"u{s}") for s in subjects], [message("registration", 2, subject="e")])

    async def released(*reasons: Any, **options: Any) -> list[str]:
        n = await store.parked.release(reasons, **options)
        found = sorted(subject for subject, _ in await store.parked.ready(EVERYWHERE, 99))
        assert len(found) == n
        await settle(store)
        assert not await store.parked.ready(EVERYWHERE, 99), "each is parked again for its reason"
        return found

    assert await released("fault") == subjects
    assert await released("fault", partitions=[partition_of("a")]) == ["a"]
    assert await released("fault", sources=[("b", "registration"), ("c", "screening")]) == ["b"]
    assert await released("fault", types=[UNKNOWN_TYPE]) == []
    assert await released("fault", types=[REGISTERED.TYPE]) == subjects
    assert await released("unknown_type", types=TYPES) == []
    assert await released("unknown_type", types=[UNKNOWN_TYPE]) == ["ua", "ub", "uc"]
    assert await released(*RETRIED, partitions=EVERYWHERE) == ["e"], "faults are not retried by an assignment"
    assert (await head(store, ("e", "registration"))).reason == "early"
    assert [each.subject for each in await store.parked.heads(["fault"], "b")] == ["b"]
    await parked(store)


# Races


async def test_a_discard_and_parking_behind_it_at_the_same_moment(store_of: StoreOf) -> None:
    """Both write the head, so that one of them sees the other: nothing is left that is never drained."""
    store = await store_of("reporting")
    for attempt in range(RACES):
        source = f"s{attempt}", "registration"
        await process(store, [message("registration", 1, subject=source[0], field=POISON)], {}, noon)
        later = [message("registration", n, subject=source[0]) for n in (2, 3)]
        discarded, _ = await asyncio.gather(
            discard_one(store, source, 1, "nonsense", "operator:o1", noon, None), process(store, later, {}, noon)
        )
        assert discarded
        await parked(store)
        await settle(store)
        found = await record(store, source[0])
        assert found.inbox == {"registration": 3} and found.state.consumed == {"ApplicantRegistered": 2}
    assert not await parked(store)


async def test_a_drain_and_parking_behind_it_at_the_same_moment(store_of: StoreOf) -> None:
    """What is parked while a drain runs is drained by it, or has a head afterwards."""
    store, tallies = await store_of("reporting"), Tallies()
    for attempt in range(RACES):
        subject = f"s{attempt}"
        await process(store, [message("registration", n, subject=subject) for n in (2, 3)], {}, noon, tallies.move)
        await process(store, [message("registration", 1, subject=subject)], {}, noon, tallies.move)
        later = [message("registration", n, subject=subject) for n in (4, 5)]
        await asyncio.gather(drain(store, EVERYWHERE, noon), process(store, later, {}, noon))
        await parked(store)
        await settle(store)
        found = await record(store, subject)
        assert found.inbox == {"registration": 5} and found.state.consumed == {"ApplicantRegistered": 5}
    assert not await parked(store)


async def test_behind_is_exact(store_of: StoreOf) -> None:
    """After parking, repeats, discards, insertions and drains in chunks, whatever their order: `parked` counts."""
    store, chance = await store_of("reporting"), random.Random(7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kernel.batch.CHUNK", 5)
        for _ in range(150):
            subject, action = chance.choice("pqr"), chance.randrange(6)
            handled = (await record(store, subject)).inbox.get("registration", 0)
            n = handled + chance.randrange(1, 12)
            events = [message("registration", k, subject=subject, field=_field(k)) for k in range(n, n + 8)]
            if action < 3:
                await process(store, chance.sample(events, 5), {}, noon)
            elif action == 3:
                await insert_parked(store, events[0], noon)
            elif action == 4:
                await discard_one(store, (subject, "registration"), handled + 1, "", "operator:o1", noon, None)
            else:
                await drain(store, EVERYWHERE, noon)
            await parked(store)
    inboxes = [(await record(store, subject)).inbox for subject in "pqr"]
    assert min(inbox["registration"] for inbox in inboxes) > 10, "events were drained, too"


def _field(sequence: int) -> str:
    return POISON if sequence % 17 == 0 else "honey"
