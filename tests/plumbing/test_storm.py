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

from peyvand.processes import kill, stop
from plumbing.live import Live
from plumbing.store import execute_many
from tests.plumbing.country import Register, noon
from tests.plumbing.running import Country
from tests.plumbing.test_record import message
from tests.plumbing.test_worker import counted

pytestmark = pytest.mark.server

REBALANCING = float(os.environ.get("PEYVAND_REBALANCING", "20"))  # seconds


@contextmanager
def processes(country: Country, *services: str) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Workers as processes of their own; whatever is left of them ends here."""
    running = [country.process(service) for service in services]
    try:
        yield running
    finally:
        for process in running:
            kill(process)
            stop(process, 0)


async def test_killed_stopped_and_replaced_over_a_backlog(country: Country) -> None:
    """Two workers a service, each killed, terminated or frozen past its session in turn while they read: exact."""
    chance, people = random.Random(7), [f"p{n}" for n in range(6_000)]
    for n in range(0, len(people), 500):
        await execute_many(country.store("registration"), dict.fromkeys(people[n : n + 500], Register()), noon)
    services = ["registration", "screening", "screening", "reporting", "reporting"]
    with processes(country, *services) as running:
        frozen: list[subprocess.Popen[bytes]] = []
        for _ in range(8):
            await asyncio.sleep(chance.uniform(1, 3))
            victim = chance.randrange(len(running))
            how = chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
            running[victim].send_signal(how)
            if how == signal.SIGSTOP:
                frozen.append(running[victim])  # wakes as a zombie, when its partitions are another's
            running.append(country.process(services[victim]))
            services.append(services[victim])
        for process in frozen:
            process.send_signal(signal.SIGCONT)
        await country.until(counted(country, ApplicantRegistered=6_000, CaseOpened=6_000), within=120)
        await asyncio.sleep(2)
        assert await counted(country, ApplicantRegistered=6_000, CaseOpened=6_000)()
    assert not await country.store("reporting").records.count_documents({"parked": {"$ne": {}}})


async def test_rebalances_while_a_backlog_is_read(country: Country) -> None:
    """Members come and go the whole time, and more is said; progress continues, and the end is exact."""
    rounds, until = 0, time.monotonic() + REBALANCING
    worker = country.start(country.worker("reporting"))
    while time.monotonic() < until:
        rounds += 1
        await country.say("registration", *(message("registration", rounds, subject=f"p{k}") for k in range(3_000)))
        other = country.start(country.worker("reporting"))
        await asyncio.sleep(0.7)
        await country.stop(other)
    assert (await country.tallies().counts()).get("IR-20/ApplicantRegistered", 0) > 3_000, "no progress meanwhile"
    await country.until(counted(country, ApplicantRegistered=3_000 * rounds), within=60)
    await country.until(country.at_end)
    assert not worker.paused


async def test_the_groups_offsets_mean_nothing(country: Country) -> None:
    """Wound forward, wound back, the group deleted: no event is lost, none is counted twice."""
    topics = [TopicPartition(t, p) for t in country.topics.values() for p in range(32)]
    group = Live(  # only to know its name
        "reporting",
        country.hears["reporting"],
        country.parts.kafka,
        "x",
        resume=_nowhere,
        revoked=lambda gone: None,
        deliver=_nowhere,
    ).app.conf.id
    total = 0
    for offset in (0, 1_000_000, 3, None):
        worker = country.start(country.worker("reporting"))
        await country.say(
            "registration", *(message("registration", total // 200 + 1, subject=f"p{n}") for n in range(200))
        )
        total += 200
        await country.until(counted(country, ApplicantRegistered=total))
        await country.stop(worker)

        def sabotage(offset: int | None = offset) -> None:
            client = KafkaAdminClient(bootstrap_servers=country.parts.kafka)
            if offset is None:
                client.delete_groups([group])
            else:
                client.alter_group_offsets(group, {tp: OffsetAndMetadata(offset, "", -1) for tp in topics})
            client.close()

        await country.say(
            "registration", *(message("registration", total // 200 + 1, subject=f"p{n}") for n in range(200))
        )
        total += 200
        await asyncio.to_thread(sabotage)
    country.start(country.worker("reporting"))
    await country.until(counted(country, ApplicantRegistered=total))
    await country.until(country.at_end)


async def _nowhere(_: object) -> Any:
    return {}
