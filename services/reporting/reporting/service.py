"""Declaration of reporting: the facts of all other services, and the ranking of the provinces."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from base.settings import Settings
from kernel.service import Runtime, Service
from kernel.store import Projection
from observability.health import ReadinessReason
from reporting import queries
from reporting.domain import RULES
from reporting.generation import generation
from reporting.ranking_cache import RankingCache
from reporting.tallies import tallies_of


@asynccontextmanager
async def resources(runtime: Runtime[Settings]) -> AsyncIterator[RankingCache]:
    """Open the RankingCache: routes read the figures from it, and the projection moves its tallies."""
    yield RankingCache(runtime.store, tallies_of(runtime.store), runtime.clock)


async def ready(runtime: Runtime[Settings]) -> list[ReadinessReason]:
    """Return no reasons once the figures can be read. Raise Transient."""
    cache: RankingCache = runtime.resources
    await cache.refresh()
    if not cache.rounds and await runtime.store.find_subjects(queries.rounds()):
        return [ReadinessReason("rounds_unreadable", "no round can be read: deploy the version that wrote them")]
    return []


def projection(runtime: Runtime[Settings]) -> Projection:
    """Return what moves the tallies: in the worker, and in the API when an operator retries a dead letter."""
    cache: RankingCache = runtime.resources
    return cache.tallies.move


service = Service(
    name="reporting",
    title="Peyvand: the figures of the 31 provinces",
    description="The ranking of the 31 provinces, open to everyone, with the figures behind it. How it is computed: "
    "docs/methodology.md.",
    rules=RULES,
    indexes=queries.INDEXES,
    routers=(
        "reporting.api.ranking:router",
        "reporting.api.stream:router",
        "reporting.pages.ranking:router",
        "reporting.pages.work:router",
        "reporting.pages.help:router",
    ),
    mounts=("reporting.pages.assets:static", "web.assets:own", "web.assets:vendor"),
    sign_in=True,
    settings=Settings,
    resources=resources,
    ready=ready,
    projection=projection,
    generation=generation,
)
