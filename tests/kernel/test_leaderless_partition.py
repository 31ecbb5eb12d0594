"""One partition has no leader: the others are published, consumed and assigned as before, and nothing is lost."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from contracts.subjects import PARTITIONS, partition_of
from kernel.commands import execute_many
from kernel.kafka import relay as relay_module
from kernel.kafka.relay import Delivery
from tests.support.second_broker import SecondBroker
from tests.support.servers import started
from tests.support.small_services import Register, noon
from tests.support.small_workers import RULES, SmallSystem

pytestmark = pytest.mark.server

SECONDS = float(os.environ.get("PEYVAND_LEADERLESS_SECONDS", "12"))
DEAD = frozenset(range(int(os.environ.get("PEYVAND_LEADERLESS_PARTITIONS", "1"))))


@pytest.fixture
async def two_brokers(tmp_path: Path) -> AsyncIterator[tuple[SmallSystem, SecondBroker]]:
    """Prepare the small services on a cluster whose second broker alone holds the partitions `DEAD`."""
    with started(tmp_path) as servers:
        second, small_system = SecondBroker(servers, tmp_path), SmallSystem(servers)
        await asyncio.to_thread(second.create_group_topic)
        await asyncio.to_thread(second.start)
        try:
            await asyncio.to_thread(second.create_topics, list(small_system.topics.values()), DEAD, PARTITIONS)
            for service in RULES:
                await small_system.store(service).create_indexes()
            yield small_system, second
            await small_system.close()
        finally:
            second.end()


class Load:
    """Registers people, and waits until those outside of the dead partitions are counted."""

    def __init__(self, small_system: SmallSystem) -> None:
        self.small_system, self.people, self.missing = small_system, 0, 0

    async def run(self, seconds: float, *, dead: bool) -> None:
        """Register batch after batch, each when the one before is counted."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            batch = [f"p{self.people + n}" for n in range(64)]
            self.people += len(batch)
            self.missing += sum(partition_of(each) in DEAD for each in batch) if dead else 0
            await execute_many(self.small_system.store("registration"), dict.fromkeys(batch, Register()), noon)
            await self.small_system.until(self._counted)

    async def _counted(self) -> bool:
        counted = (await self.small_system.tallies().counts()).get("IR-20/ApplicantRegistered", 0)
        return counted >= self.people - self.missing


@pytest.fixture
def waited_for(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the partitions for which a pass of the relay waited in vain, once for each pass."""
    found, wait = list[int](), relay_module._wait

    def waiting(deliveries: Sequence[Delivery], seconds: float) -> None:
        wait(deliveries, seconds)
        found.extend({d.record.partition for d in deliveries if not all(each.is_done for each in d.acknowledgements)})

    monkeypatch.setattr(relay_module, "_wait", waiting)
    return found


async def test_one_partition_without_leader_stops_no_other(
    two_brokers: tuple[SmallSystem, SecondBroker], waited_for: list[int]
) -> None:
    """Each dead partition keeps one pass of the relay waiting; after that nothing waits for it again."""
    small_system, second = two_brokers
    relay = small_system.start(small_system.worker("registration"))
    first = small_system.start(small_system.worker("reporting"))
    load = Load(small_system)
    await load.run(SECONDS / 4, dead=False)
    await asyncio.to_thread(second.kill)
    waited_for.clear()
    await load.run(SECONDS, dead=True)
    assert load.missing, "some people are in the dead partitions"
    assert sorted(each for each in waited_for if each in DEAD) == sorted(DEAD)

    async def reported() -> bool:
        reasons = {each.code for worker in (relay, first) for each in await worker.ready()}
        return bool(reasons & {"log_unanswered", "not_acknowledged"})

    await small_system.until(reported)
    later = small_system.start(small_system.worker("reporting"))  # assigned while they have no leader

    async def shared() -> bool:
        return bool(later.consumer.cursors) and bool(first.consumer.cursors)

    await small_system.until(shared)
    await load.run(1, dead=True)
    await asyncio.to_thread(second.start)
    await small_system.settles({"ApplicantRegistered": load.people}, within=90)

    async def ready() -> bool:
        return [each for worker in (relay, first, later) for each in await worker.ready()] == []

    await small_system.until(ready)
