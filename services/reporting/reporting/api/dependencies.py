"""What the routes of reporting depend on: the RankingCache of the process."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from reporting.ranking_cache import RankingCache
from web.dependencies import runtime


async def ranking_cache(request: Request) -> RankingCache:
    """Return the figures that are served now; those of another generation after a flip."""
    cache: RankingCache = (await runtime(request)).resources
    return cache


Cache = Annotated[RankingCache, Depends(ranking_cache)]
