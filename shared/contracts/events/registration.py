"""What registration says: who is in, and which seat."""

from datetime import datetime

from contracts.events.event import ApplicantEvent, Event


class RoundOpened(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A round accepts applications for these job fields between two instants. Subject: the round."""

    TYPE = "ir.peyvand.registration.round.opened.v1"
    fields: tuple[str, ...]
    opens: datetime
    closes: datetime


class RoundWindowSet(Event, frozen=True, kw_only=True, omit_defaults=True):
    """One province's intake window within the round (its province stands in the context). Subject: the round."""

    TYPE = "ir.peyvand.registration.round.window_set.v1"
    opens: datetime
    closes: datetime


class QuotaSet(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A province's quota of seats in a round. Subject: the ledger."""

    TYPE = "ir.peyvand.registration.quota.set.v1"
    quota: int
    previous: int = 0


class ApplicantRegistered(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An application was accepted; the time of this event is `registered_at`."""

    TYPE = "ir.peyvand.registration.applicant.registered.v1"
    sex: str  # female | male
    age_band: str  # 18-24 | 25-34 | 35-44 | 45-54 | 55+
    work_mode: str  # independent | supported | workshop
    intake_channel: str  # web | desk | import | api


class ApplicantReactivated(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody who had withdrawn registered again: the same id, a new application."""

    TYPE = "ir.peyvand.registration.applicant.reactivated.v1"
    sex: str
    age_band: str
    work_mode: str
    intake_channel: str


class ApplicantIdentityChecked(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The identity registry answered."""

    TYPE = "ir.peyvand.registration.applicant.identity_checked.v1"
    result: str  # match | mismatch | unavailable


class ApplicantAdmitted(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The applicant holds a seat now; `promoted` from the waiting list or at once."""

    TYPE = "ir.peyvand.registration.applicant.admitted.v1"
    promoted: bool = False


class ApplicantWaitlisted(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """No seat is free; the applicant waits in the published order."""

    TYPE = "ir.peyvand.registration.applicant.waitlisted.v1"


class ApplicantSeatReleased(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The applicant holds the seat no longer."""

    TYPE = "ir.peyvand.registration.applicant.seat_released.v1"
    reason: str  # withdrawn


class ApplicantWithdrawn(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The applicant left the round; registering again reactivates the same applicant."""

    TYPE = "ir.peyvand.registration.applicant.withdrawn.v1"
    reason: str  # own_request | found_work | moved | health | other
