"""An API is closed while its store is incomplete or lacks indexes, and refuses writes while its clock is wrong."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest

from base.clock import machine_now
from base.settings import Settings
from kernel.errors import Transient
from kernel.stores.mongodb import MongoStore, connect
from kernel.stores.mongodb import store as mongodb_store
from observability.health import ReadinessReason
from recovery.restore_mark import clear_mark, new_mark, set_mark
from run import gate
from run.gate import closed_while, closing_reasons
from screening.service import service
from tests.support.registration_api import RegistrationApi
from tests.support.servers import Servers
from tests.support.small_api import HERE, problem_of, routes
from tests.support.small_services import NOON
from web.app import App, create_app

pytestmark = pytest.mark.server


@pytest.fixture
async def store(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MongoStore]:
    """Return the store of screening in an empty database; its gate looks often."""
    for interval in ("POLL", "OPEN_POLL"):
        monkeypatch.setattr(gate, interval, 0.05)
    client, name = connect(servers.mongo), servers.database()
    yield service.mongo_store(client[name])
    await client.drop_database(name)
    await client.close()


@pytest.fixture
def app(settings: Settings) -> App:
    async def ready() -> list[ReadinessReason]:
        return []

    return create_app(settings, "Tests", lifespan=None, ready=ready, prefix="/t", routers=[routes()])


async def reason_of(caller: httpx.AsyncClient) -> str:
    """Return the code of the first reason why the API is not ready; empty if it is."""
    reasons = (await caller.get("/readyz")).json()["reasons"]
    return str(reasons[0]["code"]) if reasons else ""


async def until(caller: httpx.AsyncClient, code: str) -> None:
    """Wait until the API is closed for this reason."""
    async with asyncio.timeout(60):
        while await reason_of(caller) != code:  # noqa: ASYNC110  a state is only polled
            await asyncio.sleep(0.02)


async def test_an_api_is_closed_until_its_store_is_complete_and_has_its_indexes(store: MongoStore, app: App) -> None:
    await set_mark(store.database, new_mark("", {}, NOON))
    async with (
        closed_while(app, partial(closing_reasons, service, store)),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as caller,
    ):
        refused = await caller.get("/t/v1/things")
        assert refused.headers["Retry-After"] == "10" and "10" in problem_of(refused, 503, "restoring")["detail"]
        not_ready = await caller.get("/readyz")
        assert not_ready.status_code == 503 and "backup" in not_ready.json()["reasons"][0]["text"]
        assert (await caller.get("/healthz")).status_code == 200
        await clear_mark(store)
        await until(caller, "indexes_missing")
        problem_of(await caller.get("/t/v1/things"), 503, "indexes_missing")
        await store.create_indexes()
        await until(caller, "indexes_missing")  # those of the leases
        await service.create_indexes(store.database)
        await until(caller, "")
        assert (await caller.get("/t/v1/things")).status_code == 200
        await store.records.drop_index("stored_responses.key")
        await until(caller, "indexes_missing")


async def test_an_api_with_a_wrong_clock_refuses_what_it_would_date(
    store: MongoStore, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.create_indexes(store.database)
    async with (
        closed_while(app, partial(closing_reasons, service, store)),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as caller,
    ):
        assert await reason_of(caller) == ""
        monkeypatch.setattr(mongodb_store, "machine_now", lambda: machine_now() + timedelta(seconds=6))
        await until(caller, "clock_skew")
        refused = await caller.post("/t/v1/things", json={})
        assert refused.headers["Retry-After"] == "10" and problem_of(refused, 503, "clock_skew")
        assert (await caller.get("/t/v1/things")).status_code == 200, "reading takes no time"
        monkeypatch.setattr(mongodb_store, "machine_now", machine_now)
        await until(caller, "")
        assert (await caller.post("/t/v1/things", json={})).status_code != 503


async def test_an_api_that_is_open_stays_so_while_the_database_does_not_answer(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[list[ReadinessReason]] = [[]]

    async def check() -> list[ReadinessReason]:
        if not answers:
            raise Transient("no answer")
        return answers.pop()

    monkeypatch.setattr(gate, "OPEN_POLL", 0.05)
    async with closed_while(app, check):
        assert app.state.closed == []
        await asyncio.sleep(0.2)
        assert app.state.closed == []
    async with closed_while(app, check):
        assert [each.code for each in app.state.closed] == ["restoring"], "it does not open unseen"


async def test_without_its_indexes_the_same_person_registers_twice(store: MongoStore, tmp_path: Path) -> None:
    """The canary: a first start without the gate. An API that is started as it is deployed does not open."""
    name = f"{store.database.name}_first"
    api = RegistrationApi(tmp_path, store.client, name)
    try:
        async with api.client:
            await api.open_round()
            answers = await asyncio.gather(api.register(key="key-of-one"), api.register(key="key-of-two"))
            assert [each.status_code for each in answers] == [201, 201]
            async with api.app.router.lifespan_context(api.app):
                problem_of(await api.register(key="key-three"), 503, "indexes_missing")
    finally:
        await store.client.drop_database(name)
        await store.client.drop_database(f"{name}_keys")


async def test_a_look_that_raises_is_not_the_last_one(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises, such as what a newer version has stored: an index that is dropped later is still noticed."""
    monkeypatch.setattr(gate, "OPEN_POLL", 0.01)
    looks, missing = 0, [ReadinessReason("indexes_missing", "dropped")]

    async def check() -> list[ReadinessReason]:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise KeyError
        return [] if looks == 1 else missing

    async with closed_while(app, check):
        assert app.state.closed == []
        async with asyncio.timeout(60):
            while app.state.closed != missing:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
