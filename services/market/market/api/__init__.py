"""Market over HTTP: lead enterprises, producers, offers and connections, and one page for everybody."""

from collections.abc import Awaitable, Callable
from typing import Any

from market.api import leads, page, producers
from market.store import Questions
from plumbing import healing, mending, web
from plumbing.clock import Clock
from plumbing.settings import Settings
from plumbing.store import Store

PREFIX = "/market"


def create(
    settings: Settings,
    store: Store,
    questions: Questions,
    clock: Clock,
    *,
    ready: Callable[[], Awaitable[list[str]]],
    lifespan: Any = None,
) -> web.App:
    """The API of market over these records."""
    return web.create_app(
        settings,
        "Market",
        description="Who sells where, with what evidence. Producers are known by a random id, never by name.",
        lifespan=lifespan,
        ready=ready,
        prefix=PREFIX,
        routers=[
            leads.router(store, questions, clock),
            producers.router(store, questions, clock),
            page.router(questions),
            mending.router(store, clock),
            healing.router(store),
        ],
    )
