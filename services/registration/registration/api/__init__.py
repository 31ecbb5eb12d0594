"""Registration over HTTP: rounds, seats and applications for programmes, and the applicant's own pages."""

from collections.abc import Awaitable, Callable
from typing import Any

from registration.api import applications, applying, following, rounds
from registration.api.probes import Probes
from registration.settings import KeySettings
from registration.store.audit import Audit
from registration.store.office import Office
from registration.store.questions import Questions
from web import app
from web.admin import dead_letters, replays
from web.load_shedding import admission_control_of

PREFIX = "/registration"


def create(
    settings: KeySettings,
    office: Office,
    questions: Questions,
    audit: Audit,
    *,
    ready: Callable[[], Awaitable[list[str]]],
    lifespan: Any = None,
) -> app.App:
    """The API of registration over these records."""
    probes = Probes()
    intake = admission_control_of(
        office.store, "registration", most=settings.intake_unsent, least_free=settings.intake_free
    )
    return app.create_app(
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
            dead_letters.router(office.store, office.clock),
            replays.router(office.store),
        ],
    )
