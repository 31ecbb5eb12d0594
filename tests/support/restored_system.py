"""Archive, loss and restore of the stores of a small system."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from base.clock import machine_now
from base.tasks import cancel_and_wait
from kernel.roles.worker import Worker
from kernel.stores.mongodb import connect
from peyvand.archive import restore as archive
from peyvand.archive.archiver import Archiver
from peyvand.archive.frames import archive_key
from peyvand.archive.restore import RestorePoint, restore_point
from tests.support.small_workers import RULES, SmallSystem

KEY = archive_key("of-the-tests")


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


async def back_up(small_system: SmallSystem, folder: Path, *services: str) -> dict[str, RestorePoint]:
    """Archive the stores of these services, by default of all, until what they hold now is archived."""
    client = connect(small_system.servers.mongo)
    now, names = machine_now(), [f"{small_system.name}_{each}" for each in services or RULES]
    archivers = [Archiver(client, name, folder, KEY) for name in names]
    tasks = [asyncio.create_task(each.run()) for each in archivers]

    async def archived() -> bool:
        return all(each.usable and each.archived_at > now for each in archivers)

    async with AsyncExitStack() as cleanup:
        cleanup.push_async_callback(client.close)
        cleanup.push_async_callback(cancel_and_wait, *tasks)
        await small_system.until(archived, within=60)
    return points(small_system, folder)


def points(small_system: SmallSystem, folder: Path) -> dict[str, RestorePoint]:
    """Return what an archive holds of each database. Raise CommandError."""
    return {each.name: restore_point(each, KEY, None) for each in sorted(folder.iterdir())}


async def lose(small_system: SmallSystem, *services: str) -> None:
    """Drop the stores of these services, by default of all."""
    for service in services or RULES:
        await small_system.client.drop_database(f"{small_system.name}_{service}")


async def restore(small_system: SmallSystem, folder: Path) -> None:
    """Restore an archive. Raise CommandError."""
    found = await asyncio.to_thread(points, small_system, folder)
    topics = {name: small_system.topics.get(name.rpartition("_")[2], "") for name in found}
    await asyncio.to_thread(archive.restore, small_system.servers.mongo, found, topics, no_progress)
