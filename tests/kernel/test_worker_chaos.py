"""Workers are killed, frozen and rebalanced, and the group's offsets are reset: every event counts exactly once."""

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
from tests.support.messages import message
from tests.support.small_services import Register, noon
from tests.support.small_workers import RULES, WITHIN, SmallSystem

pytestmark = pytest.mark.server

REBALANCING = float(os.environ.get("PEYVAND_REBALANCING", "20"))  # seconds


@contextmanager
def processes(small_system: SmallSystem, *services: str) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Start workers as processes; end those that are left."""
    running = [small_system.process(service) for service in services]
    try:
        yield running
    finally:
        for process in running:
            kill(process)
            stop(process, 0)


async def test_workers_are_killed_frozen_and_replaced_over_a_backlog(small_system: SmallSystem) -> None:
    """Each worker is killed, terminated or frozen past its session in turn while it consumes: counts are exact."""
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
                frozen.append(running[victim])  # continues as a zombie, when another worker has its partitions
            running.append(small_system.process(services[victim]))
            services.append(services[victim])
        for process in frozen:
            process.send_signal(signal.SIGCONT)
        await small_system.settles({"ApplicantRegistered": 6_000, "CaseOpened": 6_000}, services=RULES, within=120)
    for service in RULES:
        assert not await small_system.store(service).parked.collection.count_documents({})


async def test_rebalances_while_a_backlog_is_consumed(small_system: SmallSystem) -> None:
    """Members join and leave all the time while events are published: progress continues, and counts are exact."""
    rounds, until = 0, time.monotonic() + REBALANCING

    async def progress() -> bool:
        return (await small_system.tallies().counts()).get("IR-20/ApplicantRegistered", 0) > 3_000

    worker = small_system.start(small_system.worker("reporting"))
    while time.monotonic() < until or not await progress():
        assert time.monotonic() < until + WITHIN, "no progress meanwhile"
        rounds += 1
        await small_system.publish(
            "registration", *(message("registration", rounds, subject=f"p{k}") for k in range(3_000))
        )
        other = small_system.start(small_system.worker("reporting"))
        await asyncio.sleep(0.7)
        await small_system.stop(other)
    await small_system.settles({"ApplicantRegistered": 3_000 * rounds}, within=2 * WITHIN)
    assert not worker.paused


async def test_the_offsets_of_the_group_have_no_effect(small_system: SmallSystem) -> None:
    """They are moved forward and back, and the group is deleted: no event is lost, none is counted twice."""
    topics = [TopicPartition(t, p) for t in small_system.topics.values() for p in range(32)]
    group = ConsumerGroup(  # only for its name
        "reporting",
        small_system.consumes["reporting"],
        small_system.servers.kafka,
        "x",
        resume=_unused,
        revoked=lambda gone: None,
        deliver=_unused,
    ).app.conf.id
    total = 0

    async def publish() -> None:
        nonlocal total
        events = [message("registration", total // 200 + 1, subject=f"p{n}") for n in range(200)]
        await small_system.publish("registration", *events)
        total += 200

    for offset in (0, 1_000_000, 3, None):
        worker = small_system.start(small_system.worker("reporting"))
        await publish()
        await small_system.settles({"ApplicantRegistered": total})
        await small_system.stop(worker)

        def sabotage(offset: int | None = offset) -> None:
            client = KafkaAdminClient(**small_system.servers.kafka.options())
            if offset is None:
                client.delete_groups([group])
            else:
                client.alter_group_offsets(group, {tp: OffsetAndMetadata(offset, "", -1) for tp in topics})
            client.close()

        await publish()
        await asyncio.to_thread(sabotage)
    small_system.start(small_system.worker("reporting"))
    await small_system.settles({"ApplicantRegistered": total})


async def _unused(_: object) -> Any:
    return {}
