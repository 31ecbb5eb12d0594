"""What an intake refuses when its store holds all it can: 503 and when to come again, before anything is taken.

Intake does not stop because Kafka is away: what was emitted waits in its records. It stops on volume and on disk. How
long the oldest has waited only alarms.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog
from fastapi import Depends
from starlette.requests import Request

from contracts.commands import Refused
from contracts.subjects import PARTITIONS
from kernel.errors import Transient
from kernel.store import Store
from kernel.stores.mongodb import MongoStore, translate_errors
from observability import metrics
from security.auth import authorized_principal

KEPT = 1.0  # seconds for which an answer holds
SHARE = 10  # times what it cost: counting two hundred thousand takes a quarter of a second
DISK_KEPT = 10.0  # looking at the disk costs more
RETRY_AFTER = 30  # seconds
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.get_logger(__name__)


class Load(Protocol):
    """What a store is asked before it is given more."""

    async def unsent(self, most: int) -> int:
        """Subjects with events that Kafka does not have, counted up to `most`. Raises Transient."""

    async def free(self) -> int:
        """Free megabytes of the disk. Raises Transient."""


class MongoLoad:
    """Asks MongoDB: an index alone answers, and the disk's free space is in its statistics."""

    def __init__(self, store: MongoStore) -> None:
        self.records, self.database = store.records, store.database

    async def unsent(self, most: int) -> int:
        """Counted in the index, no record is read."""
        query = {"partition": {"$in": list(range(PARTITIONS))}, "unrelayed_since": {"$gte": BEGINNING}}
        async with translate_errors():
            return await self.records.count_documents(query, limit=most)

    async def free(self) -> int:
        """Of the file system that holds the database."""
        async with translate_errors():
            told: dict[str, Any] = await self.database.command("dbStats", scale=1 << 20)
        return int(told["fsTotalSize"] - told["fsUsedSize"])


class AdmissionControl:
    """The bound of one store; looks at most once a second, and for a tenth of the time, however many ask."""

    def __init__(self, load: Load | None, service: str, *, most: int, least_free: int) -> None:
        self.load, self.service, self.most, self.least_free = load, service, most, least_free
        self.looking = asyncio.Lock()
        self.looked_at, self.disk_at = float("-inf"), float("-inf")
        self.kept = KEPT
        self.full = ""  # why
        self.disk_full = ""

    async def check(self) -> None:
        """Raises Refused: intake_full."""
        if self.load is None:
            return
        if time.monotonic() - self.looked_at >= self.kept and not self.looking.locked():
            async with self.looking:  # the others go by what is known
                await self._look(self.load)
        if self.full or self.disk_full:
            metrics.SHED.labels(self.service).inc()
            raise Refused("intake_full", seconds=RETRY_AFTER)

    async def _look(self, load: Load) -> None:
        before, began = (self.full, self.disk_full), time.monotonic()
        try:
            unsent = await load.unsent(self.most + 1)
            self.full = f"more than {self.most:,} subjects have unsent events" if unsent > self.most else ""
            if time.monotonic() - self.disk_at >= DISK_KEPT:
                free = await load.free()
                self.disk_full = f"the disk has {free:,} MB left" if free < self.least_free else ""
                self.disk_at = time.monotonic()
        except Transient as e:  # the write itself will say so
            log.warning("load_unknown", trouble=repr(e))
        finally:
            self.looked_at = time.monotonic()
            self.kept = max(KEPT, SHARE * (self.looked_at - began))
        if (self.full, self.disk_full) != before:
            log.warning("intake", full=self.full or self.disk_full or "no more")


def admission_control_of(store: Store, service: str, *, most: int, least_free: int) -> AdmissionControl:
    """The bound of this store; what is in memory has none."""
    load = MongoLoad(store) if isinstance(store, MongoStore) else None
    return AdmissionControl(load, service, most=most, least_free=least_free)


def bounded(intake: AdmissionControl) -> Any:
    """A dependency of a route that takes in: 503 while the store holds all it can, for whoever may come in at all."""

    async def check(request: Request) -> None:
        await authorized_principal(request)
        await intake.check()

    return Depends(check)
