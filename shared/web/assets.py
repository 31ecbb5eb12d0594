"""Stylesheets, scripts and fonts: from our own folders and from the npm packages, never from another host.

A page names our own files with a digest of their content (`versioned`), so that a browser keeps them for a year and
still never shows an old one. Text is sent compressed.

`Service.mounts` names a Mount as "module:attribute": ("web.assets:own", "web.assets:vendor").
"""

import gzip
import hashlib
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


class Assets(StaticFiles):
    """Files with the suffixes that pages use; those of a `pinned` package may be cached for a day."""

    def __init__(self, *, directory: str | PathLike[str], pinned: bool = False) -> None:
        super().__init__(directory=directory, check_dir=False)
        self.cache_control = A_DAY if pinned else "public, no-cache"

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file, or 404 for any other suffix."""
        if not path.endswith(SUFFIXES):
            path = ""
        return await super().get_response(path, scope)

    def file_response(self, full_path: Any, stat_result: stat_result, scope: Scope, status_code: int = 200) -> Response:
        """Return the file with its Cache-Control, compressed if the client takes that."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        named = parse_qs(scope["query_string"].decode("latin-1")).get("v", [""])[0]
        known = named and named == digest(str(full_path), stat_result.st_mtime_ns, stat_result.st_size)
        usual = MINUTES if self.cache_control == A_DAY and MADE in str(full_path) else self.cache_control
        response.headers["Cache-Control"] = FOREVER if known else usual
        if not str(full_path).endswith(COMPRESSED) or stat_result.st_size < LEAST:
            return response
        response.headers["Vary"] = "Accept-Encoding"
        headers = Headers(scope=scope)
        accepted = {each.partition(";")[0].strip() for each in headers.get("accept-encoding", "").split(",")}
        whole = isinstance(response, FileResponse) and scope["method"] == "GET" and "range" not in headers
        if not whole or "gzip" not in accepted:
            return response
        body = compressed(str(full_path), stat_result.st_mtime_ns, stat_result.st_size)
        kept = {name: value for name, value in response.headers.items() if name not in ("content-length", "etag")}
        kept |= {"etag": f"W/{response.headers['etag']}", "content-encoding": "gzip"}
        return Response(body, status_code, kept)


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

    def assets(self, settings: Settings) -> Assets | None:
        """Return the application that serves the files, if there is a folder."""
        directory = self.directory(settings)
        return None if directory is None else Assets(directory=directory, pinned=self.pinned)


own = Mount("/assets/peyvand", lambda settings: STATIC)
vendor = Mount("/assets/vendor", lambda settings: settings.assets, pinned=True)
