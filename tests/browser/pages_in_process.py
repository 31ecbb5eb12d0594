"""The public pages of three services in this process, over a real connection: no Kafka, no MongoDB."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from aiohttp.test_utils import unused_port
from starlette.types import Receive, Scope, Send

from peyvand.local_cluster.workspace import current_workspace
from tests.support.authorization_worlds import WORLDS
from web.assets import vendor

PREFIXED = ("registration", "market")


@asynccontextmanager
async def public_pages(folder: Path) -> AsyncIterator[str]:
    """Serve the pages and their assets; yield the address."""
    apps = {}
    for name in (*PREFIXED, "reporting"):
        (folder / name).mkdir()
        apps[name] = (await WORLDS[name](folder / name)).app
    settings = apps["reporting"].state.settings.model_copy(update={"assets": current_workspace().assets})
    assets = vendor.assets(settings)
    assert assets is not None
    apps["reporting"].mount(vendor.path, assets)  # our own are mounted already

    async def by_prefix(scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path"].split("/")[1] if scope["type"] == "http" else ""
        await apps[name if name in PREFIXED else "reporting"](scope, receive, send)

    port = unused_port()
    server = uvicorn.Server(uvicorn.Config(by_prefix, "127.0.0.1", port, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it has no event for that
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving
