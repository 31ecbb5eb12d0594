"""What every event is: a frozen class in the past tense that holds no personal datum, ever."""

from typing import ClassVar

import msgspec

from contracts.events.words import ApplicationNumber


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Something that happened to one subject, in words a stranger understands."""

    TYPE: ClassVar[str] = ""


class ApplicantEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened to an applicant; `application` counts their applications in the round, from 1.

    Only a reactivation starts another one: what was said about an earlier application no longer counts.
    """

    application: ApplicationNumber = 1
