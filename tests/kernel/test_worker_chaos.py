"""Attacks on workers of the small country: whatever is killed, wound back or moved, everything is counted once."""

import asyncio
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.structs import OffsetAndMetadata

from kernel.commands import execute_many
from kernel.kafka.consumer_group import ConsumerGroup
from peyvand.local_cluster.processes import kill, stop
from tests.kernel.test_record import message
from tests.kernel.test_worker import counted
from tests.support.small_services import Register, noon
from tests.support.small_workers import SmallSystem

pytestmark = pytest.mark.server

REBALANCING = float(os.environ.get("PEYVAND_REBALANCING", "20"))  # seconds


@contextmanager
def processes(small_system: SmallSystem, *services: str) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Workers as processes of their own; whatever is left of them ends here."""
    running = [small_system.process(service) for service in services]
    try:
        yield running
    finally:
        for process in running:
            kill(process)
            stop(process, 0)


async def test_killed_stopped_and_replaced_over_a_backlog(small_system: SmallSystem) -> None:
    """Two workers a service, each killed, terminated or frozen past its session in turn while they read: exact."""
    chance, people = random.Random(7), [f"p{n}" for n in range(6_000)]
    for n in range(0, len(people), 500):
        await execute_many(small_system.store("registration"), dict.fromkeys(people[n : n + 500], Register()), noon)
    services = ["registration", "screening", "screening", "reporting", "reporting"]
    with processes(small_system, *services) as running:
        frozen: list[subprocess.Popen[bytes]] = []
        for _ in range(8):
            await asyncio.sleep(chance.uniform(1, 3))
            victim = chance.randrange(len(running))
            how = chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
            running[victim].send_signal(how)
            if how == signal.SIGSTOP:
                frozen.append(running[victim])  # wakes as a zombie, when its partitions are another's
            running.append(small_system.process(services[victim]))
            services.append(services[victim])
        for process in frozen:
            process.send_signal(signal.SIGCONT)
        await small_system.until(counted(small_system, ApplicantRegistered=6_000, CaseOpened=6_000), within=120)
        await asyncio.sleep(2)
        assert await counted(small_system, ApplicantRegistered=6_000, CaseOpened=6_000)()
    assert not await small_system.store("reporting").records.count_documents({"parked": {"$ne": {}}})


async def test_rebalances_while_a_backlog_is_read(small_system: SmallSystem) -> None:
    """Members come and go the whole time, and more is said; progress continues, and the end is exact."""
    rounds, until = 0, time.monotonic() + REBALANCING
    worker = small_system.start(small_system.worker("reporting"))
    while time.monotonic() < until:
        rounds += 1
        await small_system.say(
            "registration", *(message("registration", rounds, subject=f"p{k}") for k in range(3_000))
        )
        other = small_system.start(small_system.worker("reporting"))
        await asyncio.sleep(0.7)
        await small_system.stop(other)
    assert (await small_system.tallies().counts()).get("IR-20/ApplicantRegistered", 0) > 3_000, "no progress meanwhile"
    await small_system.until(counted(small_system, ApplicantRegistered=3_000 * rounds), within=60)
    await small_system.until(small_system.at_end)
    assert not worker.paused


async def test_the_groups_offsets_mean_nothing(small_system: SmallSystem) -> None:
    """Wound forward, wound back, the group deleted: no event is lost, none is counted twice."""
    topics = [TopicPartition(t, p) for t in small_system.topics.values() for p in range(32)]
    group = ConsumerGroup(  # only to know its name
        "reporting",
        small_system.hears["reporting"],
        small_system.servers.kafka,
        "x",
        resume=_nowhere,
        revoked=lambda gone: None,
        deliver=_nowhere,
    ).app.conf.id
    total = 0
    for offset in (0, 1_000_000, 3, None):
        worker = small_system.start(small_system.worker("reporting"))
        await small_system.say(
            "registration", *(message("registration", total // 200 + 1, subject=f"p{n}") for n in range(200))
        )
        total += 200
        await small_system.until(counted(small_system, ApplicantRegistered=total))
        await small_system.stop(worker)

        def sabotage(offset: int | None = offset) -> None:
            client = KafkaAdminClient(bootstrap_servers=small_system.servers.kafka)
            if offset is None:
                client.delete_groups([group])
            else:
                client.alter_group_offsets(group, {tp: OffsetAndMetadata(offset, "", -1) for tp in topics})
            client.close()

        await small_system.say(
            "registration", *(message("registration", total // 200 + 1, subject=f"p{n}") for n in range(200))
        )
        total += 200
        await asyncio.to_thread(sabotage)
    small_system.start(small_system.worker("reporting"))
    await small_system.until(counted(small_system, ApplicantRegistered=total))
    await small_system.until(small_system.at_end)


async def _nowhere(_: object) -> Any:
    return {}
