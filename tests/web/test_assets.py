"""Static files: only the suffixes that pages use, nothing outside the folder, cached by where they come from."""

import re
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from base.settings import Settings
from tests.house.sources import committed, read
from web.app import App
from web.assets import A_DAY, FOREVER, STATIC, VENDORED, Mount, own, vendor, versioned


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


@pytest.mark.parametrize(("pinned", "caching"), [(True, A_DAY), (False, "public, no-cache")])
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


async def test_a_file_named_by_its_digest_is_kept_for_a_year(settings: Settings) -> None:
    address = versioned("/assets/peyvand/peyvand.css")
    async with client_of(own, settings) as client:
        assert (await client.get(address)).headers["cache-control"] == FOREVER
        for other in ("/assets/peyvand/peyvand.css", f"{address[:-1]}x", "/assets/peyvand/peyvand.css?v="):
            assert (await client.get(other)).headers["cache-control"] == "public, no-cache", other


def test_the_address_follows_the_content(tmp_path: Path) -> None:
    file = tmp_path / "a.css"
    file.write_text("a { }")
    first = versioned("/assets/x/a.css", tmp_path)
    file.write_text("a { gap: 0; }")
    assert versioned("/assets/x/a.css", tmp_path) != first


async def test_text_is_compressed_for_those_who_take_it(settings: Settings) -> None:
    path, whole = "/assets/peyvand/peyvand.css", (STATIC / "peyvand.css").read_text()
    async with client_of(own, settings) as client:
        small = await client.get(path, headers={"Accept-Encoding": "br, gzip;q=0.8"})
        assert small.headers["content-encoding"] == "gzip" and small.text == whole
        assert int(small.headers["content-length"]) < len(whole) / 3
        plain = await client.get(path, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers and plain.text == whole
        assert small.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
        assert small.headers["etag"] != plain.headers["etag"]
        again = {"Accept-Encoding": "gzip", "If-None-Match": small.headers["etag"]}
        assert (await client.get(path, headers=again)).status_code == 304
        part = await client.get(path, headers={"Accept-Encoding": "gzip", "Range": "bytes=0-9"})
        assert part.status_code == 206 and part.text == whole[:10]
        head = await client.head(path, headers={"Accept-Encoding": "gzip"})
        assert head.status_code == 200 and head.content == b""


async def test_a_font_and_a_small_file_are_sent_as_they_are(folder: Path, settings: Settings) -> None:
    (folder / "font.woff2").write_bytes(b"wOF2" * 1_000)
    async with client_of(Mount("/assets/x", lambda _: folder), settings) as client:
        for path in ("font.woff2", "package/style.css"):
            response = await client.get(f"/assets/x/{path}", headers={"Accept-Encoding": "gzip"})
            assert response.status_code == 200 and "content-encoding" not in response.headers


def loaded(text: str) -> set[str]:
    """Return what a template, a stylesheet or a page loads of the packages, for both languages."""
    found = re.findall(r"/assets/vendor/((?:\{\{.*?\}\}|[^\"'()\s{])+)", text)
    return {
        re.sub(r"\{\{ '([^']*)' if .*?\}\}", chosen, each)
        for each in found
        for chosen in (r"\1", "")  # as in `{{ '.rtl' if lang == 'fa' }}`
    }


async def test_exactly_what_pages_load_of_the_packages_is_served(app: App, folder: Path, settings: Settings) -> None:
    files = [file for file in committed() if file.endswith((".html", ".css", ".js")) and not file.startswith("tests/")]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        docs = (await client.get("/t/docs")).text
    assert set().union(*(loaded(read(file)) for file in files), loaded(docs)) == VENDORED
    for path in (*VENDORED, "axe-core/axe.min.js", "bootstrap/dist/css/bootstrap.css", "swagger-ui-dist/package.json"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x")
        async with client_of(vendor, settings.model_copy(update={"assets": folder})) as client:
            for written in (path, path.replace("/", "//"), f"x/../{path}"):
                status = (await client.get(f"{vendor.path}/{written}")).status_code
                assert status == (200 if path in VENDORED else 404), written


def test_a_file_that_a_page_loads_is_found() -> None:
    assert loaded("""<link href="/assets/vendor/a/b{{ '.rtl' if lang == 'fa' }}.css">""") == {"a/b.css", "a/b.rtl.css"}
    assert loaded("@font-face { src: url('/assets/vendor/a/b.woff2') }") == {"a/b.woff2"}


def test_mount_without_folder_is_left_out(settings: Settings, folder: Path) -> None:
    assert settings.assets is None and vendor.assets(settings) is None
    assert vendor.assets(settings.model_copy(update={"assets": folder})) is not None
