"""Fixtures of several folders: stores in memory and in MongoDB, the small services, and a small application."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from base.settings import Settings
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore, connect
from observability.health import ReadinessReason
from tests.support.servers import Servers
from tests.support.short_names import short_names
from tests.support.small_api import HERE, routes
from tests.support.small_workers import RULES, SmallSystem
from tests.support.tokens import Issuer
from web.app import App, create_app

StoreOf = Callable[..., Any]


@pytest.fixture(params=["memory", pytest.param("mongodb", marks=pytest.mark.server)])
async def store_of(request: pytest.FixtureRequest) -> AsyncIterator[StoreOf]:
    """Make the store of a service: `await store_of("registration", unique=("person",))`, or with other `rules`.

    Each test with this fixture runs over memory and over MongoDB: both keep the same promises, races included.
    """
    if request.param == "memory":

        async def memory(service: str, rules: Any = None, unique: tuple[str, ...] = ()) -> MemoryStore:
            return MemoryStore(service, {"applicant": rules or RULES[service]}, unique)

        yield memory
        return
    servers = request.getfixturevalue("servers")
    client, name = connect(servers.mongo), servers.database()

    async def mongodb(service: str, rules: Any = None, unique: tuple[str, ...] = ()) -> MongoStore:
        store = MongoStore(client[f"{name}_{service}"], service, {"applicant": rules or RULES[service]}, unique)
        await store.create_indexes()
        return store

    yield mongodb
    for database in await client.list_database_names():
        if database.startswith(name):
            await client.drop_database(database)
    await client.close()


@pytest.fixture
def accepted_short_names() -> Iterator[None]:
    """Accept short names of applicants and job fields."""
    with short_names():
        yield


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[Any]:
    """Make an empty database."""
    client = connect(servers.mongo)
    database = client[servers.database()]
    yield database
    await client.drop_database(database.name)
    await client.close()


@pytest.fixture
async def small_system(servers: Servers) -> AsyncIterator[SmallSystem]:
    """Prepare the three small services on real servers; workers are started by the test."""
    small_system = SmallSystem(servers)
    await small_system.prepare()
    yield small_system
    await small_system.close()


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    """Make an issuer that signs tokens."""
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="session")
def settings(issuer: Issuer) -> Settings:
    """Make the settings of a service in development."""
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
    """Make an application with the routes of `small_api` under /t; `app.state.reasons` is why it is not ready."""

    async def ready() -> list[ReadinessReason]:
        return list(made.state.reasons)

    made = create_app(settings, "Tests", lifespan=None, ready=ready, prefix="/t", routers=[routes()])
    made.state.reasons = []
    return made


@pytest.fixture
async def client(app: App) -> AsyncIterator[httpx.AsyncClient]:
    """Make a client of the application at its public address."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as client:
        yield client
