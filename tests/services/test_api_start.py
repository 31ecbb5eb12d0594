"""How an API starts: what prevents it is logged."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from screening.service import service
from tests.support.service_api import ServiceApi


async def test_what_prevents_the_start_of_an_api_is_logged(tmp_path: Path) -> None:
    @asynccontextmanager
    async def unavailable(runtime: Any) -> AsyncIterator[None]:
        raise PermissionError(13, "with a password in it")
        yield

    api = ServiceApi(replace(service, resources=unavailable), tmp_path, datetime.now(UTC), "registration", "screener")
    with capture_logs() as lines, pytest.raises(PermissionError):
        async with api.app.router.lifespan_context(api.app):
            pass
    (line,) = lines
    assert line["event"] == "the API cannot start" and isinstance(line["exc_info"], PermissionError)
