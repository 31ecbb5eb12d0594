"""The rules about an applicant, as screening knows them: one case and one capacity per application, never a name.

Only registration is heard. Whatever is said about an earlier application than the present one no longer counts.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from contracts.commands import Refused, Tick
from contracts.envelope import Context, Envelope
from contracts.events import (
    ApplicantAdmitted,
    ApplicantEvent,
    ApplicantIdentityChecked,
    ApplicantReactivated,
    ApplicantRegistered,
    ApplicantSeatReleased,
    ApplicantWithdrawn,
    CapacityBreached,
    CapacityIdentified,
    CapacityRequested,
    CaseBreached,
    CaseDecided,
    CaseOpened,
    Event,
)
from programme.calendar import day_end
from screening.domain import capacity as capacities
from screening.domain import case as cases
from screening.domain.capacity import Capacity, IdentifyCapacity
from screening.domain.case import Case, Decide
from screening.domain.eligibility import Facts

VERSION = 1
OPEN, DECIDED, AWAITING_CAPACITY, IDENTIFIED, CLOSED = "open", "decided", "awaiting_capacity", "identified", "closed"
STATES = (OPEN, DECIDED, AWAITING_CAPACITY, IDENTIFIED, CLOSED)


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """One person in one round: where registration says they stand, and what screening made of it."""

    round: str = ""
    province: str = ""
    county: str = ""
    field: str = ""
    policy: str = ""
    application: int = 0
    registrar: str = ""  # the pseudonymous person who registered this application; nobody for the web
    age_band: str = ""
    work_mode: str = ""
    identity: str = ""  # what the identity registry answered
    withdrawn: bool = False
    seat: bool = False
    case: Case = Case()
    capacity: Capacity = Capacity()


def decide(state: State, command: Decide | IdentifyCapacity | Tick, at: datetime) -> Sequence[Event]:
    """Somebody asks, or the clock does. Raises Refused."""
    match command:
        case Tick(now=now) if not state.withdrawn:
            return [
                *cases.breach(state.application, state.case, now),
                *(capacities.breach(state.application, state.capacity, now) if state.seat else ()),
            ]
        case Decide() if state.withdrawn:
            raise Refused("no_open_case")
        case Decide():
            return cases.decide(
                state.case, command, state.application, state.policy, facts_of(state), state.registrar, at
            )
        case IdentifyCapacity():
            return capacities.identify(state.capacity, command, state.application, state.seat and not state.withdrawn)
    return []


def react(state: State, heard: Envelope, at: datetime) -> Sequence[Event]:
    """Registration said this, and `state` knows it already: an application opens a case, a seat asks for capacity."""
    event = heard.event
    if not isinstance(event, ApplicantEvent) or event.application != state.application or state.withdrawn:
        return []
    match event:
        case ApplicantRegistered() | ApplicantReactivated() if state.case.opened is None:
            return [cases.open_case(state.application, state.policy, heard.time)]
        case ApplicantAdmitted() if state.capacity.identified is None and state.capacity.due is None:
            return [capacities.request(state.application, state.policy, heard.time)]
    return []


def evolve(state: State, envelope: Envelope) -> State:
    """The state after one event, own or registration's."""
    event = envelope.event
    if not isinstance(event, ApplicantEvent) or event.application < state.application:
        return state
    match event:
        case ApplicantRegistered() | ApplicantReactivated():
            if event.application == state.application:
                return state
            return _placed(
                State(
                    application=event.application,
                    registrar=cases.person_of(envelope.actor),
                    age_band=event.age_band,
                    work_mode=event.work_mode,
                ),
                envelope.context,
            )
        case ApplicantIdentityChecked(result=result):
            return _placed(replace(state, identity=result), envelope.context)
        case ApplicantAdmitted():
            return _placed(replace(state, seat=True), envelope.context)
        case ApplicantSeatReleased():  # a request that was not answered is closed with it
            capacity = state.capacity if state.capacity.identified else Capacity()
            return _placed(replace(state, seat=False, capacity=capacity), envelope.context)
        case ApplicantWithdrawn():
            return _placed(replace(state, withdrawn=True), envelope.context)
        case CaseOpened() | CaseBreached() | CaseDecided():
            return replace(state, case=cases.evolve(state.case, envelope))
        case CapacityRequested() | CapacityBreached() | CapacityIdentified():
            return replace(state, capacity=capacities.evolve(state.capacity, envelope))
    return state


def indexed(state: State) -> Mapping[str, Any]:
    """Where the case stands and until when; `due` only where the clock has something to say."""
    if not state.application:
        return {}
    found: dict[str, Any] = {
        "scope": f"{state.province}/{state.county}" if state.county else state.province,
        "province": state.province,
        "state": stage_of(state),
    }
    if limit := state.capacity.due if found["state"] in (AWAITING_CAPACITY, IDENTIFIED) else state.case.due:
        found["deadline"] = day_end(limit)
    waits = [cases.awaits_clock(state.case), capacities.awaits_clock(state.capacity) if state.seat else None]
    if not state.withdrawn and (due := min((end for end in waits if end), default=None)):
        found["due"] = due
    return found


def context(state: State) -> Context:
    """Where the applicant stands, for the next event about them."""
    return Context(
        round=state.round, province=state.province, county=state.county, field=state.field, policy=state.policy
    )


def stage_of(state: State) -> str:
    """How far screening has come with the present application: one of STATES."""
    if state.withdrawn:
        return CLOSED
    if not state.case.outcome:
        return OPEN
    if state.capacity.identified:
        return IDENTIFIED
    return AWAITING_CAPACITY if state.seat else DECIDED


def holder_of(state: State) -> str:
    """Who holds the ball: screening, registration (for a seat), market, or nobody."""
    stage = stage_of(state)
    if stage == DECIDED:
        return "registration" if state.case.outcome == cases.APPROVED else ""
    return {OPEN: "screening", AWAITING_CAPACITY: "screening", IDENTIFIED: "market"}.get(stage, "")


def facts_of(state: State) -> Facts:
    """What the eligibility rules may look at without asking anybody."""
    return Facts(age_band=state.age_band, field=state.field, identity=state.identity)


def _placed(state: State, told: Context) -> State:
    """Province, county and field are what registration last said."""
    return replace(
        state, round=told.round, province=told.province, county=told.county, field=told.field, policy=told.policy
    )
