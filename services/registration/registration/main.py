"""Wires registration: `python -m registration.main api | worker`."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from base.clock import Clock
from base.settings import load
from contracts.subjects import PARTITIONS
from contracts.topics import topic_of
from kernel.stores.mongodb import MongoStore, connect
from registration import consumer
from registration.consumer.identity import DevelopmentRegistry, IdentityChecks, IdentityRegistry, NoRegistry
from registration.consumer.seats import Allocator
from registration.settings import KeySettings
from registration.store.audit import MongoAudit
from registration.store.mongo import MongoQuestions, mongo_store
from registration.store.office import Office
from registration.store.persons import Persons
from registration.store.questions import SERVICE
from run.server import role_main, serve, serve_worker
from security.encryption import KeyBlocks, Keyring

Database = AsyncDatabase[dict[str, Any]]


async def prepare(database: Database) -> None:
    """Makes registration's indexes; making them again changes nothing."""
    store = mongo_store(database)
    await store.prepare()
    await MongoQuestions(store).prepare()


async def unfinished(database: Database, now: datetime) -> int:
    """How much the worker still has to do at this programme time: identities, seats, promotions. 0: at rest."""
    questions = MongoQuestions(mongo_store(database))
    due = await questions.unchecked(range(PARTITIONS), now, 1_000)
    return len(due) + len(await questions.unseated()) + len(await questions.promotable())


def persons(settings: KeySettings, client: AsyncMongoClient[dict[str, Any]]) -> Persons:
    """Identities, with their keys in a database of their own that backups of the data do not hold."""
    keyring = Keyring.of(settings)
    return Persons(KeyBlocks(client[f"{settings.database}_keys"], keyring), keyring)


def duties(
    store: MongoStore, questions: MongoQuestions, people: Persons, registry: IdentityRegistry, clock: Clock
) -> tuple[IdentityChecks, Allocator]:
    """What the worker does besides consuming and relaying."""
    return IdentityChecks(store, questions, people, registry, clock), Allocator(store, questions, clock)


def api() -> None:
    """Serves the API and the pages."""
    from recovery.restore import closed_until_complete
    from registration.api import create

    settings = load(KeySettings)
    client = connect(settings.mongo.get_secret_value())
    store, people = mongo_store(client[settings.database]), persons(settings, client)
    office = Office(store, people, settings.programme_clock())

    async def ready() -> list[str]:
        await store.machine_time()
        return []

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with closed_until_complete(app, store):
            yield
        await people.keys.close()
        await client.close()

    app = create(settings, office, MongoQuestions(store), MongoAudit(store.database), ready=ready, lifespan=lifespan)
    serve(app, settings)


async def worker() -> None:
    """Runs the worker."""
    from kernel.kafka.relay import Relay, connect_producer
    from kernel.roles.worker import Worker

    settings = load(KeySettings)
    client = connect(settings.mongo.get_secret_value())
    store, clock = mongo_store(client[settings.database]), settings.programme_clock()
    people = persons(settings, client)
    registry = DevelopmentRegistry() if settings.development else NoRegistry()
    work = Worker(
        SERVICE,
        consumer.topics(),
        settings.kafka,
        store,
        Relay(store, connect_producer(settings.kafka, SERVICE), topic_of(SERVICE)),
        clock,
        duties=duties(store, MongoQuestions(store), people, registry, clock),
        linger=settings.linger,
    )
    await serve_worker(work, settings)
    await client.close()


if __name__ == "__main__":
    role_main(sys.argv, api=api, worker=worker)
