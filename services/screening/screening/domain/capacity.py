"""The capacity of an admitted applicant: requested with a due day, identified by an officer, breached after the day."""

from collections.abc import Sequence
from datetime import date, datetime

import msgspec
from msgspec.structs import replace

from contracts.codes import MONTHLY_BANDS, NEEDS, PRODUCT_GROUPS, SKILL_LEVELS, UNITS
from contracts.commands import Refused
from contracts.envelope import Envelope
from contracts.events import CapacityBreached, CapacityIdentified, CapacityRequested, Event
from programme.calendar import day_end, tehran_day
from programme.policies import policy
from programme.work_calendar import work_calendar


class Capacity(msgspec.Struct, frozen=True, omit_defaults=True):
    """The capacity in the present application, and the day by which it has to be identified."""

    requested: datetime | None = None
    due: date | None = None
    breached: bool = False
    identified: datetime | None = None
    product_group: str = ""
    unit: str = ""
    monthly_band: str = ""
    skill_level: str = ""
    needs: tuple[str, ...] = ()


class IdentifyCapacity(msgspec.Struct, frozen=True):
    """Identify what an applicant can make, how much a month, at which skill level, and what they need."""

    product_group: str
    unit: str
    monthly_band: str
    skill_level: str
    needs: tuple[str, ...] = ()


def request(application: int, version: str, province: str, at: datetime) -> CapacityRequested:
    """Request the capacity of an applicant admitted at this time; the policy version gives the working days.

    Raise UnknownDay where the calendar ends before the due day: the cause is parked until there is a longer one.
    """
    calendar = work_calendar()
    due = calendar.add_working_days(tehran_day(at), policy(version).capacity_days, province)
    return CapacityRequested(application=application, due=due, calendar=calendar.version)


def breaches_at(capacity: Capacity) -> datetime | None:
    """Return the end of the due day while the request is open and no breach is recorded."""
    pending = capacity.due is not None and capacity.identified is None and not capacity.breached
    return day_end(capacity.due) if pending and capacity.due else None


def breach(application: int, capacity: Capacity, now: datetime) -> Sequence[Event]:
    """Return the breach once the due day is over."""
    end = breaches_at(capacity)
    return [CapacityBreached(application=application, due=capacity.due)] if end and capacity.due and end <= now else []


def identify(capacity: Capacity, command: IdentifyCapacity, application: int, seat: bool) -> Sequence[Event]:
    """Record the capacity, once per application and only for an applicant with a seat. Raise Refused."""
    if capacity.identified is not None:
        raise Refused("capacity_known")
    if not seat:
        raise Refused("not_admitted")
    for field, value, known in (
        ("product_group", command.product_group, PRODUCT_GROUPS),
        ("unit", command.unit, UNITS),
        ("monthly_band", command.monthly_band, MONTHLY_BANDS),
        ("skill_level", command.skill_level, SKILL_LEVELS),
        *(("needs", need, NEEDS) for need in command.needs),
    ):
        if value not in known:
            raise Refused("code_unknown", field)
    return [
        CapacityIdentified(
            application=application,
            product_group=command.product_group,
            unit=command.unit,
            monthly_band=command.monthly_band,
            skill_level=command.skill_level,
            needs=tuple(dict.fromkeys(command.needs)),
        )
    ]


def evolve(capacity: Capacity, envelope: Envelope) -> Capacity:
    """Return the capacity after one event about it."""
    match envelope.event:
        case CapacityRequested(due=due):
            return Capacity(requested=envelope.time, due=due)
        case CapacityBreached():
            return replace(capacity, breached=True)
        case CapacityIdentified() as event:
            return replace(
                capacity,
                identified=envelope.time,
                product_group=event.product_group,
                unit=event.unit,
                monthly_band=event.monthly_band,
                skill_level=event.skill_level,
                needs=event.needs,
            )
    return capacity
