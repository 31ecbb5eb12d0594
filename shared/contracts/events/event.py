"""Base classes of all events: frozen, named in the past tense, without personal data."""

from typing import ClassVar

import msgspec

from contracts.events.fields import ApplicationNumber


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A fact about one subject. The class docstring and the field types become the published JSON Schema."""

    TYPE: ClassVar[str] = ""
    KIND: ClassVar[str] = ""  # of the subject
    APPLIES_AT_ONCE: ClassVar[bool] = False  # folded when it arrives, even if earlier ones are missing; and in its turn


class ApplicantEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A fact about an applicant. `application` counts the applicant's applications in the round, from 1.

    Only `ApplicantReactivated` starts another application; events about an earlier one no longer count.
    """

    KIND = "applicant"
    application: ApplicationNumber = 1
