"""Pagination by cursor, and conditional requests by ETag."""

from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from tests.support.small_api import problem_of

THINGS = "/t/v1/things"


async def test_cursor_leads_through_the_whole_list(client: httpx.AsyncClient) -> None:
    seen: list[int] = []
    query: dict[str, Any] = {"limit": 3, "status": "x"}
    while True:
        response = await client.get(THINGS, params=query)
        seen += response.json()["items"]
        cursor = response.json()["next"]
        if cursor is None:
            assert "link" not in response.headers
            break
        link, _, rel = response.headers["link"].partition(">; ")
        query = {name: values[0] for name, values in parse_qs(link.removeprefix("<?")).items()}
        assert rel == 'rel="next"' and query == {"limit": "3", "status": "x", "after": cursor}

    assert seen == list(range(7))


@pytest.mark.parametrize("limit", ["0", "201", "-1", "many", "1e2", ""])
async def test_invalid_limit_is_refused(client: httpx.AsyncClient, limit: str) -> None:
    problem_of(await client.get(THINGS, params={"limit": limit}), 422, "value_invalid")


@pytest.mark.parametrize("after", ["!", "e30", "bnVsbA", "W3t9XQ", "a" * 999, "W", "چ", "W1tdXQ"])
async def test_invalid_cursor_is_refused(client: httpx.AsyncClient, after: str) -> None:
    problem_of(await client.get(THINGS, params={"after": after}), 400, "cursor_invalid")


async def test_known_version_is_answered_with_304(client: httpx.AsyncClient) -> None:
    first = await client.get(f"{THINGS}/a")
    tag = first.headers["etag"]
    assert first.status_code == 200 and tag == '"a-7"' and first.headers["cache-control"] == "private, no-cache"

    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        repeated = await client.get(f"{THINGS}/a", headers={"If-None-Match": known})
        assert (repeated.status_code, repeated.content, repeated.headers["etag"]) == (304, b"", tag)
    for other in ('"a-6"', "a-7", '"b-7"'):
        assert (await client.get(f"{THINGS}/a", headers={"If-None-Match": other})).status_code == 200
