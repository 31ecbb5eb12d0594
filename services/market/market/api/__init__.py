"""Market over HTTP: lead enterprises, producers, offers and connections, and one page for everybody."""

from collections.abc import Awaitable, Callable
from typing import Any

from base.clock import Clock
from base.settings import Settings
from kernel.store import Store
from market.api import leads, page, producers
from market.store import Questions
from web import app
from web.admin import dead_letters, replays

PREFIX = "/market"


def create(
    settings: Settings,
    store: Store,
    questions: Questions,
    clock: Clock,
    *,
    ready: Callable[[], Awaitable[list[str]]],
    lifespan: Any = None,
) -> app.App:
    """The API of market over these records."""
    return app.create_app(
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
            dead_letters.router(store, clock),
            replays.router(store),
        ],
    )
