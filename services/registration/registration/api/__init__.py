"""Registration over HTTP: rounds, seats and applications for programmes, and the applicant's own pages."""

from collections.abc import Awaitable, Callable
from typing import Any

from plumbing import healing, mending, web
from plumbing.settings import KeySettings
from plumbing.shedding import intake_of
from registration.api import applications, applying, following, rounds
from registration.api.probes import Probes
from registration.store.audit import Audit
from registration.store.office import Office
from registration.store.questions import Questions

PREFIX = "/registration"


def create(
    settings: KeySettings,
    office: Office,
    questions: Questions,
    audit: Audit,
    *,
    ready: Callable[[], Awaitable[list[str]]],
    lifespan: Any = None,
) -> web.App:
    """The API of registration over these records."""
    probes = Probes()
    intake = intake_of(office.store, "registration", most=settings.intake_unsent, least_free=settings.intake_free)
    return web.create_app(
        settings,
        "Registration",
        description="Who is in, once, nationwide, and which seat.",
        lifespan=lifespan,
        ready=ready,
        prefix=PREFIX,
        routers=[
            rounds.router(office, questions),
            applications.router(office, questions, audit, probes, intake),
            applying.router(office, questions, settings, probes, intake),
            following.router(office, questions),
            mending.router(office.store, office.clock),
            healing.router(office.store),
        ],
    )
