"""Consumers find what the log has lost, and take it from the owners: on a real Kafka and MongoDB."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from base.clock import Moment, machine_now
from base.http_client import HttpError
from base.tasks import cancel_and_wait
from contracts.envelope import decode
from contracts.subjects import partition_of
from kernel.commands import execute_many
from kernel.errors import Transient
from kernel.record import Message
from kernel.roles.worker import Worker
from observability import metrics
from recovery.reconciliation import loop as reconciliation
from recovery.reconciliation.loop import ReconciliationLoop
from recovery.reconciliation.owner import OwnRecords
from recovery.reconciliation.results import Comparison, Results
from tests.support.small_services import NOON, Register, Withdraw, noon
from tests.support.small_workers import SmallSystem, counted, exact

pytestmark = pytest.mark.server
CYCLE = 2.0  # seconds
WAIT = 240.0  # seconds at most, on a busy machine
Lost = Callable[[Message], bool]


def reconciling(small_system: SmallSystem, lost: Lost = lambda _: False, cycle: float = CYCLE) -> Worker:
    """Return a worker of reporting that reconciles; the events `lost` are dropped as it consumes them."""
    owners = {source: OwnRecords(small_system.store(source)) for source in ("registration", "screening")}
    loops = {"reconciliation": lambda worker: ReconciliationLoop(worker, owners, cycle)}
    worker = small_system.worker("reporting", loops=loops)
    handle = worker.consumer._handle

    async def losing(records: Sequence[Any], ranges: Any) -> None:
        await handle([each for each in records if not (isinstance(each, Message) and lost(each))], ranges)

    worker.consumer._handle = losing  # type: ignore[method-assign]
    return worker


async def send(small_system: SmallSystem, people: Sequence[str], command: Any, clock: Any = noon) -> None:
    await execute_many(small_system.store("registration"), dict.fromkeys(people, command), clock)


async def comparisons(small_system: SmallSystem) -> list[Comparison]:
    return await Results(small_system.store("reporting").database).all()


async def settled(small_system: SmallSystem, lost: Lost = lambda _: False, *, people: int, **counts: int) -> Worker:
    """Register people, let reporting count them, and return its worker, whose loop compares only when it is called.

    `counts` are the tallies without what is lost; by default all are registered and have a case.
    """
    small_system.start(small_system.worker("registration"))
    small_system.start(small_system.worker("screening"))
    worker = small_system.start(reconciling(small_system, lost, 1e9))
    await send(small_system, [f"p{n}" for n in range(people)], Register())
    counts = counts or {"ApplicantRegistered": people, "CaseOpened": people}
    await small_system.until(counted(small_system, **counts), WAIT)
    return worker


def loop_of(worker: Worker) -> ReconciliationLoop:
    loop = worker.loops["reconciliation"]
    assert isinstance(loop, ReconciliationLoop)
    return loop


async def test_lost_events_are_found_and_handled_while_others_flow(small_system: SmallSystem) -> None:
    """One percent is lost at the end of subjects, so that no later event reveals it. Nothing else raises an alarm."""
    people, flowing = [f"p{n}" for n in range(300)], [f"q{n}" for n in range(400)]
    chosen, dropped = set(Random(1).sample(people, 6)), set[str]()

    def lost(message: Message) -> bool:
        e = message.envelope
        drop = e.source == "registration" and e.sequence == 2 and e.subject in chosen - dropped
        dropped.update({e.subject} if drop else ())
        return drop

    async def flow() -> None:
        for start in range(0, len(flowing), 20):
            await send(small_system, flowing[start : start + 20], Register(), lambda: Moment(NOON, machine_now()))
            await asyncio.sleep(0.2)

    for service in ("registration", "screening"):
        small_system.start(small_system.worker(service))
    small_system.start(reconciling(small_system, lost))
    await send(small_system, people, Register())
    load = asyncio.create_task(flow())
    try:
        await send(small_system, people, Withdraw())
        await load
    finally:
        await cancel_and_wait(load)
    both = len(people) + len(flowing)
    await small_system.settles(
        {"ApplicantRegistered": both, "CaseOpened": both, "ApplicantWithdrawn": len(people)}, within=WAIT
    )
    assert dropped == chosen
    found = await comparisons(small_system)
    assert sum(each.repaired for each in found) == len(chosen)
    assert {each.source for each in found if each.repaired} == {"registration"}
    assert not any(each.disagreement_count for each in found)
    await exact(small_system, [*people, *flowing], 0)


async def test_what_the_owner_does_not_hold_is_shown_and_not_changed(small_system: SmallSystem) -> None:
    """One owner was restored and holds less of a subject; of another one it holds another event."""
    worker = await settled(small_system, people=4)
    counts = await small_system.tallies().counts()
    owner = small_system.store("registration").records
    less = {"$set": {"last_sequence": 0, "last_hash": "", "published": 0, "events": []}}
    assert (await owner.update_one({"_id": "p0"}, less)).modified_count == 1
    event = (await small_system.store("registration").history("p1"))[0]
    other = {"$set": {"events": [event.replace(b'"web"', b'"api"')], "last_hash": "f" * 32}}
    assert (await owner.update_one({"_id": "p1"}, other)).modified_count == 1
    for number in {partition_of(each) for each in ("p0", "p1", "p2", "p3")}:
        await loop_of(worker).compare(number)
    shown = {
        d.subject: (d.kind, d.handled, d.held) for each in await comparisons(small_system) for d in each.disagreements
    }
    assert shown == {"p0": ("owner_behind", 1, 0), "p1": ("differs", 1, 1)}
    assert not any(each.repaired for each in await comparisons(small_system))
    loop_of(worker)._observe()
    assert metrics.RECONCILIATION_DISAGREEMENTS.labels("reporting", "registration")._value.get() == 2
    assert await small_system.tallies().counts() == counts


async def test_a_consumer_that_is_behind_is_not_compared(
    small_system: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has not read yet is not lost."""
    monkeypatch.setattr(reconciliation, "CATCH_UP_TIMEOUT", 0.3)
    worker = await settled(small_system, people=1)
    handle, waits = worker.consumer._handle, asyncio.Event()

    async def waiting(records: Sequence[Any], ranges: Any) -> None:
        await waits.wait()
        await handle(records, ranges)

    worker.consumer._handle = waiting  # type: ignore[method-assign]
    await send(small_system, ["p0"], Withdraw())
    number, log = partition_of("p0"), small_system.store("registration")

    async def published() -> bool:
        return not await log.pending([number], 1)

    await small_system.until(published, WAIT)
    await loop_of(worker).compare(number)
    found = {(each.source, each.partition): each for each in await comparisons(small_system)}["registration", number]
    assert found.at is None and "not been consumed to its end" in found.failure and not found.repaired
    waits.set()
    await small_system.settles({"ApplicantRegistered": 1, "CaseOpened": 1, "ApplicantWithdrawn": 1}, within=WAIT)
    await loop_of(worker).compare(number)
    found = {(each.source, each.partition): each for each in await comparisons(small_system)}["registration", number]
    assert found.at and not found.failure and not found.repaired and not found.buckets


async def test_an_event_of_the_last_minute_is_not_missing_yet(small_system: SmallSystem) -> None:
    dropped = list[Message]()

    def lost(message: Message) -> bool:
        drop = message.envelope.source == "registration" and message.envelope.sequence == 2
        dropped.extend([message] if drop else [])
        return drop

    worker = await settled(small_system, lost, people=1)
    number = partition_of("p0")
    await send(small_system, ["p0"], Withdraw(), lambda: Moment(NOON, machine_now()))

    async def consumed() -> bool:
        return bool(dropped) and await small_system.at_end()

    await small_system.until(consumed, WAIT)
    await loop_of(worker).compare(number)
    assert not any(each.repaired for each in await comparisons(small_system))
    raw = (await small_system.store("registration").history("p0"))[1]
    assert decode(raw).sequence == 2


async def test_a_gap_is_closed_from_the_owner(small_system: SmallSystem) -> None:
    """The lost event has others of its subject behind it, which are parked."""
    dropped = list[Message]()

    def lost(message: Message) -> bool:
        drop = message.envelope.source == "registration" and message.envelope.sequence == 1 and not dropped
        dropped.extend([message] if drop else [])
        return drop

    worker = await settled(small_system, lost, people=1, CaseOpened=1)
    await send(small_system, ["p0"], Withdraw())

    async def parked() -> bool:
        return bool(await small_system.store("reporting").parked.heads(["early"]))

    await small_system.until(parked, WAIT)
    await loop_of(worker).compare(partition_of("p0"))
    await small_system.settles({"ApplicantRegistered": 1, "CaseOpened": 1, "ApplicantWithdrawn": 1}, within=WAIT)
    assert sum(each.repaired for each in await comparisons(small_system)) == len(dropped) == 1


async def test_a_comparison_that_failed_is_repeated_before_its_next_slot(
    small_system: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the owner does not answer, once the database; the other partitions are compared meanwhile."""
    monkeypatch.setattr(reconciliation, "RETRY", 1.0)
    worker = await settled(small_system, people=1)
    owner, asked = loop_of(worker).owners["screening"], Counter[int]()
    digests, failures = owner.digests, {3: [HttpError("no answer"), Transient("a write conflict")]}

    async def failing(number: int, kinds: Any) -> Any:
        asked[number] += 1
        if failures.get(number):
            raise failures[number].pop()
        return await digests(number, kinds)

    monkeypatch.setattr(owner, "digests", failing)
    await Results(small_system.store("reporting").database).request()

    async def compared() -> bool:
        return len([each for each in await comparisons(small_system) if each.at]) == 64

    await small_system.until(compared, WAIT)
    assert asked == {number: 3 if number == 3 else 1 for number in range(32)}
    assert not loop_of(worker).failed and not any(each.failure for each in await comparisons(small_system))


async def test_a_request_is_also_for_partitions_that_are_assigned_later(small_system: SmallSystem) -> None:
    await Results(small_system.store("reporting").database).request()
    worker = await settled(small_system, people=1)

    async def compared() -> bool:
        return len([each for each in await comparisons(small_system) if each.at]) == 64

    await small_system.until(compared, WAIT)
    loop = loop_of(worker)
    loop.started.clear()

    async def assigned_again() -> bool:
        return set(loop.started) == set(range(32))

    await small_system.until(assigned_again)
    assert min(loop.started.values()) > max(each.at.timestamp() for each in await comparisons(small_system) if each.at)


async def test_an_operator_has_everything_compared_at_once(small_system: SmallSystem) -> None:
    worker = await settled(small_system, people=1)
    assert not await comparisons(small_system)
    requested = await Results(small_system.store("reporting").database).request()

    async def compared() -> bool:
        found = await comparisons(small_system)
        return len(found) == 64 and all(each.at and each.at >= requested for each in found)

    await small_system.until(compared, WAIT)
    assert worker.consumer.partitions == frozenset(range(32))
