"""The contracts of the next version: registration emits one more type of event."""

from contracts import events
from contracts.events import registration
from contracts.events.event import ApplicantEvent


class ApplicantPhotographed(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An applicant was photographed."""

    TYPE = "ir.peyvand.registration.applicant.photographed.v1"
    work_mode: str = ""


def register() -> None:
    """Add the type to the contracts of this process. Call it before anything imports `contracts.envelope`."""
    ApplicantPhotographed.__module__ = registration.__name__
    events.TYPES[ApplicantPhotographed.TYPE] = ApplicantPhotographed
