"""One partition has no leader: the others are published, consumed and assigned as before, and nothing is lost."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

import pytest

from contracts.subjects import PARTITIONS, partition_of
from kernel.commands import execute_many
from tests.support.second_broker import SecondBroker
from tests.support.servers import started
from tests.support.small_services import Register, noon
from tests.support.small_workers import RULES, SmallSystem

pytestmark = pytest.mark.server

SECONDS = float(os.environ.get("PEYVAND_LEADERLESS_SECONDS", "12"))
DEAD = frozenset(range(int(os.environ.get("PEYVAND_LEADERLESS_PARTITIONS", "1"))))
RATIO = 3.0  # of the median before and during; `make bench` measures p99 on a machine of its own


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
    """Registers people, and measures how long it takes until those outside of the dead partitions are counted."""

    def __init__(self, small_system: SmallSystem) -> None:
        self.small_system, self.people, self.missing = small_system, 0, 0

    async def run(self, seconds: float, *, dead: bool) -> list[float]:
        """Register batch after batch; return the seconds from each one's registration to its last count."""
        took, until = list[float](), time.monotonic() + seconds
        while time.monotonic() < until:
            batch = [f"p{self.people + n}" for n in range(64)]
            self.people += len(batch)
            self.missing += sum(partition_of(each) in DEAD for each in batch) if dead else 0
            began = time.monotonic()
            await execute_many(self.small_system.store("registration"), dict.fromkeys(batch, Register()), noon)
            await self.small_system.until(self._counted, within=30)
            took.append(time.monotonic() - began)
        return took

    async def _counted(self) -> bool:
        counted = (await self.small_system.tallies().counts()).get("IR-20/ApplicantRegistered", 0)
        return counted >= self.people - self.missing


async def test_one_partition_without_leader_stops_no_other(two_brokers: tuple[SmallSystem, SecondBroker]) -> None:
    small_system, second = two_brokers
    relay = small_system.start(small_system.worker("registration"))
    first = small_system.start(small_system.worker("reporting"))
    load = Load(small_system)
    await load.run(1, dead=False)
    before = await load.run(SECONDS / 2, dead=False)
    await asyncio.to_thread(second.kill)
    during = await load.run(SECONDS, dead=True)
    assert load.missing, "some people are in the dead partitions"
    assert median(during) <= RATIO * median(before), (median(before), median(during))
    reasons = {each.code for worker in (relay, first) for each in await worker.ready()}
    assert "log_unanswered" in reasons or "not_acknowledged" in reasons
    later = small_system.start(small_system.worker("reporting"))  # assigned while they have no leader

    async def shared() -> bool:
        return bool(later.consumer.cursors) and bool(first.consumer.cursors)

    await small_system.until(shared)
    await load.run(1, dead=True)
    await asyncio.to_thread(second.start)
    await small_system.settles({"ApplicantRegistered": load.people}, within=90)

    async def ready() -> bool:
        return [each for worker in (relay, first, later) for each in await worker.ready()] == []

    await small_system.until(ready, within=30)
