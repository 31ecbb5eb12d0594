"""Backup, loss and restore of the stores of a small system."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition

from contracts.subjects import PARTITIONS
from kernel.kafka.log_reader import LogReader
from kernel.roles.worker import Worker
from peyvand import store_backup
from peyvand.store_backup import Manifest
from tests.support.small_workers import RULES, SmallSystem


def no_progress(*_: Any) -> None:
    """Show no progress."""


async def start_all(small_system: SmallSystem) -> None:
    """Start one worker of each service."""
    for service in RULES:
        small_system.start(small_system.worker(service))


async def stop_all(small_system: SmallSystem) -> None:
    """Stop all workers."""
    for worker in list(small_system.running):
        await small_system.stop(worker)


async def until_ready(small_system: SmallSystem) -> None:
    """Wait until all workers are ready."""

    async def ready() -> bool:
        return not [reason for worker in small_system.running for reason in await worker.ready()]

    await small_system.until(ready, within=60)


async def until_reason(small_system: SmallSystem, worker: Worker, text: str) -> None:
    """Wait until a worker is not ready for this reason."""

    async def given() -> bool:
        return any(text in reason.text for reason in await worker.ready())

    await small_system.until(given)


async def log_ends(small_system: SmallSystem) -> Mapping[str, int]:
    """Return the end offset of each partition: `topic/partition` -> offset."""
    reader = LogReader(small_system.servers.kafka, "test")
    try:
        tps = [TopicPartition(t, p) for t in small_system.topics.values() for p in range(PARTITIONS)]
        return {f"{tp.topic}/{tp.partition}": end for tp, end in (await reader.ends(tps)).items()}
    finally:
        await reader.stop()


async def back_up(small_system: SmallSystem, folder: Path, *services: str) -> Manifest:
    """Back up the stores of these services, by default of all."""
    databases = {f"{small_system.name}_{s}": small_system.topics.get(s, "") for s in services or RULES}
    ends, url = await log_ends(small_system), small_system.servers.mongo
    return await asyncio.to_thread(store_backup.backup, url, folder, databases, ends, no_progress)


async def lose(small_system: SmallSystem, *services: str) -> None:
    """Drop the stores of these services, by default of all."""
    for service in services or RULES:
        await small_system.client.drop_database(f"{small_system.name}_{service}")


async def restore(small_system: SmallSystem, folder: Path) -> None:
    """Restore a backup. Raise CommandError."""
    await asyncio.to_thread(store_backup.restore, small_system.servers.mongo, folder, no_progress)
