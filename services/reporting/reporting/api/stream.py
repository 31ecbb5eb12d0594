"""A stream of server-sent events that announces new figures."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.requests import Request

from reporting.api.dependencies import ranking_cache
from web.authorization import public
from web.rate_limit import limited, streaming

VIEWERS = 2_000  # open streams of one process; a browser that is refused shows the page as it is, and asks again
VIEWERS_PER_ADDRESS = 200  # mobile carriers have thousands of people behind one address
RECONNECT = 5_000  # milliseconds

router = APIRouter(prefix="/v1", dependencies=[public(), limited("figures", per_minute=1_200)], tags=["ranking"])


@router.get(
    "/stream",
    response_class=EventSourceResponse,
    responses={204: {"description": "Too many streams are open; do not reconnect at once."}},
    dependencies=[streaming(total=VIEWERS, per_address=VIEWERS_PER_ADDRESS)],
)
async def stream(request: Request) -> AsyncIterator[ServerSentEvent]:
    """Announce that the figures moved (`event: moved`, data: the version), at most once a second; fetch them then."""
    stopping: asyncio.Event = request.app.state.stopping
    cache = await ranking_cache(request)
    version = await cache.refresh()
    yield ServerSentEvent(event="moved", data={"version": version}, id=str(version), retry=RECONNECT)
    stopped = asyncio.create_task(stopping.wait(), name="stopped")
    try:
        while not stopping.is_set():
            if cache is not (served := await ranking_cache(request)):
                cache, version = served, -1
            if cache.version == version:
                await cache.moved(stopped)
            elif not stopping.is_set():
                version = cache.version
                yield ServerSentEvent(event="moved", data={"version": version}, id=str(version))
    finally:
        stopped.cancel()
