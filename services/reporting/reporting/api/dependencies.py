"""What the routes of reporting depend on: the RankingCache of the process."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from reporting.ranking_cache import RankingCache
from web.dependencies import runtime


async def _ranking_cache(request: Request) -> RankingCache:
    cache: RankingCache = (await runtime(request)).resources
    return cache


Cache = Annotated[RankingCache, Depends(_ranking_cache)]
