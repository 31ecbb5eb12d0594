"""The watchdog: what counts as not served or not moving, and a real worker that hangs is ended."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

import kernel.roles.watchdog as module
from kernel.roles.watchdog import LIMIT, NotServed, Stalled, Watchdog
from tests.support.messages import message
from tests.support.small_workers import SmallSystem

A, B = TopicPartition("a", 0), TopicPartition("b", 0)


def overdue(*looks: tuple[float, dict[TopicPartition, int | None], int], limit: float = LIMIT) -> list[TopicPartition]:
    """Return what is overdue at the last of these looks: seconds, cursors, attempts. Both logs end at 10."""
    stalled, found = Stalled(), list[TopicPartition]()
    for seconds, cursors, attempts in looks:
        found = stalled.overdue(cursors, {A: 10, B: 10}, attempts, seconds, limit)
    return found


def test_an_owned_partition_that_is_not_served_is_overdue() -> None:
    """Batches of others do not help it."""
    assert overdue((0, {A: None, B: 10}, 1), (LIMIT - 1, {A: None, B: 10}, 2)) == []
    assert overdue((0, {A: None, B: 10}, 1), (LIMIT, {A: None, B: 10}, 9)) == [A]
    assert overdue((0, {A: None}, 1), (LIMIT, {A: None}, 1), limit=10 * LIMIT) == [A]


def test_a_partition_that_is_behind_and_does_not_move_is_overdue() -> None:
    assert overdue((0, {A: 3, B: 10}, 1), (LIMIT, {A: 3, B: 10}, 1)) == [A]


@pytest.mark.parametrize(
    "later",
    [
        {"cursors": {A: 4}, "attempts": 1},  # it moved
        {"cursors": {A: 3}, "attempts": 2},  # others are handled, or an attempt failed and is retried
        {"cursors": {A: 10}, "attempts": 1},  # it is at the end
        {"cursors": {}, "attempts": 1},  # it was taken away
    ],
)
def test_what_moves_is_not_overdue(later: dict[str, Any]) -> None:
    assert overdue((0, {A: 3}, 1), (LIMIT, later["cursors"], later["attempts"])) == []


def test_a_partition_is_given_its_time_from_the_moment_at_which_it_is_taken_over() -> None:
    assert overdue((0, {A: None}, 1), (LIMIT - 1, {A: 3}, 1), (LIMIT + 1, {A: 3}, 1)) == []


class StandingWorker:
    """Owns a partition, is behind, and does not move; the broker answers the watchdog, or not."""

    service, paused, broker_is_away = "reporting", "", False
    owned: frozenset[TopicPartition] | None = frozenset([A])

    def __init__(self) -> None:
        self.group = self.watch = self.store = self
        self.consumer, self.writing = SimpleNamespace(cursors={A: 3}, broken={}, attempts=1), asyncio.Lock()

    async def owned_by_broker(self) -> frozenset[TopicPartition] | None:
        return self.owned

    async def ends(self, tps: Any) -> dict[TopicPartition, int]:
        if self.broker_is_away:
            raise KafkaTimeoutError
        return {A: 10}

    async def cursors(self, tps: Any) -> dict[TopicPartition, int]:
        return {A: 3}


async def test_a_worker_that_could_not_move_is_not_ended_when_the_broker_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However long the outage: it has its time from then on."""
    monkeypatch.setattr(module, "LIMIT", 0.1)
    monkeypatch.setattr(module, "PAUSE", 0.02)
    worker: Any = StandingWorker()
    look = Watchdog(worker)
    await look()
    worker.broker_is_away = True
    for _ in range(3):
        with pytest.raises(KafkaTimeoutError):
            await look()
        await asyncio.sleep(0.1)
    worker.broker_is_away = False
    await look()
    with pytest.raises(NotServed):
        for _ in range(9):
            await asyncio.sleep(await look())


@pytest.mark.parametrize("waits", ["transaction", "paused", "rebalance", "broken log"])
async def test_a_worker_that_has_a_reason_to_stand_still_is_not_ended(
    monkeypatch: pytest.MonkeyPatch, waits: str
) -> None:
    monkeypatch.setattr(module, "LIMIT", 0.1)
    monkeypatch.setattr(module, "PAUSE", 0.02)
    monkeypatch.setattr(module, "TRANSACTION_LIMIT", 0.3)
    worker: Any = StandingWorker()
    if waits == "transaction":
        await worker.writing.acquire()
    elif waits == "paused":
        worker.paused = "a fault"
    elif waits == "rebalance":
        worker.owned = None
    else:
        worker.consumer.broken = {A: "the log was truncated"}
    look = Watchdog(worker)
    for _ in range(9):
        await asyncio.sleep(await look())
    if waits == "transaction":
        with pytest.raises(NotServed):
            for _ in range(20):
                await look()


@pytest.mark.server
async def test_a_worker_whose_assignment_hangs_ends(small_system: SmallSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its request for topic ids is never answered, as in the chaos run that stood still."""
    monkeypatch.setattr(module, "LIMIT", 2.0)
    monkeypatch.setattr(module, "PAUSE", 0.5)
    worker = small_system.worker("reporting")

    async def never(_: Any) -> Any:
        await asyncio.Event().wait()

    worker.consumer.topic_ids = never
    with pytest.raises(NotServed, match="not served for 2 s: 64"):
        await asyncio.wait_for(worker.run(asyncio.Event()), 60)


@pytest.mark.server
async def test_a_worker_whose_consumption_hangs_ends(
    small_system: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its partitions are served, and behind: nothing is read any more."""
    worker = small_system.worker("reporting")
    running = asyncio.create_task(worker.run(asyncio.Event()))

    async def served() -> bool:
        return len(worker.consumer.cursors) == 64

    await small_system.until(served)
    monkeypatch.setattr(module, "LIMIT", 2.0)
    monkeypatch.setattr(module, "PAUSE", 0.5)

    async def never(_: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(worker.consumer, "step", never)
    await small_system.publish("registration", *(message("registration", 1, subject=f"p{n}") for n in range(9)))
    with pytest.raises(NotServed, match=r"behind and not moving: [1-9]"):
        await asyncio.wait_for(running, 60)
