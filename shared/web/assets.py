"""Stylesheets, scripts and fonts: from our own folders and from the npm packages, never from another host.

`Service.mounts` names a Mount as "module:attribute": ("web.assets:own", "web.assets:vendor").
"""

from collections.abc import Callable
from os import PathLike, stat_result
from pathlib import Path
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from base.settings import Settings

STATIC = Path(__file__).parent / "static"
SUFFIXES = (".css", ".js", ".mjs", ".map", ".svg", ".png", ".woff", ".woff2", ".ttf", ".json")


class Assets(StaticFiles):
    """Files with the suffixes that pages use; those of a `pinned` package may be cached for a day."""

    def __init__(self, *, directory: str | PathLike[str], pinned: bool = False) -> None:
        super().__init__(directory=directory, check_dir=False)
        self.cache_control = "public, max-age=86400" if pinned else "public, no-cache"

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file, or 404 for any other suffix."""
        if not path.endswith(SUFFIXES):
            path = ""
        return await super().get_response(path, scope)

    def file_response(self, full_path: Any, stat_result: stat_result, scope: Scope, status_code: int = 200) -> Response:
        """Return the file with its Cache-Control."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = self.cache_control
        return response


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
