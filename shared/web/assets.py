"""Stylesheets, scripts and fonts: from our own folders and from the npm packages, never from another host.

Of the packages only the files of `VENDORED` are served; what else is installed with them is a 404.

A page names our own files with a digest of their content (`versioned`), so that a browser keeps them for a year and
still never shows an old one. Text is sent compressed.

`Service.mounts` names a Mount as "module:attribute": ("web.assets:own", "web.assets:vendor").
"""

import asyncio
import gzip
import hashlib
import os
from collections.abc import Callable
from functools import cache
from os import PathLike, stat_result
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from base.settings import Settings

STATIC = Path(__file__).parent / "static"
SUFFIXES = (".css", ".js", ".mjs", ".map", ".svg", ".png", ".woff", ".woff2", ".ttf", ".json")


COMPRESSED = (".css", ".js", ".mjs", ".svg", ".json", ".map")  # a font is compressed already
LEAST = 500  # bytes below which compressing saves no packet
FOREVER = "public, max-age=31536000, immutable"
A_DAY = "public, max-age=86400, stale-while-revalidate=604800"
MADE, MINUTES = "/peyvand/", "public, max-age=600"  # of pinned packages by `make setup`, for the pages of this version


VENDORED = frozenset(  # files of npm packages that pages load, from the folder of the packages
    {
        "htmx.org/dist/htmx.min.js",
        "peyvand/bootstrap.min.css",
        "peyvand/bootstrap.rtl.min.css",
        "peyvand/vazirmatn.woff2",
        "swagger-ui-dist/swagger-ui-bundle.js",
        "swagger-ui-dist/swagger-ui.css",
    }
)


class Assets(StaticFiles):
    """Files with the suffixes that pages use; those of a `pinned` package may be cached for a day.

    With `files`, only these are served.
    """

    def __init__(
        self, *, directory: str | PathLike[str], pinned: bool = False, files: frozenset[str] | None = None
    ) -> None:
        super().__init__(directory=directory, check_dir=False)
        self.files = files
        self.cache_control = A_DAY if pinned else "public, no-cache"

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file, compressed if the client takes that, or 404 for any other suffix or file."""
        if not path.endswith(SUFFIXES) or (self.files is not None and path.replace(os.sep, "/") not in self.files):
            path = ""
        return await _compressed(await super().get_response(path, scope), scope)

    def file_response(self, full_path: Any, stat_result: stat_result, scope: Scope, status_code: int = 200) -> Response:
        """Return the file with its Cache-Control."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        named = parse_qs(scope["query_string"].decode("latin-1")).get("v", [""])[0]
        known = named and named == digest(str(full_path), stat_result.st_mtime_ns, stat_result.st_size)
        usual = MINUTES if self.cache_control == A_DAY and MADE in str(full_path) else self.cache_control
        response.headers["Cache-Control"] = FOREVER if known else usual
        if str(full_path).endswith(COMPRESSED) and stat_result.st_size >= LEAST:
            response.headers["Vary"] = "Accept-Encoding"
        return response


async def _compressed(response: Response, scope: Scope) -> Response:
    """Return a response compressed if it is a whole text and the client takes that; a thread does the work once."""
    headers = Headers(scope=scope)
    accepted = {each.partition(";")[0].strip() for each in headers.get("accept-encoding", "").split(",")}
    whole = isinstance(response, FileResponse) and scope["method"] == "GET" and "range" not in headers
    if not whole or "vary" not in response.headers or "gzip" not in accepted:
        return response
    assert isinstance(response, FileResponse) and response.stat_result is not None
    found = response.stat_result
    body = await asyncio.to_thread(compressed, str(response.path), found.st_mtime_ns, found.st_size)
    kept = {name: value for name, value in response.headers.items() if name not in ("content-length", "etag")}
    kept |= {"etag": f"W/{response.headers['etag']}", "content-encoding": "gzip"}
    return Response(body, response.status_code, kept)


@cache
def digest(path: str, modified: int, size: int) -> str:
    """Return the digest of a file's content, as `versioned` writes it."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


@cache
def compressed(path: str, modified: int, size: int) -> bytes:
    """Return a file compressed; it is compressed once."""
    return gzip.compress(Path(path).read_bytes(), 9, mtime=0)


def versioned(address: str, directory: Path = STATIC) -> str:
    """Return the address of one of our own files with the digest of its content."""
    file = directory / address.rpartition("/")[2]
    found = file.stat()
    return f"{address}?v={digest(str(file), found.st_mtime_ns, found.st_size)}"


class Mount(msgspec.Struct, frozen=True):
    """Static files of a service: where they appear, and their folder by the settings; None leaves them out."""

    path: str  # from the root of the public address, outside the prefix of the service
    directory: Callable[[Settings], Path | None]
    pinned: bool = False
    files: frozenset[str] | None = None  # the only ones that are served; None serves all

    def assets(self, settings: Settings) -> Assets | None:
        """Return the application that serves the files, if there is a folder."""
        directory = self.directory(settings)
        return None if directory is None else Assets(directory=directory, pinned=self.pinned, files=self.files)


own = Mount("/assets/peyvand", lambda settings: STATIC)
vendor = Mount("/assets/vendor", lambda settings: settings.assets, pinned=True, files=VENDORED)
