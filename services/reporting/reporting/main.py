"""Wires reporting: `python -m reporting.main api|worker`."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pymongo.asynchronous.database import AsyncDatabase

from base.settings import Settings, load
from kernel.store import Store
from kernel.stores.mongodb import MongoStore, connect
from reporting import store
from reporting.consumer import SERVICE, topics
from reporting.domain import RULES
from reporting.store import Board, Tallies
from run.server import role_main, serve, serve_worker

if TYPE_CHECKING:
    from web.app import App


async def prepare(database: AsyncDatabase[dict[str, Any]]) -> None:
    """Makes the indexes; making them again changes nothing."""
    await store.prepare(database)


def create(settings: Settings, board: Board | None = None, records: Store | None = None) -> "App":
    """The API and the pages, over MongoDB; with a `board` and `records` of its own it needs no database."""
    from recovery.restore import closed_until_complete
    from reporting.api import data, pages
    from reporting.api.assets import Assets
    from web.admin import dead_letters, replays
    from web.app import create_app
    from web.pages import STATIC

    clock = settings.programme_clock()
    client = connect(settings.mongo.get_secret_value()) if board is None else None
    if client is not None:
        database = client[settings.database]
        board, records = Board(Tallies(database), clock), MongoStore(database, SERVICE, RULES)
    assert board is not None
    shown = board

    @asynccontextmanager
    async def lifespan(app: "App") -> AsyncIterator[None]:
        app.state.board = shown
        if client is None:
            yield
            return
        async with closed_until_complete(app, MongoStore(client[settings.database], SERVICE, RULES)):
            yield
        await client.close()

    async def ready() -> list[str]:
        await shown.look()
        return []

    routers = [data.router, pages.router]
    if records is not None:  # what a person mends moves the tallies as well
        routers += [dead_letters.router(records, clock, shown.tallies.move), replays.router(records)]
    app = create_app(
        settings,
        "Peyvand: the figures of the country",
        lifespan=lifespan,
        ready=ready,
        prefix="",
        routers=routers,
        description="The ranking of the 31 provinces, open to everybody, with all that it is made of. "
        "How it is computed: docs/methodology.md.",
    )
    app.mount("/assets/peyvand", Assets(directory=STATIC), name="own")
    if settings.assets is not None:
        app.mount("/assets/vendor", Assets(directory=settings.assets, kept=True), name="vendor")
    return app


def api() -> None:
    """The role that answers."""
    settings = load(Settings)
    serve(create(settings), settings)


async def worker() -> None:
    """The role that remembers: facts and tallies, in one transaction. It says nothing, so its relay never connects."""
    from kernel.kafka.relay import Relay, connect_producer
    from kernel.roles.worker import Worker

    settings = load(Settings)
    client = connect(settings.mongo.get_secret_value())
    try:
        database = client[settings.database]
        records = MongoStore(database, SERVICE, RULES)
        await serve_worker(
            Worker(
                SERVICE,
                topics(),
                settings.kafka,
                records,
                Relay(records, connect_producer(settings.kafka, SERVICE), SERVICE),
                settings.programme_clock(),
                projection=Tallies(database).move,
                linger=settings.linger,
            ),
            settings,
        )
    finally:
        await client.close()


if __name__ == "__main__":
    role_main(sys.argv, api=api, worker=worker)
