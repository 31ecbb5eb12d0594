"""Every page answers before anything is filled in, for a guest and for someone who is signed in."""

from pathlib import Path

import httpx
import pytest

from tests.support.authorization_worlds import WORLDS
from web.app import policies


@pytest.mark.parametrize("service", ["registration", "screening", "market", "reporting"])
async def test_no_page_without_parameters_fails(service: str, tmp_path: Path) -> None:
    world = await WORLDS[service](tmp_path)
    paths = {path for method, path in policies(world.app) if method == "GET" and "{" not in path}
    found = {path for path in paths if not path.endswith("stream")}  # which never end
    assert len(found) >= 3
    transport = httpx.ASGITransport(world.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        for path in sorted(found):
            for headers in ({}, world.issuer.bearer("manager", province="IR-20")):
                response = await client.get(path, headers={"Accept": "text/html", **headers})
                assert response.status_code != 500, f"{path}: {response.text[:300]}"
