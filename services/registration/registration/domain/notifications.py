"""What an applicant is notified of: each event that needs their attention, once, and from when it may be sent.

The state of an applicant lists what is not settled. It is folded from the events, so it is stored in the write of the
change itself; what became of a message is in the private part of the record, which no fold changes.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from contracts.events import (
    ApplicantAdmitted,
    ApplicantCodeReissued,
    ApplicantIdentityChecked,
    ApplicantReactivated,
    ApplicantRegistered,
    ApplicantUpdated,
    ApplicantWaitlisted,
    ApplicantWithdrawn,
    CapacityIdentified,
    CaseAppealDecided,
    CaseDecided,
    CaseInfoRequested,
    Event,
)
from programme.calendar import TEHRAN
from programme.notifications import Template
from programme.policies import NotificationRules
from registration.domain.progress import Application

DAY = timedelta(days=1)


class Notification(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message that is not settled: its occasion in which application, and when it is to be looked at next."""

    occasion: str  # of programme.notifications.TEMPLATES
    application: int
    number: int = 0  # of the tracking code, the correction or the request that it is about
    at: datetime  # of the event
    due: datetime

    @property
    def key(self) -> str:
        """Return what distinguishes it from every other message to the applicant."""
        return f"{self.application}/{self.occasion}/{self.number}"


def occasion_of(event: Event) -> str:
    """Return the occasion to notify an applicant of an event about their present application; empty if none."""
    match event:
        case ApplicantRegistered() | ApplicantReactivated():
            return "registered"
        case ApplicantCodeReissued():
            return "code"
        case ApplicantUpdated():
            return "corrected"
        case ApplicantWithdrawn(reason=reason):
            return "" if reason == "erased" else "withdrawn"
        case ApplicantIdentityChecked(result="mismatch"):
            return "identity_refused"
        case CaseDecided(outcome="rejected"):
            return "rejected"
        case CaseAppealDecided(outcome="rejected"):
            return "appeal_rejected"
    return _OCCASIONS.get(type(event), "")


def numbered(occasion: str, codes: int, current: Application) -> int:
    """Return the number of a message, given how many codes were issued: 0 if it comes once at most."""
    if occasion in ("registered", "code"):
        return codes
    if occasion == "papers":
        return current.info_requests
    return current.corrections if occasion in ("corrected", "identity_refused") else 0


def added(
    notifications: Sequence[Notification], occasion: str, application: int, number: int, at: datetime
) -> tuple[Notification, ...]:
    """Return the notifications with another one, unless they have it."""
    new = Notification(occasion=occasion, application=application, number=number, at=at, due=at)
    return (*notifications, *([] if new.key in {each.key for each in notifications} else [new]))


def settled(notifications: Sequence[Notification], key: str) -> tuple[Notification, ...]:
    """Return the notifications without the one that nothing is left to do for."""
    return tuple(each for each in notifications if each.key != key)


def postponed(notifications: Sequence[Notification], key: str, due: datetime) -> tuple[Notification, ...]:
    """Return the notifications with one that is to be looked at later."""
    return tuple(replace(each, due=due) if each.key == key else each for each in notifications)


def sendable_from(template: Template, rules: NotificationRules, now: datetime, sent: Collection[datetime]) -> datetime:
    """Return when a message may be sent, now or later, given when others were sent to the person.

    Quiet hours are those of Tehran. The limit is one of any 24 hours.
    """
    if template.urgent:
        return now
    recent = sorted(at for at in sent if at > now - DAY)
    if len(recent) >= rules.daily_limit:
        now = recent[-rules.daily_limit] + DAY
    local = now.astimezone(TEHRAN)
    if rules.quiet_until <= local.hour < rules.quiet_from:
        return now
    morning = local.replace(hour=rules.quiet_until, minute=0, second=0, microsecond=0)
    return (morning if local.hour < rules.quiet_until else morning + DAY).astimezone(now.tzinfo)


_OCCASIONS: dict[type[Event], str] = {
    ApplicantWaitlisted: "waitlisted",
    ApplicantAdmitted: "admitted",
    CapacityIdentified: "identified",
    CaseInfoRequested: "papers",
}
