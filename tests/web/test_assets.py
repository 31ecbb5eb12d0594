"""Static files: only the suffixes that pages use, nothing outside the folder, cached by where they come from."""

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from base.settings import Settings
from web.assets import Mount, own, vendor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a stylesheet, a file that is no asset, and a secret beside it."""
    (tmp_path / "files" / "package").mkdir(parents=True)
    (tmp_path / "files" / "package" / "style.css").write_text("a { }")
    (tmp_path / "files" / "package.lock").write_text("{}")
    (tmp_path / "secret.css").write_text("b { }")
    return tmp_path / "files"


def client_of(mount: Mount, settings: Settings) -> httpx.AsyncClient:
    """Return a client of the mounted files."""
    app = Starlette()
    assets = mount.assets(settings)
    assert assets is not None
    app.mount(mount.path, assets)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


@pytest.mark.parametrize(("pinned", "caching"), [(True, "public, max-age=86400"), (False, "public, no-cache")])
async def test_files_of_pinned_packages_are_cached(
    folder: Path, settings: Settings, pinned: bool, caching: str
) -> None:
    async with client_of(Mount("/assets/x", lambda _: folder, pinned), settings) as client:
        response = await client.get("/assets/x/package/style.css")

    assert (response.status_code, response.text) == (200, "a { }")
    assert response.headers["cache-control"] == caching


@pytest.mark.parametrize("path", ["package.lock", "package", "", "missing.css", "..%2Fsecret.css", "../secret.css"])
async def test_anything_else_is_not_found(folder: Path, settings: Settings, path: str) -> None:
    async with client_of(Mount("/assets/x", lambda _: folder), settings) as client:
        assert (await client.get(f"/assets/x/{path}")).status_code == 404


async def test_shared_files_are_served(settings: Settings) -> None:
    async with client_of(own, settings) as client:
        response = await client.get("/assets/peyvand/peyvand.css")

    assert response.status_code == 200 and response.headers["content-type"].startswith("text/css")


def test_mount_without_folder_is_left_out(settings: Settings, folder: Path) -> None:
    assert settings.assets is None and vendor.assets(settings) is None
    assert vendor.assets(settings.model_copy(update={"assets": folder})) is not None
