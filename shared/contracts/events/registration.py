"""Events of registration: rounds, quotas, applications and seats."""

from typing import Annotated, ClassVar

from contracts.events.event import ApplicantEvent, Event
from contracts.events.fields import (
    FEW,
    MANY,
    AgeBand,
    ErasureReason,
    IdentityResult,
    IntakeChannel,
    JobFieldCode,
    PerMille,
    ProgrammeInstant,
    ProposalAction,
    ProposalId,
    ProposalReason,
    ProposalRefusal,
    ProvinceCode,
    SeatReleaseReason,
    Seats,
    Sex,
    WithdrawalReason,
    WorkMode,
)


class RoundOpened(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A round was opened for these job fields, from `opens` until `closes`. Subject: the round.

    `simulated_per_mille` is above 0 if the round is a simulation: no one in it is real, and its provinces have that
    share of their size, but for those of `simulated_whole`, which have all of it.
    """

    TYPE = "ir.peyvand.registration.round.opened.v1"
    KIND = "round"
    fields: Annotated[tuple[JobFieldCode, ...], MANY]
    opens: ProgrammeInstant
    closes: ProgrammeInstant
    simulated_per_mille: PerMille = 0
    simulated_whole: Annotated[tuple[ProvinceCode, ...], FEW] = ()


class RoundWindowSet(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The intake window of one province within the round was set; `province` names it. Subject: the round."""

    TYPE = "ir.peyvand.registration.round.window_set.v1"
    KIND = "round"
    opens: ProgrammeInstant
    closes: ProgrammeInstant


class QuotaSet(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The number of seats of a province in a round was set. Subject: the seat ledger."""

    TYPE = "ir.peyvand.registration.quota.set.v1"
    KIND = "ledger"
    quota: Seats
    previous: Seats = 0
    proposal: ProposalId = ""


class QuotaMoved(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Seats were moved between this province and another one, whose ledger has the same event. Subject: the ledger."""

    TYPE = "ir.peyvand.registration.quota.moved.v1"
    KIND = "ledger"
    quota: Seats
    previous: Seats = 0
    counterpart: ProvinceCode
    proposal: ProposalId = ""


class ProposalMade(Event, frozen=True, kw_only=True, omit_defaults=True):
    """It was proposed to change the quotas of provinces; nothing changes until a second person has signed.

    `before` and `after` are the quotas of `provinces`, in the same order. Subject: the proposal.
    """

    TYPE = "ir.peyvand.registration.proposal.made.v1"
    KIND = "proposal"
    action: ProposalAction
    reason: ProposalReason
    provinces: Annotated[tuple[ProvinceCode, ...], FEW]
    before: Annotated[tuple[Seats, ...], FEW]
    after: Annotated[tuple[Seats, ...], FEW]
    expires: ProgrammeInstant


class ProposalSigned(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A second person signed the proposal, and it took effect with the signature. Subject: the proposal."""

    TYPE = "ir.peyvand.registration.proposal.signed.v1"
    KIND = "proposal"


class ProposalDeclined(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The second person did not sign the proposal, which is closed. Subject: the proposal."""

    TYPE = "ir.peyvand.registration.proposal.declined.v1"
    KIND = "proposal"
    reason: ProposalRefusal


class ProposalWithdrawn(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Who made the proposal withdrew it. Subject: the proposal."""

    TYPE = "ir.peyvand.registration.proposal.withdrawn.v1"
    KIND = "proposal"


class ProposalExpired(Event, frozen=True, kw_only=True, omit_defaults=True):
    """No one signed the proposal in time. Subject: the proposal."""

    TYPE = "ir.peyvand.registration.proposal.expired.v1"
    KIND = "proposal"


class ProfileEvent(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """What an applicant answered; events contain these of the answers."""

    sex: Sex
    age_band: AgeBand
    work_mode: WorkMode


class ApplicationEvent(ProfileEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An application."""

    intake_channel: IntakeChannel


class ApplicantRegistered(ApplicationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An application was accepted. Its registration time is the `time` of this event."""

    TYPE = "ir.peyvand.registration.applicant.registered.v1"


class ApplicantReactivated(ApplicationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A withdrawn applicant applied again, under the same id and with the next `application` number."""

    TYPE = "ir.peyvand.registration.applicant.reactivated.v1"


class ApplicantUpdated(ProfileEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The data of an application was corrected; county and job field are those of the context from now on.

    With `identity_changed` an earlier answer of the identity registry no longer counts: it is queried again.
    """

    TYPE = "ir.peyvand.registration.applicant.updated.v1"
    identity_changed: bool = False


class ApplicantCodeReissued(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An officer issued another tracking code to the applicant, who had lost theirs; the former one is void."""

    TYPE = "ir.peyvand.registration.applicant.code_reissued.v1"


class ApplicantIdentityChecked(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The identity registry responded to a check of the applicant."""

    TYPE = "ir.peyvand.registration.applicant.identity_checked.v1"
    result: IdentityResult


class ApplicantAdmitted(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The applicant was given a seat: from the waiting list if `promoted`, else at once."""

    TYPE = "ir.peyvand.registration.applicant.admitted.v1"
    promoted: bool = False


class ApplicantWaitlisted(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """No seat is free; the applicant was put on the waiting list, in the published order."""

    TYPE = "ir.peyvand.registration.applicant.waitlisted.v1"


class ApplicantSeatReleased(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The applicant gave up the seat, which is free again."""

    TYPE = "ir.peyvand.registration.applicant.seat_released.v1"
    reason: SeatReleaseReason


class ApplicantWithdrawn(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The applicant withdrew from the round. A later application reactivates the same applicant."""

    TYPE = "ir.peyvand.registration.applicant.withdrawn.v1"
    reason: WithdrawalReason


class ApplicantErased(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The applicant's data was erased; an active applicant was withdrawn first. No application can follow in the round.

    Consumers delete at once what they hold of the applicant below the province.
    """

    TYPE = "ir.peyvand.registration.applicant.erased.v1"
    APPLIES_AT_ONCE: ClassVar[bool] = True
    reason: ErasureReason
