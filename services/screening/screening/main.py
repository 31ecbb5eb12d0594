"""Wires screening: `python -m screening.main api|worker`."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from base.settings import Settings, load
from contracts.topics import topic_of
from kernel.stores.mongodb import connect
from run.server import role_main, serve, serve_worker
from screening.consumer import topics
from screening.store import SERVICE, MongoCases, mongo_store, prepare

if TYPE_CHECKING:
    from web.app import App

__all__ = ["api", "create", "prepare", "worker"]


def create(settings: Settings) -> "App":
    """The API and the officers' desk, over MongoDB; the client belongs to the loop that first uses it."""
    from recovery.restore import closed_until_complete
    from screening.api import create as over

    client = connect(settings.mongo.get_secret_value())
    store = mongo_store(client[settings.database])

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with closed_until_complete(app, store):
            yield
        await client.close()

    async def ready() -> list[str]:
        await store.machine_time()
        return []

    return over(settings, store, MongoCases(store), settings.programme_clock(), ready=ready, lifespan=lifespan)


def api() -> None:
    """The role that answers."""
    settings = load(Settings)
    serve(create(settings), settings)


async def worker() -> None:
    """The role that listens, tells Kafka, and calls on what is due, for the partitions it is given."""
    from kernel.kafka.relay import Relay, connect_producer
    from kernel.roles.worker import Worker

    settings = load(Settings)
    client = connect(settings.mongo.get_secret_value())
    try:
        store = mongo_store(client[settings.database])
        relay = Relay(store, connect_producer(settings.kafka, SERVICE), topic_of(SERVICE))
        clock = settings.programme_clock()
        working = Worker(SERVICE, topics(), settings.kafka, store, relay, clock, linger=settings.linger)
        await serve_worker(working, settings)
    finally:
        await client.close()


if __name__ == "__main__":
    role_main(sys.argv, api=api, worker=worker)
