"""One suite over both stores: what memory promises, MongoDB keeps, races included. And an API of the frame alone."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from plumbing.memory import MemoryStore
from plumbing.mongo import MongoStore, connect
from plumbing.settings import Settings
from plumbing.web import App, create_app
from tests.parts import Parts
from tests.plumbing.running import RULES, Country
from tests.plumbing.things import HERE, routes
from tests.tokens import Issuer

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


@pytest.fixture
async def country(parts: Parts) -> AsyncIterator[Country]:
    """A small country on the real parts."""
    country = Country(parts)
    await country.prepare()
    yield country
    await country.close()


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    """Who signs."""
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="session")
def settings(issuer: Issuer) -> Settings:
    """Of a service in development."""
    return Settings(
        service="tests",
        environment="development",
        kafka="-",
        mongo="-",  # type: ignore[arg-type]
        database="-",
        jwks=issuer.jwks,
    )


@pytest.fixture(scope="session")
def app(settings: Settings) -> App:
    """An application with these routes under /t."""

    async def ready() -> list[str]:
        return list(made.state.reasons)

    made = create_app(settings, "Tests", lifespan=None, ready=ready, prefix="/t", routers=[routes()])
    made.state.reasons = []
    return made


@pytest.fixture
async def client(app: App) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody at the public address."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as client:
        yield client
