"""One suite over both stores: what memory promises, MongoDB keeps, races included."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from plumbing.memory import MemoryStore
from plumbing.mongo import MongoStore, connect
from tests.plumbing.country import Answering, Asking, Counting

RULES: dict[str, Any] = {"registration": Asking, "screening": Answering, "reporting": Counting}
StoreOf = Callable[..., Any]


@pytest.fixture(params=["memory", pytest.param("mongo", marks=pytest.mark.server)])
async def store_of(request: pytest.FixtureRequest) -> AsyncIterator[StoreOf]:
    """Makes a service's store: `await store_of("registration", unique=("person",))`, or with rules of one's own."""
    if request.param == "memory":

        async def memory(service: str, rules: Any = None, unique: tuple[str, ...] = ()) -> MemoryStore:
            return MemoryStore(service, {"applicant": rules or RULES[service]}, unique)

        yield memory
        return
    parts = request.getfixturevalue("parts")
    client, name = connect(parts.mongo), parts.database()

    async def mongo(service: str, rules: Any = None, unique: tuple[str, ...] = ()) -> MongoStore:
        store = MongoStore(client[f"{name}_{service}"], service, {"applicant": rules or RULES[service]}, unique)
        await store.prepare()
        return store

    yield mongo
    for database in await client.list_database_names():
        if database.startswith(name):
            await client.drop_database(database)
    await client.close()
