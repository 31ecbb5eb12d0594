"""Stylesheets, scripts and fonts: from our own folder and from the npm packages; nothing comes from elsewhere."""

from os import PathLike, stat_result
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

KINDS = (".css", ".js", ".mjs", ".map", ".svg", ".png", ".woff", ".woff2", ".ttf", ".json")


class Assets(StaticFiles):
    """Files of the kinds that pages use; `kept` ones belong to a pinned package and may be kept for a day."""

    def __init__(self, *, directory: str | PathLike[str], kept: bool = False) -> None:
        super().__init__(directory=directory, check_dir=False)
        self.cache_control = "public, max-age=86400" if kept else "public, no-cache"

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or 404 for what is no asset."""
        if not path.endswith(KINDS):
            path = ""
        return await super().get_response(path, scope)

    def file_response(self, full_path: Any, stat_result: stat_result, scope: Scope, status_code: int = 200) -> Response:
        """With how long it may be kept."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = self.cache_control
        return response
