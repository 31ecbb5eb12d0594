"""The streams of the ranking: a table as a whole, then only what changed, which gives the same table."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from fastapi.sse import ServerSentEvent

from programme.reference import provinces
from reporting.api.stream import Rows, View, follow
from reporting.pages.ranking import PageParts
from reporting.ranking_cache import RankingCache
from reporting.schemas import TableName
from reporting.tallies import MemoryTallies
from tests.support.reporting_round import (
    NOW,
    RoundEvents,
    app_of,
    consume,
    fixed_clock,
    round_events,
    running_client,
)

PART = re.compile(r'id="([^"]+)"')
TABLES: tuple[TableName, ...] = ("composite", "1", "2", "3")


class LiveRound:
    """The figures of the small round, and people who register in it."""

    def __init__(self, cache: RankingCache, tallies: MemoryTallies, client: httpx.AsyncClient, state: Any) -> None:
        self.cache, self.tallies, self.client, self.state = cache, tallies, client, state

    async def register(self, person: str, province: str) -> None:
        more = RoundEvents()
        more.applicant(person, province, 1)
        await consume(self.tallies, more.envelopes, self.cache.store)  # type: ignore[arg-type]

    async def follow(self, view: View, pause: float = 0.0) -> AsyncIterator[ServerSentEvent]:
        figures = await self.cache.figures()
        assert figures is not None
        request = cast("Any", SimpleNamespace(app=SimpleNamespace(state=self.state)))
        return follow(request, self.cache, figures, view, pause)


@pytest.fixture
async def live() -> AsyncIterator[LiveRound]:
    async with open_round() as live:
        yield live


@asynccontextmanager
async def open_round() -> AsyncIterator[LiveRound]:
    tallies = MemoryTallies()
    store = await consume(tallies, round_events().envelopes)
    cache = RankingCache(store, tallies, fixed_clock(NOW), pause=0.02)
    app = app_of(cache)
    async with running_client(app) as client:
        yield LiveRound(cache, tallies, client, app.state)


async def events_of(live: LiveRound, view: View) -> list[dict[str, Any]]:
    """Follow a table while two people register one after the other; return the data of the three events."""
    stream, found, since = await live.follow(view), list[dict[str, Any]](), None
    for person, province in (("", ""), ("0200", "IR-20"), ("0201", "IR-05")):
        if person:
            await live.register(person, province)
        event = await asyncio.wait_for(anext(stream), 20)
        data = json.loads(event.raw_data or "")
        assert event.event == ("rows" if found else "table") and event.id == str(data["version"])
        assert data.get("since") == since
        since = data["version"]
        found.append(data)
    live.state.stopping.set()
    assert [each async for each in stream] == []
    return found


@pytest.mark.parametrize("table", TABLES)
async def test_the_table_and_the_changed_rows_give_the_new_table(live: LiveRound, table: TableName) -> None:
    found = await events_of(live, Rows(table))
    rows = {row["province"]: row for row in found[0]["rows"]}
    assert rows.keys() == provinces().keys()
    for data in found[1:]:
        changed = {row["province"]: row for row in data["rows"]}
        assert 0 < len(changed) < len(rows) and all(rows[code] != row for code, row in changed.items())
        rows |= changed
    in_order = sorted(rows.values(), key=lambda row: (row["rank"] is None, row["rank"], row["province"]))
    now = {**found[-1], "rows": in_order}
    del now["since"]
    assert now == (await live.client.get(f"/v1/ranking?table={table}")).json()


@pytest.mark.parametrize("table", TABLES)
async def test_the_page_and_the_changed_parts_give_the_new_page(live: LiveRound, table: TableName) -> None:
    page: dict[str, str] = {}
    for data in await events_of(live, PageParts(table, "en")):
        changed = {PART.findall(part)[0]: part.strip() for part in data["parts"]}
        assert data["since"] is None or len(changed) < len(page)
        page |= changed
    assert len(page) == 3 + 2 * len(provinces())
    now = (await live.client.get(f"/ranking?table={table}&lang=en")).text
    assert [part for part in page.values() if part not in now] == []


@pytest.mark.parametrize("view", [Rows("composite"), PageParts("composite", "fa")], ids=["json", "page"])
async def test_a_registration_costs_a_viewer_a_fraction_of_the_table(live: LiveRound, view: View) -> None:
    sizes = [len(json.dumps(data, ensure_ascii=False).encode()) for data in await events_of(live, view)]
    assert max(sizes[1:]) * 3 < sizes[0], sizes


async def test_viewers_of_the_same_version_share_what_is_sent(live: LiveRound) -> None:
    streams = [await live.follow(PageParts("composite", "fa")) for _ in range(3)]
    for person in ("", "0200"):
        if person:
            await live.register(person, "IR-20")
        events = [await asyncio.wait_for(anext(stream), 20) for stream in streams]
        assert all(each.raw_data is events[0].raw_data for each in events)


async def test_a_viewer_who_missed_versions_gets_their_changes_at_once(live: LiveRound) -> None:
    slow = await live.follow(Rows("composite"), pause=0.3)
    first = json.loads((await anext(slow)).raw_data or "")
    for person, province in (("0200", "IR-20"), ("0201", "IR-05")):
        await live.register(person, province)
        await live.cache.figures(fresh=True)
    later = json.loads((await asyncio.wait_for(anext(slow), 20)).raw_data or "")
    assert later["since"] == first["version"] and {"IR-20", "IR-05"} <= {row["province"] for row in later["rows"]}


async def test_days_that_end_change_the_rows_of_every_viewer(live: LiveRound) -> None:
    """Cases become overdue without an event. Who came before midnight and who came after it see the same."""
    live.cache.clock = fixed_clock(NOW - timedelta(days=50))
    streams, tables = [await live.follow(Rows("composite"))], [dict[str, Any]()]

    async def receive(n: int) -> None:
        data = json.loads((await asyncio.wait_for(anext(streams[n]), 20)).raw_data or "")
        tables[n] |= {row["province"]: row for row in data["rows"]}

    await receive(0)
    before = dict(tables[0])
    live.cache.clock = fixed_clock(NOW - timedelta(days=40))
    await receive(0)
    assert tables[0] != before
    streams.append(await live.follow(Rows("composite")))
    tables.append({})
    await receive(1)
    await live.register("0200", "IR-20")
    for n in (1, 0):
        await receive(n)
    assert tables[0] == tables[1]


@pytest.mark.parametrize("address", ["/v1/stream", "/ranking/stream?table=2"])
async def test_a_stream_ends_when_the_process_stops(live: LiveRound, address: str) -> None:
    streaming = asyncio.create_task(live.client.get(address))
    await asyncio.sleep(0.3)
    assert not streaming.done()
    live.state.stopping.set()
    response = await asyncio.wait_for(streaming, 20)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert not live.state.streams


async def test_an_unknown_round_has_no_stream(live: LiveRound) -> None:
    assert (await live.client.get("/v1/stream?round=1390")).status_code == 404
