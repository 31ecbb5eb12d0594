"""Long work takes turns: a large import does not keep the event loop from other requests."""

import asyncio
import gc
import time
from collections.abc import Awaitable
from pathlib import Path

import httpx
import pytest

from base import tasks
from tests.support.registration_api import a_national_id, csv_file, registration_api

ROWS = 4_000
TIMES = 100.0  # the longest turn of an import may take so much longer than that of one registration


async def longest_turn(work: Awaitable[httpx.Response]) -> float:
    """Return the most CPU seconds between two turns of the event loop while a request is answered with 2xx."""
    longest, done = 0.0, False

    async def measure() -> None:
        nonlocal longest
        while not done:
            began = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - began)

    measuring = asyncio.create_task(measure())
    response = await work
    done = True
    await measuring
    assert response.is_success, response.text[:500]
    return longest


async def ratio(folder: Path) -> float:
    """Return the longest turn of an import over the longest one of a registration."""
    async with registration_api(folder) as api:
        await api.open_round()
        gc.disable()  # its pauses depend on all objects of the process
        try:
            single = [await longest_turn(api.register(national_id=a_national_id(n))) for n in range(11, 16)]
            path = "/v1/rounds/1404/applications/import"
            file = csv_file(range(100, 100 + ROWS))
            whole = await longest_turn(api.request("POST", path, "manager", csv=file, key="key-of-a-file"))
        finally:
            gc.enable()
        assert len(await api.applicants()) == ROWS + 5
    return whole / sorted(single)[2]


async def test_an_import_takes_turns_with_other_requests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The best of three: work that does not take turns is long each time, what a busy machine adds is not."""
    folders = [tmp_path_factory.mktemp("import") for _ in range(3)]
    assert min([await ratio(each) for each in folders]) < TIMES


async def test_work_without_turns_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "SLICE", 60.0)
    assert await ratio(tmp_path) > TIMES
