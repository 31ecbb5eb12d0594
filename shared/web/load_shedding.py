"""Admission control: refuse new work with 503 and Retry-After, before anything is stored, while the store is full.

An outage of Kafka alone refuses nothing: events stay pending in their records. Requests are refused when too many
subjects have pending events or the disk of the database is nearly full. The age of pending events only raises an alert.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from contracts.commands import Refused
from contracts.subjects import PARTITIONS
from kernel.errors import Transient
from kernel.store import Store
from kernel.stores.mongodb import MongoStore, translate_errors
from observability import metrics

CHECK_INTERVAL = 1.0  # seconds between two checks of the store
COST_FACTOR = 10  # at least this many times what a check took: counting 200,000 subjects takes a quarter of a second
DISK_INTERVAL = 10.0  # reading the disk statistics costs more
RETRY_AFTER = 30  # seconds
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.get_logger(__name__)


class Load(Protocol):
    """The load of a store."""

    async def pending(self, limit: int) -> int:
        """Return how many subjects have events that Kafka does not have, counted up to `limit`. Raise Transient."""

    async def free_disk(self) -> int:
        """Return the free megabytes of the disk. Raise Transient."""


class MongoLoad:
    """The load of a store in MongoDB."""

    def __init__(self, store: MongoStore) -> None:
        self.records, self.database = store.records, store.database

    async def pending(self, limit: int) -> int:
        """Count in the partial index on `pending_since`, without reading a record. Raise Transient."""
        query = {"partition": {"$in": list(range(PARTITIONS))}, "pending_since": {"$gte": EPOCH}}
        async with translate_errors():
            return await self.records.count_documents(query, limit=limit)

    async def free_disk(self) -> int:
        """Return the free megabytes of the file system that holds the database. Raise Transient."""
        async with translate_errors():
            statistics: dict[str, Any] = await self.database.command("dbStats", scale=1 << 20)
        return int(statistics["fsTotalSize"] - statistics["fsUsedSize"])


class AdmissionControl:
    """The limits of one store. Checks the load at most once a second and a tenth of the time, whatever the traffic."""

    def __init__(self, load: Load | None, service: str, *, max_pending_events: int, min_free_disk: int) -> None:
        """`max_pending_events` limits the subjects with pending events; `min_free_disk` is in MB; no load, no limit."""
        self.load, self.service = load, service
        self.max_pending_events, self.min_free_disk = max_pending_events, min_free_disk
        self.checking = asyncio.Lock()
        self.checked_at, self.disk_checked_at = float("-inf"), float("-inf")
        self.interval = CHECK_INTERVAL
        self.backlog_reason, self.disk_reason = "", ""  # why requests are refused

    async def check(self) -> None:
        """Raise Refused: intake_full."""
        if self.load is None:
            return
        if time.monotonic() - self.checked_at >= self.interval and not self.checking.locked():
            async with self.checking:  # other requests use the previous result meanwhile
                await self._measure(self.load)
        if self.backlog_reason or self.disk_reason:
            metrics.SHED.labels(self.service).inc()
            raise Refused("intake_full", seconds=RETRY_AFTER)

    async def _measure(self, load: Load) -> None:
        before, started = (self.backlog_reason, self.disk_reason), time.monotonic()
        try:
            full = await load.pending(self.max_pending_events + 1) > self.max_pending_events
            self.backlog_reason = f"more than {self.max_pending_events:,} subjects have pending events" if full else ""
            if time.monotonic() - self.disk_checked_at >= DISK_INTERVAL:
                free = await load.free_disk()
                self.disk_reason = f"the disk has {free:,} MB left" if free < self.min_free_disk else ""
                self.disk_checked_at = time.monotonic()
        except Transient as e:  # keep the previous result: the write itself will fail with a 503
            log.warning("load check failed", service=self.service, error=e)
        finally:
            self.checked_at = time.monotonic()
            self.interval = max(CHECK_INTERVAL, COST_FACTOR * (self.checked_at - started))
        if (reasons := (self.backlog_reason, self.disk_reason)) != before:
            if any(reasons):
                reason = "; ".join(filter(None, reasons))
                log.warning("shedding load: new requests get 503", service=self.service, reason=reason)
            else:
                log.warning("load shedding ended", service=self.service)


def admission_control_of(
    store: Store, service: str, *, max_pending_events: int, min_free_disk: int
) -> AdmissionControl:
    """Return the admission control of a store; a store in memory has no limits."""
    load = MongoLoad(store) if isinstance(store, MongoStore) else None
    return AdmissionControl(load, service, max_pending_events=max_pending_events, min_free_disk=min_free_disk)
