"""How rounds, seats and applications read from outside, and what is asked of them: the shapes of registration's API."""

from datetime import date, datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field

from base.ids import shown_code
from contracts.codes import SEXES, WORK_MODES
from kernel.record import Record
from programme import calendar
from programme.policies import CURRENT
from registration.domain import applicant, consent, ledger
from registration.domain import round as rounds
from registration.domain.application import Person
from web.app import Body

Code = Field(max_length=40)
Instant = Field(description="With its zone.", examples=["2025-09-27T04:30:00Z"])


class Window(Body):
    """When one province takes applications, within the round's own window."""

    province: str = Field(max_length=8, examples=["IR-20"])
    opens: AwareDatetime = Instant
    closes: AwareDatetime = Instant


class RoundTerms(Body):
    """A round as it shall be."""

    fields: list[str] = Field(max_length=2_000, examples=[["JF001", "JF002"]])
    opens: AwareDatetime = Instant
    closes: AwareDatetime = Instant
    windows: list[Window] = Field(default=[], max_length=31)
    policy: str = Field(default=CURRENT, max_length=40)


class RoundWindow(BaseModel):
    """One province's window."""

    province: str
    opens: datetime
    closes: datetime


class Round(BaseModel):
    """A round as it is."""

    id: str = Field(examples=["1404"])
    fields: list[str]
    opens: datetime
    closes: datetime
    windows: list[RoundWindow]
    policy: str


class QuotaTerms(Body):
    """The quota that a province was notified of."""

    quota: int = Field(ge=0, le=ledger.QUOTA_LIMIT, examples=[1300])


class Seats(BaseModel):
    """The seats of one province: quota = available + held + admitted."""

    province: str = Field(examples=["IR-20"])
    quota: int
    available: int
    held: int
    admitted: int
    waiting: int


class QuotasSet(BaseModel):
    """What an import of quotas did."""

    rows: int
    changed: int


class Consent(Body):
    """What was agreed to."""

    version: str = Field(max_length=40, examples=[consent.CURRENT])
    given: bool


class ApplicationTyped(Body):
    """An application as it was typed: Persian digits, separators and Jalali or Gregorian dates are welcome."""

    national_id: str = Field(max_length=40, examples=["9990000018"])
    birth_date: str = Field(max_length=20, examples=["1368-04-14"], description="Jalali before year 1700.")
    first_name: str = Field(max_length=200, examples=["مریم"])
    last_name: str = Field(max_length=200, examples=["آزمون"])
    sex: str = Field(max_length=40, examples=list(SEXES)[:1])
    mobile: str = Field(max_length=40, examples=["09120000018"])
    province: str = Field(max_length=8, examples=["IR-20"])
    county: str = Field(max_length=8, examples=["2003"])
    field: str = Field(max_length=40, examples=["JF001"])
    work_mode: str = Field(max_length=40, examples=list(WORK_MODES)[:1])
    consent: Consent
    channel: Literal["web", "desk", "api"] | None = Field(default=None, description="Where it was taken up.")

    def typed(self) -> dict[str, str]:
        """Each answer by its name."""
        told = self.model_dump(exclude={"consent", "channel"})
        return {**told, "consent": self.consent.version if self.consent.given else ""}


class Registered(BaseModel):
    """An application that was accepted."""

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
    """An applicant in a list; nobody is named."""

    id: str
    status: str
    application: int
    province: str
    county: str
    field: str
    channel: str
    identity_check: str
    registered_at: datetime


class Identity(BaseModel):
    """Who the applicant is. That it was read is written down."""

    national_id: str
    first_name: str
    last_name: str
    birth_date: date
    birth_date_jalali: str
    mobile: str


class Progress(BaseModel):
    """The days of an application."""

    registered_at: datetime
    case_due: date | None
    decided_at: datetime | None
    waitlisted_at: datetime | None
    admitted_at: datetime | None
    capacity_due: date | None
    identified_at: datetime | None
    withdrawn_at: datetime | None


class Application(Listed):
    """One applicant in full."""

    sex: str
    age_band: str
    work_mode: str
    outcome: str
    reasons: list[str]
    progress: Progress
    identity: Identity | None


class Tracked(BaseModel):
    """What a tracking code shows: status and days, never who it is."""

    tracking_code: str
    status: str
    round: str
    province: str
    progress: Progress


class Withdrawal(Body):
    """Why somebody leaves."""

    reason: str = Field(max_length=40, examples=["own_request"])


class ImportedRow(BaseModel):
    """A row that is registered."""

    row: int
    id: str
    tracking_code: str


class RefusedRow(BaseModel):
    """A row that was refused, and why."""

    row: int
    field: str
    code: str
    detail: str
    detail_fa: str


class Imported(BaseModel):
    """What became of each row; row 1 is the header."""

    rows: int
    registered: int
    repeated: int
    applications: list[ImportedRow]
    refused: list[RefusedRow]


def round_of(record: Record) -> Round:
    """A round as it reads."""
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
    )


def seats_of(state: ledger.State, waiting: int) -> Seats:
    """Seats as they read."""
    return Seats(
        province=state.province,
        quota=state.quota,
        available=ledger.available(state),
        held=ledger.HELD,
        admitted=state.admitted,
        waiting=waiting,
    )


def registered(record: Record) -> Registered:
    """The answer to a registration; built from the record, it is the same whenever it is asked for again."""
    state: applicant.State = record.state
    return Registered(
        id=record.subject,
        tracking_code=shown_code(record.private.indexed["tracking"]),
        status=applicant.status(state),
        application=state.application,
        round=state.place.round,
        province=state.place.province,
        county=state.place.county,
        field=state.place.field,
        registered_at=_at(state),
    )


def listed(record: Record) -> Listed:
    """An applicant in a list."""
    state: applicant.State = record.state
    return Listed(
        id=record.subject,
        status=applicant.status(state),
        application=state.application,
        province=state.place.province,
        county=state.place.county,
        field=state.place.field,
        channel=state.now.intake_channel,
        identity_check=state.now.identity,
        registered_at=_at(state),
    )


def application(record: Record, person: Person | None) -> Application:
    """An applicant in full."""
    state: applicant.State = record.state
    now = state.now
    return Application(
        **listed(record).model_dump(),
        sex=now.sex,
        age_band=now.age_band,
        work_mode=now.work_mode,
        outcome=now.outcome,
        reasons=list(now.reasons),
        progress=progress(state),
        identity=None if person is None else identity(person),
    )


def identity(person: Person) -> Identity:
    """Who the applicant is."""
    return Identity(
        national_id=person.national_id,
        first_name=person.first_name,
        last_name=person.last_name,
        birth_date=person.birth_date,
        birth_date_jalali=calendar.jalali_text(person.birth_date),
        mobile=person.mobile,
    )


def tracked(record: Record) -> Tracked:
    """What a tracking code shows."""
    state: applicant.State = record.state
    return Tracked(
        tracking_code=shown_code(record.private.indexed["tracking"]),
        status=applicant.status(state),
        round=state.place.round,
        province=state.place.province,
        progress=progress(state),
    )


def progress(state: applicant.State) -> Progress:
    """The days of the present application."""
    now = state.now
    return Progress(
        registered_at=_at(state),
        case_due=now.case_due,
        decided_at=now.decided_at,
        waitlisted_at=now.waitlisted_at,
        admitted_at=now.admitted_at,
        capacity_due=now.capacity_due,
        identified_at=now.identified_at,
        withdrawn_at=now.withdrawn_at,
    )


def _at(state: applicant.State) -> datetime:
    assert state.now.registered_at is not None
    return state.now.registered_at
