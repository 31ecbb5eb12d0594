"""Screening over HTTP: the cases for programmes, and the officers' desk for people."""

from collections.abc import Awaitable, Callable
from typing import Any

from base.clock import Clock
from base.settings import Settings
from kernel.store import Store
from screening.api import cases, officers
from screening.store import Cases
from web import app, oidc_login
from web.admin import dead_letters, replays

PREFIX = "/screening"


def create(
    settings: Settings,
    store: Store,
    questions: Cases,
    clock: Clock,
    *,
    ready: Callable[[], Awaitable[list[str]]],
    lifespan: Any = None,
) -> app.App:
    """The API of screening over these records."""
    return app.create_app(
        settings,
        "Screening",
        description="Who is eligible, and what an admitted applicant can make. No identity is ever here.",
        lifespan=lifespan,
        ready=ready,
        prefix=PREFIX,
        routers=[
            cases.router(store, questions, clock),
            officers.router(store, questions, clock),
            dead_letters.router(store, clock),
            replays.router(store),
            oidc_login.router(),
        ],
    )
