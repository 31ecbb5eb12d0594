"""Parked events at the edges: unreadable records, operators beside a worker, strange subjects, failing transactions."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

import kernel.batch
from contracts.subjects import partition_of
from kernel.batch import SOURCES, CircuitBreaker, drain, process
from kernel.errors import Conflict, Fenced, Transient
from kernel.record import BLOCKED, LogPosition, Message
from kernel.roles.consumer import RETRIED
from kernel.stores.mongodb import MongoStore
from recovery.parked_events import discard_one, insert_parked
from tests.support.fixtures import StoreOf
from tests.support.messages import message
from tests.support.parked_events import EVERYWHERE, REGISTRATION, head, parked, record, settle
from tests.support.small_services import POISON, ReportingRules, noon

only_mongodb = pytest.mark.parametrize("store_of", [pytest.param("mongodb", marks=pytest.mark.server)], indirect=True)
TOPIC = "peyvand.registration"


def at(n: int, subject: str) -> Message:
    """Return an event with a position, as the operators' API has it."""
    m = message("registration", n, subject=subject)
    return Message(m.envelope, m.raw, LogPosition(TOPIC, 0, n))


@only_mongodb
async def test_events_of_an_unreadable_record_are_all_handled_once_it_is_readable(store_of: StoreOf) -> None:
    """Only the next event bears the reason: what is parked behind it must not stop the drain again."""
    store, events = await store_of("reporting"), kernel.batch.CHUNK + 100
    await settle(store, [message("registration", 1)])
    await store.records.update_many({}, {"$set": {"rules_version": 9}})
    await settle(store, [message("registration", n) for n in range(2, events + 1)])
    assert Counter(each.reason for each in (await parked(store))[REGISTRATION]) == {
        "newer_rules": 1, "early": events - 2
    }  # fmt: skip
    await store.records.update_many({}, {"$set": {"rules_version": 1}})
    assert await store.parked.release(RETRIED) == 1
    await settle(store)
    assert (await record(store)).inbox == {"registration": events} and not await parked(store)


@only_mongodb
@pytest.mark.parametrize("broken", [{"private": {"newer": 1}}, {"state": "{"}, {"discarded": [{"second": "field"}]}])
async def test_a_broken_document_concerns_its_own_subject_only(store_of: StoreOf, broken: dict[str, Any]) -> None:
    store = await store_of("reporting")
    await settle(store, [message("registration", 1, subject=s) for s in "pq"])
    await store.records.update_one({"_id": "p"}, {"$set": broken})
    await settle(store, [message("registration", 2, subject=s) for s in "pq"])
    assert (await record(store, "q")).inbox == {"registration": 2}
    (found,) = await store.parked.heads(BLOCKED)
    assert (found.subject, found.reason) == ("p", "unreadable_record")


@only_mongodb
async def test_events_of_a_kind_that_only_a_newer_version_handles_wait_for_it(store_of: StoreOf) -> None:
    """After a rollback: the record is there, the rules are not."""
    store = await store_of("reporting")
    store.rules = {"applicant": ReportingRules, "group": ReportingRules}
    await settle(store, [message("registration", n, subject="group:1") for n in (1, 3)])
    newer, store.rules = store.rules, {"applicant": ReportingRules}
    for _ in range(2):
        assert await store.parked.release(RETRIED) == 1
        await settle(store, [message("registration", 1)])
        assert (await head(store, ("group:1", "registration"))).reason == "newer_rules"
    store.rules = newer
    await store.parked.release(RETRIED)
    await settle(store, [message("registration", 2, subject="group:1")])
    assert (await record(store, "group:1")).inbox == {"registration": 3} and not await parked(store)


async def test_subjects_that_look_like_ids_keep_to_themselves(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    subjects = ["p", "p/registration/0000000001x", "p/registration/1", "p@1", "p/registration"]
    await settle(store, [message("registration", n, subject=s) for s in subjects for n in (2, 3)])
    for done, subject in enumerate(subjects, 1):
        await settle(store, [message("registration", 1, subject=subject)])
        assert (await record(store, subject)).inbox == {"registration": 3}
        assert len(await parked(store)) == len(subjects) - done


@only_mongodb
async def test_an_event_inserted_beside_its_worker_leaves_one_head(store_of: StoreOf) -> None:
    """They write no document in common but the cursor: the insertion conflicts on it."""
    store = await store_of("reporting")
    cursors = Counter[tuple[str, int]]()

    async def deliver(n: int, subject: str) -> None:
        tp = TOPIC, partition_of(subject)
        await store.cursors([tp])
        await process(store, [at(n, subject)], {tp: (cursors[tp], cursors[tp] + 1)}, noon)
        cursors[tp] += 1

    for attempt in range(25):
        ahead, following = f"a{attempt}", f"b{attempt}"
        await asyncio.gather(insert_parked(store, at(5, ahead), noon), deliver(6, ahead))
        await asyncio.gather(insert_parked(store, at(2, following), noon), deliver(1, following))
        await parked(store)
        await settle(store, [message("registration", n, subject=ahead) for n in range(1, 5)])
        for subject, last in ((ahead, 6), (following, 2)):
            assert (await record(store, subject)).inbox == {"registration": last}, subject
    assert not await parked(store)


async def test_an_event_that_is_ready_is_handled_and_not_discarded(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    await process(store, [message("registration", 1, field=POISON)], {}, noon)
    await store.parked.release(["fault"])
    assert not await discard_one(store, REGISTRATION, 1, "nonsense", "operator:o1", noon, None)
    await settle(store)
    assert await discard_one(store, REGISTRATION, 1, "nonsense", "operator:o1", noon, None)


async def test_a_head_that_was_drained_meanwhile_is_not_blocked(
    store_of: StoreOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await store_of("reporting")
    await process(store, [message("registration", n) for n in (2, 3)], {}, noon)
    await process(store, [message("registration", 1)], {}, noon)
    failing = kernel.batch.drain_sources

    async def drained_elsewhere(*args: Any) -> None:
        try:
            await failing(*args)
        except Exception:
            await failing(store, [REGISTRATION], noon, None, CircuitBreaker())
            await process(store, [message("registration", 6)], {}, noon)
            raise

    async def projection(*_: Any) -> None:
        raise RuntimeError("down")

    monkeypatch.setattr(kernel.batch, "drain_sources", drained_elsewhere)
    await drain(store, EVERYWHERE, noon, projection)
    assert (await head(store)).reason == "early"
    await settle(store, [message("registration", n) for n in (4, 5)])
    assert (await record(store)).inbox == {"registration": 6} and not await parked(store)


async def test_a_drain_goes_on_beside_a_busy_subject(store_of: StoreOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conflict that does not end concerns one subject: the others are drained."""
    store = await store_of("reporting")
    subjects = [f"p{n}" for n in range(10)]
    await process(store, [message("registration", n, subject=s) for s in subjects for n in (2, 3)], {}, noon)
    await process(store, [message("registration", 1, subject=s) for s in subjects], {}, noon)
    transact = type(store).transact

    async def busy(self: Any, touched: Any, *args: Any, **options: Any) -> Any:
        if "p7" in touched:
            raise Conflict("p7")
        return await transact(self, touched, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(type(store), "transact", busy)
        for _ in range(2):
            with pytest.raises(Conflict):
                await drain(store, EVERYWHERE, noon)
    left = await store.parked.ready(EVERYWHERE, SOURCES)
    assert 0 < len(left) < 10 and ("p7", "registration") in left
    await settle(store)
    assert not await parked(store)


async def test_what_a_half_stores_while_the_projection_is_checked_is_reported(store_of: StoreOf) -> None:
    store = await store_of("reporting")

    async def projection(changes: Any, _: Any = None) -> None:
        if any(after.subject == "a" for _, after in changes):
            raise RuntimeError("a")

    subjects = ["a", "b", "g", "h"]
    written = await process(store, [message("registration", 1, subject=s) for s in subjects], {}, noon, projection)
    assert sorted(after.subject for _, after in written.changes) == ["b", "g", "h"]
    assert [each.subject for each in written.parked] == ["a"]


async def test_an_insertion_is_repeated_when_the_worker_moves_the_cursor(
    store_of: StoreOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, attempts = await store_of("reporting"), 0
    transact = type(store).transact

    async def fenced_once(self: Any, *args: Any, **options: Any) -> Any:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise Fenced
        return await transact(self, *args, **options)

    monkeypatch.setattr(type(store), "transact", fenced_once)
    assert await insert_parked(store, at(2, "p"), noon) and attempts == 2
    assert (await head(store)).sequence == 2 and replace(await head(store), raw=b"") == await head(store)
    assert isinstance(store, MongoStore) or store.parked.by_source[REGISTRATION][2].raw


async def test_an_insertion_beside_a_busy_worker_ends(store_of: StoreOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator is asked to retry later; nothing is stored."""
    store = await store_of("reporting")
    monkeypatch.setattr("recovery.parked_events.ATTEMPT_TIMEOUT", 0.01)

    async def fenced(*_: Any, **__: Any) -> Any:
        raise Fenced

    with monkeypatch.context() as patched:
        patched.setattr(type(store), "transact", fenced)
        with pytest.raises(Transient, match="busy"):
            await insert_parked(store, at(2, "p"), noon)
    assert not await parked(store)
