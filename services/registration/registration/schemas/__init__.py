"""Request and response models of registration's API. The fields of an application follow from `application.FIELDS`."""

from datetime import date, datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, Field, create_model, field_validator

from base.ids import shown_code
from contracts.codes import ERASURE_REASONS
from contracts.events.fields import INSTANT_YEARS
from kernel.record import Record
from programme import calendar
from programme.policies import CURRENT
from registration.domain import applicant, consent, ledger
from registration.domain import round as rounds
from registration.domain.application import FIELD, FIELDS, PROFILE, Values
from web.app import Body

Instant = Field(description="With its time zone, from 2000 to 2899.", examples=["2025-09-27T04:30:00Z"])


class Interval(Body):
    """From `opens` until before `closes`."""

    opens: AwareDatetime = Instant
    closes: AwareDatetime = Instant

    @field_validator("opens", "closes")
    @classmethod
    def _is_in_bounds(cls, value: datetime) -> datetime:
        if value.year not in INSTANT_YEARS:
            raise ValueError("a year that no event may have")
        return value


class Window(Interval):
    """When one province takes applications, within the window of the round."""

    province: str = Field(max_length=8, examples=["IR-20"])


class Simulated(Body):
    """A simulated round: no one in it is real."""

    per_mille: int = Field(ge=1, le=1_000, description="Size, in thousandths of a real round.", examples=[40])
    whole: list[str] = Field(default=[], max_length=31, description="Provinces of their whole size.")


class RoundTerms(Interval):
    """The complete round as it should be."""

    fields: list[str] = Field(max_length=2_000, examples=[["JF001", "JF002"]])
    windows: list[Window] = Field(default=[], max_length=31)
    policy: str = Field(default=CURRENT, max_length=40)
    simulated: Simulated | None = Field(default=None, description="Set for a simulation only; it is never changed.")


class RoundWindow(BaseModel):
    """The intake window of one province."""

    province: str
    opens: datetime
    closes: datetime


class Round(BaseModel):
    """A round."""

    id: str = Field(examples=["1404"])
    fields: list[str]
    opens: datetime
    closes: datetime
    windows: list[RoundWindow]
    policy: str
    simulated: Simulated | None = None


class Seats(BaseModel):
    """The seats of one province: quota = available + held + admitted."""

    province: str = Field(examples=["IR-20"])
    quota: int
    available: int
    held: int
    admitted: int


class ProvinceSeats(Seats):
    """The seats of one province, and how many applicants wait for one."""

    waiting: int


class Consent(Body):
    """The agreement to a version of the consent."""

    version: str = Field(max_length=40, examples=[consent.CURRENT])
    given: bool


_ANSWERS: dict[str, Any] = {
    each.name: (
        str,
        Field(max_length=each.max_length, examples=[each.example], description=each.description or None),
    )
    for each in FIELDS
    if each.step
}


class ApplicationRequest(create_model("Answers", __base__=Body, **_ANSWERS)):  # type: ignore[misc]
    """An application as typed: Persian digits, separators and Jalali or Gregorian dates are accepted."""

    consent: Consent
    channel: Literal["web", "desk", "api"] | None = Field(default=None, description="Where the application was made.")

    def answers(self) -> dict[str, str]:
        """Return each answer by the name of its field."""
        version = self.consent.version if self.consent.given else ""
        return {**{name: getattr(self, name) for name in _ANSWERS}, "consent": version}


class Registered(BaseModel):
    """A registered application."""

    id: str
    tracking_code: str = Field(examples=["9H2K4-MZQ7B"])
    status: str = Field(examples=["registered"])
    application: int
    round: str
    province: str
    county: str
    field: str
    registered_at: datetime


class Listed(BaseModel):
    """An applicant in a list, without identity."""

    id: str
    status: str
    application: int
    province: str
    county: str
    field: str
    channel: str
    identity_check: str
    registered_at: datetime | None = Field(description="Null once the applicant is erased, as are county and field.")


_IDENTITY: dict[str, Any] = {each.name: (each.value_type, ...) for each in FIELDS if each.identity}
_PROFILE: dict[str, Any] = {name: (str, ...) for name in PROFILE}


class Identity(create_model("SealedIdentity", **_IDENTITY)):  # type: ignore[misc]
    """The identity of an applicant. Every reading is recorded in the audit chain."""

    birth_date_jalali: str


class Progress(BaseModel):
    """The dates of an application; all of them are null once the applicant is erased."""

    registered_at: datetime | None
    case_due: date | None
    info_items: list[str] = Field(description="The papers that screening asked for last, by their codes.")
    info_requested_at: datetime | None
    info_due: date | None = Field(description="The last day to bring them.")
    info_supplied_at: datetime | None
    info_lapsed: bool = Field(description="The last day passed without them.")
    decided_at: datetime | None = Field(description="The first decision.")
    appealed_at: datetime | None
    appeal_due: date | None
    appeal_decided_at: datetime | None
    waitlisted_at: datetime | None
    admitted_at: datetime | None
    capacity_due: date | None
    identified_at: datetime | None
    withdrawn_at: datetime | None


class Application(create_model("Profile", __base__=Listed, **_PROFILE)):  # type: ignore[misc]
    """One applicant with all fields."""

    outcome: str
    reasons: list[str]
    progress: Progress
    identity: Identity | None
    identity_withheld: Literal["", "purpose_needed", "erased", "lost"] = Field(
        description="Why there is no identity. purpose_needed: the applicant has withdrawn; repeat with a `purpose`."
    )
    identity_confirmed: bool = Field(
        description="False after a restore that lost the identity or the last change of it: identify them again."
    )


class Tracked(BaseModel):
    """What a tracking code shows: status and dates, no identity."""

    tracking_code: str
    status: str
    round: str
    province: str
    progress: Progress


class LostCode(Body):
    """The applicant who has lost the tracking code, by their national card."""

    national_id: str = Field(max_length=FIELD["national_id"].max_length, examples=[FIELD["national_id"].example])


class Reissued(BaseModel):
    """The tracking code that replaces a lost one."""

    id: str
    tracking_code: str = Field(examples=["9H2K4-MZQ7B"])


class Withdrawal(Body):
    """A withdrawal, by the form that the applicant signed."""

    reason: str = Field(max_length=40, examples=["own_request"])
    form_number: str = Field(max_length=20, examples=["20-1404-173"])


class Erasure(Body):
    """An erasure, or with `dry_run` whether it would be possible."""

    reason: str = Field(max_length=40, examples=["request"], json_schema_extra={"enum": list(ERASURE_REASONS)})
    form_number: str = Field(
        default="",
        max_length=20,
        description="Of the form that the person signed; required where the reason is their request.",
        examples=["20-1404-173"],
    )
    dry_run: bool = False


class Erased(BaseModel):
    """What is left of an erased applicant; of a dry run the applicant as they are."""

    id: str
    status: str = Field(examples=["erased"])
    round: str
    province: str
    application: int
    erased_at: datetime | None
    dry_run: bool


def round_of(record: Record) -> Round:
    """Return the response for a round."""
    state: rounds.State = record.state
    window = state.window
    assert window is not None
    windows = [RoundWindow(province=p, opens=w.opens, closes=w.closes) for p, w in sorted(state.windows.items())]
    return Round(
        id=state.round,
        fields=list(state.fields),
        opens=window.opens,
        closes=window.closes,
        windows=windows,
        policy=state.policy,
        simulated=Simulated(per_mille=state.simulation.per_mille, whole=list(state.simulation.whole))
        if state.simulation
        else None,
    )


def seats_of(state: ledger.State) -> Seats:
    """Return the response for the seats of a province."""
    return Seats(
        province=state.province,
        quota=state.quota,
        available=ledger.available(state),
        held=ledger.HELD,
        admitted=state.admitted,
    )


def province_seats_of(state: ledger.State, waiting: int) -> ProvinceSeats:
    """Return the seats of a province with its waiting list."""
    return ProvinceSeats(**seats_of(state).model_dump(), waiting=waiting)


def registered(record: Record, code: str) -> Registered:
    """Return the response to a registration."""
    state: applicant.State = record.state
    return Registered(
        id=record.subject,
        tracking_code=shown_code(code),
        status=applicant.status(state),
        application=state.application,
        round=state.context.round,
        province=state.context.province,
        county=state.context.county,
        field=state.context.field,
        registered_at=_registered_at(state),
    )


def listed(record: Record) -> Listed:
    """Return an applicant for a list."""
    state: applicant.State = record.state
    return Listed(
        id=record.subject,
        status=applicant.status(state),
        application=state.application,
        province=state.context.province,
        county=state.context.county,
        field=state.context.field,
        channel=state.current.intake_channel,
        identity_check=state.current.identity,
        registered_at=state.current.registered_at,
    )


def erased(record: Record, *, dry_run: bool = False) -> Erased:
    """Return the response to an erasure."""
    state: applicant.State = record.state
    return Erased(
        id=record.subject,
        status=applicant.status(state),
        round=state.context.round,
        province=state.context.province,
        application=state.application,
        erased_at=state.erased_at,
        dry_run=dry_run,
    )


def application(record: Record, person: Values | None, withheld: str = "") -> Application:
    """Return an applicant with all fields; `withheld` is why there is no identity."""
    state: applicant.State = record.state
    current = state.current
    return Application(
        **listed(record).model_dump(),
        **{**dict.fromkeys(PROFILE, ""), **current.profile},
        outcome=current.outcome,
        reasons=list(current.reasons),
        progress=progress(state),
        identity=None if person is None else identity(person),
        identity_withheld=withheld,
        identity_confirmed=not state.unidentified,
    )


def identity(person: Values) -> Identity:
    """Return the response for an identity."""
    return Identity(**person, birth_date_jalali=calendar.jalali_text(person["birth_date"]))


def reissued(record: Record, code: str) -> Reissued:
    """Return a tracking code that was issued again."""
    return Reissued(id=record.subject, tracking_code=shown_code(code))


def tracked(record: Record, code: str) -> Tracked:
    """Return what a tracking code shows."""
    state: applicant.State = record.state
    return Tracked(
        tracking_code=shown_code(code),
        status=applicant.status(state),
        round=state.context.round,
        province=state.context.province,
        progress=progress(state),
    )


def progress(state: applicant.State) -> Progress:
    """Return the dates of the current application."""
    return Progress(**{name: getattr(state.current, name) for name in Progress.model_fields})


def _registered_at(state: applicant.State) -> datetime:
    assert state.current.registered_at is not None
    return state.current.registered_at
