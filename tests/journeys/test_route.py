"""A registration takes the route that CONTRIBUTING.md lists, from the POST to the ranking page."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import httpx
import pytest

from kernel.stores.mongodb.client import connect
from reporting.ranking_cache import RankingCache
from tests.house.contributing import Hop, hops
from tests.house.sources import ROOT
from tests.journeys.crash_simulation import CrashPoints, Process
from tests.journeys.in_process_platform import InProcessPlatform
from tests.support.registration_api import RegistrationApi
from tests.support.reporting_round import app_of
from tests.support.servers import Servers

OVER_MONGODB = "shared/kernel/stores/mongodb/"  # the platform in one process stores in memory


@contextmanager
def calls_of(route: list[Hop]) -> Iterator[list[int]]:
    """Collect the numbers of the hops whose functions are called, each at its first call."""
    wanted = {(str(ROOT / hop.path), hop.function): hop.number for hop in route}
    called: list[int] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            number = wanted.get((frame.f_code.co_filename, frame.f_code.co_qualname))
            if number is not None and number not in called:
                called.append(number)

    sys.setprofile(profile)
    try:
        yield called
    finally:
        sys.setprofile(None)


async def carry(platform: InProcessPlatform, registration: RegistrationApi, publish: bool = True) -> str:
    """Register one person over HTTP, let the workers work, and return the ranking page."""
    platform.now = registration.now
    stores: dict[str, Any] = platform.stores
    stores["registration"] = registration.store
    await registration.open_round(quota=3)
    response = await registration.register(key="a-key-of-a-client")
    assert response.status_code == 201, response.text
    if publish:
        await Process(platform, "registration", CrashPoints({})).publish()

    async def topic_ids(topics: dict[str, str]) -> dict[str, str]:
        return topics

    vars(platform.stores["reporting"])["topic_ids"] = topic_ids
    await Process(platform, "reporting", CrashPoints({})).consume()
    app = app_of(RankingCache(platform.stores["reporting"], platform.tallies, platform.clock, pause=0))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        response = await client.get("/ranking?table=1")
        assert response.status_code == 200, response.text
        return response.text


async def test_a_registration_takes_every_hop_in_order(tmp_path: Path) -> None:
    route = [hop for hop in hops() if not hop.path.startswith(OVER_MONGODB)]
    platform, registration = InProcessPlatform(Random(1), error_rate=0.0), RegistrationApi(tmp_path)
    async with registration.client:
        with calls_of(route) as called:
            page = await carry(platform, registration)
    assert [number for number in called if number != 5] == [hop.number for hop in route if hop.number != 5]
    assert 5 in called, "the round is opened by `emit`, too"
    figures = await platform.ranking().figures("1404", fresh=True)
    assert figures is not None and figures.counts["IR-20"].registered == 1
    assert "IR-20" in page or "Semnan" in page or "سمنان" in page


@pytest.mark.server
async def test_over_mongodb_a_registration_takes_the_hops_up_to_its_document(tmp_path: Path, servers: Servers) -> None:
    route = hops()[:6]
    client = connect(servers.mongo)
    name = servers.database()
    registration = RegistrationApi(tmp_path, client, name)
    async with registration.client:
        await registration.open_round(quota=3)
        with calls_of(route) as called:
            response = await registration.register(key="a-key-of-a-client")
    assert response.status_code == 201 and called == [1, 2, 3, 4, 5, 6]
    await client.drop_database(name)
    await client.close()


async def test_a_hop_that_is_left_out_is_found(tmp_path: Path) -> None:
    route = [hop for hop in hops() if not hop.path.startswith(OVER_MONGODB)]
    platform, registration = InProcessPlatform(Random(1), error_rate=0.0), RegistrationApi(tmp_path)
    async with registration.client:
        with calls_of(route) as called:
            await carry(platform, registration, publish=False)
    assert set(called) == {1, 2, 3, 4, 5, 11}, "without an event there are no figures to show"
