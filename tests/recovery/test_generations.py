"""Generations of the figures: another calendar leaves no residue, and no read fails when another one is served."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from pymongo import MongoClient

import recovery.generations
from base.settings import Settings
from contracts.subjects import round_subject
from kernel.errors import Transient
from kernel.stores.mongodb import connect
from peyvand.endpoints import CommandError
from peyvand.rebuild.generations import drop, statuses, use
from peyvand.rebuild.processes import rebuild
from peyvand.verify import recount
from peyvand.verify.days_off import recount_calendar
from programme.work_calendar import WorkCalendar, work_calendar
from recovery.generations import Generations, Pointer, wait_until_built
from reporting.domain import contributions
from reporting.service import service
from run import gate
from run.api import service_app
from tests.support.rebuilding import Log, content, rebuilding
from tests.support.servers import Servers
from web.app import App

pytestmark = pytest.mark.server

TODAY = date(2027, 6, 1)
ADDED = date(2025, 11, 1), date(2026, 5, 31)  # holidays between these days are new in the calendar
READERS, ROUND = 4, round_subject("1404")
PATHS = ("/v1/ranking", "/v1/nationwide", "/v1/provinces/IR-20", "/ranking", "/v1/ranking.csv")


def calendar_before() -> WorkCalendar:
    """Return the calendar to which no holidays were added yet."""
    now = work_calendar()
    kept = tuple(each for each in now.days_off if not ADDED[0] <= each.day <= ADDED[1])
    return replace(now, days_off=kept)


@contextmanager
def version_before() -> Iterator[None]:
    """Let the rules count with the calendar to which no holidays were added yet, as the version before did."""
    contributions._duration.cache_clear()
    before = calendar_before()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contributions, "work_calendar", lambda: before)
        yield
    contributions._duration.cache_clear()


def durations(tallies: Mapping[str, Mapping[str, Mapping[str, int]]]) -> dict[str, list[int]]:
    """Return the days from registration to connection of each connected applicant, by province."""
    sums: Counter[tuple[str, int]] = Counter()
    for name, days in tallies.items():
        for day, by in days.items():
            for indicator, n in by.items():
                if indicator.startswith("end_to_end:") and date.fromisoformat(day) <= TODAY:
                    sums[name.split("/")[1], int(indicator.partition(":")[2])] += n
    found: dict[str, list[int]] = {}
    for (province, length), n in sorted(sums.items()):
        assert n >= 0, "a residue"
        found.setdefault(province, []).extend([length] * n)
    return {province: each for province, each in found.items() if each}


def recounted(log: Log, calendar: recount.Calendar) -> dict[str, list[int]]:
    """Return the same of the independent recount."""
    return {p: sorted(c.end_to_end) for p, c in log.recounted(calendar, TODAY).items() if c.end_to_end}


async def test_a_changed_calendar_leaves_no_residue(servers: Servers) -> None:
    """The old generation keeps what it counted; the new one equals a recount under the new calendar."""
    with version_before():
        log = rebuilding(servers, 300)
        running = await log.__aenter__()
    try:
        old = await content(servers, running.live)
        assert durations(old["tallies"]) == recounted(running, recount_calendar(calendar_before()))
        assert recounted(running, recount_calendar(calendar_before())) != recounted(running, recount_calendar())
        await rebuild(running.target, 2, lambda *_: None)
        new = await content(servers, running.target.database)
        assert durations(new["tallies"]) == recounted(running, recount_calendar())
        assert await content(servers, running.live) == old
        assert {name: each for name, each in new.items() if name != "tallies"} == {
            name: each for name, each in old.items() if name != "tallies"
        }
    finally:
        await log.__aexit__(None, None, None)


def api_of(log: Log, servers: Servers, jwks: Path) -> App:
    """Return the API of reporting over the databases of a log."""
    values: dict[str, Any] = {
        "service": "reporting",
        "environment": "development",
        "kafka": servers.kafka.bootstrap,
        "mongo": servers.mongo,
        "database": log.target.home,
        "jwks": jwks,
    }
    return service_app(service, Settings(**values))


async def test_workers_of_a_new_version_wait_until_its_generation_is_built(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first worker begins at once; one that starts again goes on, whichever generation is served."""
    monkeypatch.setattr(recovery.generations, "POLL", 0.02)
    client, home, stop = connect(servers.mongo), servers.database(), asyncio.Event()
    pointer, databases = Pointer(client[home]), [client[f"{home}_{n}"] for n in range(3)]
    workers: list[Any] = [
        SimpleNamespace(service="reporting", incomplete="", store=SimpleNamespace(database=each)) for each in databases
    ]
    before, new, undone = workers
    first = await asyncio.gather(*(wait_until_built(before, stop, client[home]) for _ in range(2)))
    assert first == [None, None] and (await pointer.read()).served == databases[0].name
    waiting = asyncio.create_task(wait_until_built(new, stop, client[home]))
    async with asyncio.timeout(60):
        while "peyvand rebuild" not in new.incomplete:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert not waiting.done() and await pointer.reserve() == await pointer.read()
    await pointer.serve(databases[1].name)
    await waiting
    assert not new.incomplete and (await pointer.read()).built == (databases[0].name, databases[1].name)
    await wait_until_built(before, stop, client[home])
    waiting = asyncio.create_task(wait_until_built(undone, stop, client[home]))
    await asyncio.sleep(0.1)
    stop.set()
    await waiting
    await client.drop_database(home)
    await client.close()


async def test_no_worker_begins_the_first_generation_while_it_is_rebuilt(servers: Servers) -> None:
    client, home = connect(servers.mongo), servers.database()
    pointer = Pointer(client[home])
    assert (await pointer.reserve()).served == "" and (await pointer.claim("another")).built == ()
    await pointer.serve("rebuilt")
    assert await pointer.claim("another") == Generations("rebuilt", ("rebuilt",))
    await client.drop_database(home)
    await client.close()


def counts(response: httpx.Response) -> dict[str, int]:
    """Return the sums over all provinces in a response."""
    found: dict[str, int] = response.json()["counts"]
    return found


async def test_no_read_fails_while_a_rebuild_flips(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "OPEN_POLL", 0.05)
    tags, reads = set[str](), 0
    async with rebuilding(servers, 100) as log:
        app = api_of(log, servers, tmp_path / "none.json")
        async with app.router.lifespan_context(app), _client(app, 0) as client:
            expected = counts(await client.get("/v1/nationwide"))
            assert app.state.runtime.store.database.name == log.live and expected["registered"] > 50

            with pytest.raises(Transient):  # it was made by other rules than this version has
                await app.state.runtime.projection((), None)

            async def read(n: int) -> None:
                nonlocal reads
                async with _client(app, n) as reader:
                    while len(tags) < 2:  # a response of another generation has another tag
                        for path in PATHS:
                            response = await reader.get(path)
                            assert response.status_code == 200, response.text
                            reads += 1
                            if path == "/v1/nationwide":
                                assert counts(response) == expected
                                tags.add(response.headers["ETag"])
                        await asyncio.sleep(0.25)  # within the limit of an address

            async with asyncio.timeout(300), asyncio.TaskGroup() as group:
                for n in range(READERS):
                    group.create_task(read(n + 1))
                await rebuild(log.target, 2, lambda *_: None)
            assert app.state.runtime.store.database.name == log.target.database
            assert app.state.runtime.projection == app.state.runtime.resources.tallies.move
            assert reads >= 2 * READERS * len(PATHS)
            await _commands(servers, log, client, app)


def _client(app: App, n: int) -> httpx.AsyncClient:
    """Return a client with an address of its own."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(f"10.0.0.{n}", 1)), base_url="http://127.0.0.1")


async def _commands(servers: Servers, log: Log, client: httpx.AsyncClient, app: App) -> None:
    """List the two generations, serve the one before again, and drop the other."""
    new, old, home = log.target.database, log.live, log.target.home
    with MongoClient[dict[str, Any]](servers.mongo) as mongo:
        found = {each.generation: each for each in statuses(mongo, home)}
        assert (found[new].served, found[new].built, found[new].this_version) == (True, True, True)
        assert (found[old].served, found[old].built, found[old].this_version) == (False, True, False)
        assert found[new].events == found[old].events and found[new].records == found[old].records > 90
        with pytest.raises(CommandError, match="is served"):
            drop(mongo, new, home)
        mongo[new].cursors.update_one({"next": {"$gt": 0}}, {"$inc": {"next": 1}})
        with pytest.raises(CommandError, match="is behind"):
            use(mongo, old, home)
        mongo[old].cursors.update_many({}, {"$inc": {"next": 1}})
        mongo[old].records.update_one({"_id": ROUND}, {"$inc": {"rules_version": 1}})
        use(mongo, old, home)
        await asyncio.sleep(0.5)  # an API that cannot read a generation goes on with the one before
        assert app.state.runtime.store.database.name == new
        assert (await client.get("/v1/nationwide")).status_code == 200
        mongo[old].records.update_one({"_id": ROUND}, {"$inc": {"rules_version": -1}})
        async with asyncio.timeout(60):
            while app.state.runtime.store.database.name != old:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await client.get("/v1/nationwide")).status_code == 200
        mongo[new].operator_actions.insert_one({"_id": "an action"})
        drop(mongo, new, home)
        assert mongo[home].operator_actions.find_one({"_id": "an action"})
        assert [each.generation for each in statuses(mongo, home)] == [old]
        with pytest.raises(CommandError, match="no generation"):
            drop(mongo, new, home)
