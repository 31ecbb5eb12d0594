"""Screening over HTTP: the cases for programmes, and the officers' desk for people."""

from collections.abc import Awaitable, Callable
from typing import Any

from plumbing import healing, mending, signin, web
from plumbing.clock import Clock
from plumbing.settings import Settings
from plumbing.store import Store
from screening.api import cases, officers
from screening.store import Cases

PREFIX = "/screening"


def create(
    settings: Settings,
    store: Store,
    questions: Cases,
    clock: Clock,
    *,
    ready: Callable[[], Awaitable[list[str]]],
    lifespan: Any = None,
) -> web.App:
    """The API of screening over these records."""
    return web.create_app(
        settings,
        "Screening",
        description="Who is eligible, and what an admitted applicant can make. No identity is ever here.",
        lifespan=lifespan,
        ready=ready,
        prefix=PREFIX,
        routers=[
            cases.router(store, questions, clock),
            officers.router(store, questions, clock),
            mending.router(store, clock),
            healing.router(store),
            signin.router(),
        ],
    )
