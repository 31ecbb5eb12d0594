"""The role `archive`: `python -m peyvand.archive` archives the databases that its settings name, until SIGTERM."""

import asyncio
import fcntl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from base.settings import load
from base.tasks import until_one_ends
from observability import metrics
from observability.health import ReadinessReason
from peyvand.archive.archiver import Archiver
from peyvand.archive.frames import archive_key
from peyvand.archive.settings import ArchiveSettings
from run.server import serve_worker

INTERVAL = 1.0  # seconds between two updates of the metrics

log = structlog.get_logger(__name__)


class Archive:
    """The archivers of a process, as far as its health is concerned."""

    def __init__(self, settings: ArchiveSettings, client: AsyncMongoClient[dict[str, Any]]) -> None:
        key = archive_key(settings.archive_key.get_secret_value())
        self.client = client
        self.archivers = [
            Archiver(
                client,
                database,
                settings.archive,
                key,
                base_every=timedelta(days=settings.archive_base_days),
                keep=timedelta(days=settings.archive_keep_days),
            )
            for database in settings.databases.split(",")
        ]

    async def ready(self) -> Sequence[ReadinessReason]:
        """Return what prevents archiving, by database."""
        return [ReadinessReason("archive", each.problem) for each in self.archivers if each.problem]

    async def run(self, stop: asyncio.Event) -> None:
        """Archive until `stop` is set. Raise what ended an archiver."""
        await until_one_ends(stop.wait(), self._measure(), *(each.run() for each in self.archivers))

    async def _measure(self) -> None:
        while True:
            for each in self.archivers:
                metrics.ARCHIVE_LAG.labels(each.database.name).set(each.lag)
            try:
                metrics.OPLOG_WINDOW.set(await oplog_window(self.client))
            except PyMongoError as e:
                log.warning("the oplog's window is unknown", error=e)
            await asyncio.sleep(INTERVAL)


async def oplog_window(client: AsyncMongoClient[dict[str, Any]]) -> float:
    """Return how many seconds the oplog reaches back when it is full, at the rate of what it holds.

    Only its statistics are read: its contents are those of every database.
    """
    held = (await client.admin.command({"serverStatus": 1, "oplog": 1}))["oplog"]
    size = await client.local.command("collStats", "oplog.rs")
    seconds = max(1, held["latestOptime"].time - held["earliestOptime"].time)
    return float(seconds * size["maxSize"] / max(1, size["size"]))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one process. Raise BlockingIOError if another one has it."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


async def _run(settings: ArchiveSettings) -> None:
    url = settings.mongo.get_secret_value()
    async with AsyncMongoClient[dict[str, Any]](
        url, w="majority", journal=True, readConcernLevel="majority", tz_aware=True, timeoutMS=20_000
    ) as client:
        await serve_worker(Archive(settings, client), settings)


def main() -> int:
    """Archive until SIGTERM."""
    settings = load(ArchiveSettings)
    try:
        with _locked(settings.archive):
            asyncio.run(_run(settings))
    except BlockingIOError:
        print(f"peyvand: another process archives to {settings.archive}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
