"""Request and response models of requests for papers, and whose turn it is."""

from datetime import date, datetime

from pydantic import BaseModel, Field

from kernel.record import Record
from programme.calendar import tehran_day
from programme.policies import policy
from programme.work_calendar import UnknownDay, work_calendar
from screening.domain.applicant import State, holder_of, status_of
from screening.domain.info import RecordInfo, RequestInfo, days_of_applicant
from web.app import Body

Items = list[str]


class InfoItems(Body):
    """Papers, by their codes: those that the applicant is asked for, or those that came."""

    items: Items = Field(max_length=12, examples=[["skill_certificate"]])

    def request(self, by: str) -> RequestInfo:
        """Return the command that asks for them."""
        return RequestInfo(tuple(self.items), by)

    def receipt(self) -> RecordInfo:
        """Return the command that records that they came."""
        return RecordInfo(tuple(self.items))


class InfoAsked(BaseModel):
    """The latest request for papers; `supplied` is null until they come."""

    items: Items
    requested: datetime
    due: date = Field(description="The day, in Tehran, by which the applicant is to bring them.")
    received: Items
    supplied: datetime | None
    lapsed: bool = Field(description="The day passed without them; screening decides by what it has.")


class TimeUsed(BaseModel):
    """Whose turn it is, and the working days that each side has had until now; null beyond the calendar."""

    holder: str
    screening_days: int | None
    applicant_days: int | None = Field(description="Not counted in the days that screening has.")


class InfoFile(BaseModel):
    """What concerns the papers of a case, without the answers and the rest of it."""

    id: str
    state: str
    province: str
    field: str
    due: date | None = Field(description="The day by which the case is to be decided, if the applicant uses all days.")
    request: InfoAsked | None
    requests_left: int
    time_used: TimeUsed
    version: int


def info_file(record: Record, at: datetime | None = None) -> InfoFile:
    """Return what concerns the papers of a case at a time: without one, when they were last asked for or recorded."""
    state: State = record.state
    at = at or state.info.supplied or state.info.requested or record.last_time
    return InfoFile(
        id=record.subject,
        state=status_of(state),
        province=state.province,
        field=state.field,
        due=state.case.due if state.case.opened and not state.case.outcome else None,
        request=asked(state),
        requests_left=max(0, policy(state.policy).info_requests - state.info.number),
        time_used=time_used(state, at),
        version=record.version,
    )


def asked(state: State) -> InfoAsked | None:
    """Return the latest request."""
    info = state.info
    if not info.requested or not info.due:
        return None
    return InfoAsked(
        items=list(info.items),
        requested=info.requested,
        due=info.due,
        received=list(info.received),
        supplied=info.supplied,
        lapsed=info.lapsed,
    )


def time_used(state: State, at: datetime) -> TimeUsed:
    """Return whose turn it is, and the days of both sides until the decision or until now."""
    try:
        theirs = days_of_applicant(state.info, state.case, at, state.province)
        whole = work_calendar().working_days_between(
            tehran_day(state.case.opened or at), tehran_day(state.case.decided or at), state.province
        )
    except UnknownDay:
        return TimeUsed(holder=holder_of(state), screening_days=None, applicant_days=None)
    return TimeUsed(holder=holder_of(state), screening_days=whole - theirs, applicant_days=theirs)
