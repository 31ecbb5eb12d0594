"""A stream of server-sent events: a table as a whole, then the rows that changed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from fastapi import APIRouter
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.requests import Request

from reporting import schemas
from reporting.api.dependencies import Cache, ranking_cache
from reporting.api.ranking import NO_ROUND, RoundFigures, Table
from reporting.domain.figures import Figures
from reporting.ranking_cache import RankingCache
from web.authorization import public
from web.rate_limit import limited, streaming

VIEWERS = 2_000  # open streams of one process; a browser that is refused shows the page as it is, and asks again
VIEWERS_PER_ADDRESS = 200  # mobile carriers have thousands of people behind one address
RECONNECT = 5_000  # milliseconds

Parts = dict[str, Any]

router = APIRouter(prefix="/v1", dependencies=[public(), limited("figures", per_minute=1_200)], tags=["ranking"])


def viewers() -> Any:
    """Return the dependency that limits how many streams are open, of all kinds."""
    return streaming(total=VIEWERS, per_address=VIEWERS_PER_ADDRESS)


class View(Protocol):
    """A table as one kind of viewer gets it, in parts."""

    @property
    def name(self) -> tuple[str, ...]:
        """Return a name under which what is made of the same figures is kept for other viewers."""

    def parts(self, figures: Figures) -> Parts:
        """Return the parts by names that do not change."""

    def message(self, figures: Figures, parts: Sequence[Any], since: int | None) -> str:
        """Return the data of an event: all parts, or those that changed since a version."""


class Rows:
    """The rows of a table as `/v1/ranking` returns them."""

    def __init__(self, table: schemas.TableName) -> None:
        self.table = table

    @property
    def name(self) -> tuple[str, ...]:
        """Return the name of the table."""
        return ("json", self.table)

    def parts(self, figures: Figures) -> Parts:
        """Return the rows by province."""
        return {row.province: row for row in schemas.ranking(figures, self.table).rows}

    def message(self, figures: Figures, parts: Sequence[Any], since: int | None) -> str:
        """Return the response of `/v1/ranking`, or RankingChanges, as JSON."""
        if since is None:
            return schemas.ranking(figures, self.table).model_dump_json()
        return schemas.ranking_changes(figures, self.table, parts, since).model_dump_json()


@router.get(
    "/stream",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "`event: table` with all rows of a table, as `/v1/ranking` returns it; then `event: rows` "
            "with those that changed `since` the version of the event before, at most once a second."
        },
        204: {"description": "Too many streams are open; do not reconnect at once."},
    },
    dependencies=[viewers()],
    openapi_extra=NO_ROUND,
)
async def stream(
    request: Request, cache: Cache, figures: RoundFigures, table: Table = "composite"
) -> AsyncIterator[ServerSentEvent]:
    """Send a table, and its rows whenever they change.

    Rows are ordered by rank, those of one rank and those without one by province. Who does not have the version that
    `since` names has missed an event: connect again.
    """
    async for event in follow(request, cache, figures, Rows(table)):
        yield event


async def follow(
    request: Request, cache: RankingCache, figures: Figures, view: View, pause: float = 0.0
) -> AsyncIterator[ServerSentEvent]:
    """Yield a table, then what changes of it, after a pause of some seconds at least. Raise Transient.

    The figures of another generation begin with a whole table.
    """
    stopping: asyncio.Event = request.app.state.stopping
    stopped = asyncio.create_task(stopping.wait(), name="stopped")
    round_id, since, known = figures.round.round, None, Parts()
    try:
        while not stopping.is_set():
            yield ServerSentEvent(
                event="table" if since is None else "rows",
                raw_data=_message(view, figures, since, known),
                id=str(figures.version),
                retry=RECONNECT if since is None else None,
            )
            since, known = figures.version, _parts(view, figures)
            del figures  # a viewer who does not read must not keep all of them
            await asyncio.wait({stopped}, timeout=pause)
            while True:
                if cache is not (served := await ranking_cache(request)):
                    cache, since, known = served, None, Parts()
                if cache.version != since or stopping.is_set():
                    break
                await cache.moved(stopped)
            if (found := await cache.figures(round_id)) is None:
                return  # the store was thrown away
            figures = found
    finally:
        stopped.cancel()


def _message(view: View, figures: Figures, since: int | None, known: Parts) -> str:
    """Return what a viewer lacks; those who lack the same share it."""
    key = (*view.name, str(since))
    if key not in figures.rendered:
        changed = [part for name, part in _parts(view, figures).items() if known.get(name) != part]
        figures.rendered[key] = view.message(figures, changed, since)
    message: str = figures.rendered[key]
    return message


def _parts(view: View, figures: Figures) -> Parts:
    if view.name not in figures.rendered:
        figures.rendered[view.name] = view.parts(figures)
    parts: Parts = figures.rendered[view.name]
    return parts
