"""What registration says: who is in, and which seat."""

from contracts.events.event import ApplicantEvent, Event
from contracts.events.words import (
    AgeBand,
    IdentityResult,
    IntakeChannel,
    JobFieldCode,
    ProgrammeInstant,
    SeatReleaseReason,
    Seats,
    Sex,
    WithdrawalReason,
    WorkMode,
)


class RoundOpened(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A round accepts applications for these job fields between two instants. Subject: the round."""

    TYPE = "ir.peyvand.registration.round.opened.v1"
    fields: tuple[JobFieldCode, ...]
    opens: ProgrammeInstant
    closes: ProgrammeInstant


class RoundWindowSet(Event, frozen=True, kw_only=True, omit_defaults=True):
    """One province's intake window within the round (its province stands in the context). Subject: the round."""

    TYPE = "ir.peyvand.registration.round.window_set.v1"
    opens: ProgrammeInstant
    closes: ProgrammeInstant


class QuotaSet(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A province's quota of seats in a round. Subject: the ledger."""

    TYPE = "ir.peyvand.registration.quota.set.v1"
    quota: Seats
    previous: Seats = 0


class ApplicantRegistered(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An application was accepted; the time of this event is `registered_at`."""

    TYPE = "ir.peyvand.registration.applicant.registered.v1"
    sex: Sex
    age_band: AgeBand
    work_mode: WorkMode
    intake_channel: IntakeChannel


class ApplicantReactivated(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody who had withdrawn registered again: the same id, a new application."""

    TYPE = "ir.peyvand.registration.applicant.reactivated.v1"
    sex: Sex
    age_band: AgeBand
    work_mode: WorkMode
    intake_channel: IntakeChannel


class ApplicantIdentityChecked(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The identity registry answered."""

    TYPE = "ir.peyvand.registration.applicant.identity_checked.v1"
    result: IdentityResult


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
    reason: SeatReleaseReason


class ApplicantWithdrawn(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The applicant left the round; registering again reactivates the same applicant."""

    TYPE = "ir.peyvand.registration.applicant.withdrawn.v1"
    reason: WithdrawalReason
