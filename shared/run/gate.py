"""Why an API refuses requests: its store is not complete after a restore, lacks indexes, or has another time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog

from base.tasks import cancel_and_wait
from kernel.errors import Transient
from kernel.service import Service
from kernel.stores.mongodb import MongoStore
from observability import metrics
from observability.health import ReadinessReason, clock_skew_reason
from recovery.restore_mark import read_mark
from web.app import App

POLL = 1.0  # seconds between two checks while the API is closed ...
OPEN_POLL = 5.0  # ... and while it is open

Check = Callable[[], Awaitable[list[ReadinessReason]]]

log = structlog.get_logger(__name__)


async def closing_reasons(service: Service[Any], store: MongoStore, *, indexes: bool = True) -> list[ReadinessReason]:
    """Return why the API of a service may not open; without `indexes`, those of another version. Raise Transient."""
    reasons = []
    if await read_mark(store):
        text = "the store was restored from a backup and is not complete yet"
        reasons.append(ReadinessReason("restoring", text))
    missing = await service.missing_indexes(store.database) if indexes else []
    metrics.MISSING_INDEXES.labels(service.name).set(len(missing))
    if missing:
        text = f"{len(missing)} indexes are missing, such as {missing[0]}: `peyvand apply` creates them"
        reasons.append(ReadinessReason("indexes_missing", text))
    skew = await store.clock_skew()
    metrics.CLOCK_SKEW.labels(service.name).set(skew)
    return [*reasons, *clock_skew_reason(skew)]


@asynccontextmanager
async def closed_while(app: App, check: Check) -> AsyncIterator[None]:
    """Keep an API closed (503, not ready) while there are reasons; part of its lifespan.

    An API that is open stays so while the database does not answer: its requests fail by themselves.
    """
    app.state.closed = [ReadinessReason("restoring", "whether the store is complete is unknown")]

    async def look() -> None:
        try:
            app.state.closed = await check()
        except Transient as e:
            log.warning("whether the API may be open is unknown", error=e)

    async def watch() -> None:
        while True:
            await asyncio.sleep(POLL if app.state.closed else OPEN_POLL)
            try:
                await look()
            except Exception as e:  # the next look may succeed; without one, what is wrong later would not be noticed
                log.error("whether the API may be open is unknown", exc_info=e)

    await look()
    watching = asyncio.create_task(watch(), name="gate")
    try:
        yield
    finally:
        await cancel_and_wait(watching)
