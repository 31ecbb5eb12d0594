"""Rules of screening about an applicant: one case and one capacity per application, no identity.

Screening consumes registration only. Events about an earlier application than the present one are ignored. Of an erased
applicant the state keeps what reactions to late events need, so that every order of events leads to the same end.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace

from contracts.commands import EventWithContext, Refused, Tick
from contracts.envelope import Context, Envelope
from contracts.erasure import evolve_or_empty, in_context
from contracts.events import (
    ApplicantAdmitted,
    ApplicantEvent,
    ApplicantIdentityChecked,
    ApplicantReactivated,
    ApplicantRegistered,
    ApplicantSeatReleased,
    ApplicantUpdated,
    ApplicantWithdrawn,
    CapacityBreached,
    CapacityIdentified,
    CapacityRequested,
    CaseAppealBreached,
    CaseAppealDecided,
    CaseAppealed,
    CaseBreached,
    CaseCallAgreed,
    CaseCallLogged,
    CaseClaimed,
    CaseDecided,
    CaseInfoLapsed,
    CaseInfoRequested,
    CaseInfoSupplied,
    CaseOpened,
    CaseReleased,
    CaseReviewed,
    Event,
)
from programme.calendar import day_end, tehran_day
from programme.numbers import case_digits
from screening.domain import appeal as appeals
from screening.domain import calls as phone
from screening.domain import capacity as capacities
from screening.domain import case as cases
from screening.domain import claim as claims
from screening.domain import info as infos
from screening.domain import review as reviews
from screening.domain.appeal import Appeal, DecideAppeal, FileAppeal
from screening.domain.calls import Call, LogCall
from screening.domain.capacity import Capacity, IdentifyCapacity
from screening.domain.case import Case, Decide
from screening.domain.claim import Claim, ClaimCase, ReleaseCase
from screening.domain.eligibility import Facts
from screening.domain.info import InfoRequest, RecordInfo, RequestInfo
from screening.domain.review import Review, ReviewCase

VERSION = 3  # 2: appeals; 3: claims, calls and requests for papers
COUNTED = 2  # raised when `counted` changes; 2: appeals and capacities by deadline
OPEN, INFO_REQUESTED, DECIDED, APPEALED, CLOSED = "open", "info_requested", "decided", "appealed", "closed"
AWAITING_CAPACITY, IDENTIFIED = "awaiting_capacity", "identified"
TO_DO = (OPEN, APPEALED, AWAITING_CAPACITY)  # in which screening acts next
CLAIMED = "claimed"  # what an open case is indexed as while an officer has claimed it
STATES = (OPEN, INFO_REQUESTED, DECIDED, APPEALED, AWAITING_CAPACITY, IDENTIFIED, CLOSED)

CaseCommand = ClaimCase | ReleaseCase | LogCall | RequestInfo | RecordInfo | Decide | ReviewCase
Command = CaseCommand | FileAppeal | DecideAppeal | IdentifyCapacity | Tick


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """One applicant in one round: the data from registration, the case, the appeal and the capacity."""

    round: str = ""
    province: str = ""
    county: str = ""
    field: str = ""
    policy: str = ""
    application: int = 0
    registrar: str = ""  # pseudonymous id of the person who registered this application; empty for the web
    correctors: tuple[str, ...] = ()  # of those who corrected it
    age_band: str = ""
    work_mode: str = ""
    identity: str = ""  # result of the check against the identity registry
    number: str = ""  # of the case, eight digits, see `programme.numbers`
    withdrawn: bool = False
    seat: bool = False
    erased: bool = False
    case: Case = Case()
    claim: Claim = Claim()
    calls: tuple[Call, ...] = ()
    review: Review = Review()
    info: InfoRequest = InfoRequest()
    appeal: Appeal = Appeal()
    capacity: Capacity = Capacity()


def decide(state: State, command: Command, at: datetime) -> Sequence[Event]:
    """Return the events that a command or a tick causes. Raise Refused."""
    match command:
        case Tick(now=now) if not state.withdrawn:
            return [
                *claims.expire(state.application, state.claim, state.case, now),
                *infos.lapse(state.application, state.info, state.case, now),
                *cases.breach(state.application, state.case, now),
                *appeals.breach(state.application, state.appeal, now),
                *(capacities.breach(state.application, state.capacity, now) if state.seat else ()),
            ]
        case ClaimCase() | ReleaseCase() | LogCall() | RequestInfo() | RecordInfo() | Decide() | ReviewCase():
            return _decide_case(state, command, at)
        case FileAppeal() | DecideAppeal() if state.withdrawn or state.erased:
            raise Refused("no_open_case")
        case FileAppeal():
            return [appeals.file(state.appeal, state.case, command, state.application, context(state), at)]
        case DecideAppeal():
            return [
                appeals.decide(
                    state.appeal,
                    state.case,
                    command,
                    state.application,
                    context(state),
                    facts_of(state),
                    authors_of(state),
                )
            ]
        case IdentifyCapacity():
            seated = state.seat and not (state.withdrawn or state.erased)
            return capacities.identify(state.capacity, command, state.application, seated)
    return []


def _decide_case(state: State, command: CaseCommand, at: datetime) -> Sequence[Event]:
    """Return the events of a command about the case. Raise Refused."""
    if state.withdrawn and not isinstance(command, ReleaseCase):
        raise Refused("no_open_case")
    case, application, authors = state.case, state.application, authors_of(state)
    match command:
        case ClaimCase():
            infos.check_turn(state.info, state.case)
            return claims.claim(state.claim, case, command, application, state.policy, authors, at)
        case ReleaseCase():
            return claims.release(state.claim, command, application)
        case LogCall():
            phone.check_calls(state.calls)
            return phone.log(case, command, application, authors, at)
        case RequestInfo():
            return [infos.request(state.info, case, command, application, context(state), authors, at)]
        case RecordInfo():
            return [infos.record(state.info, case, command, application, state.province, at)]
        case Decide():
            infos.check_decision(state.info, case, command)
            return cases.decide(case, command, application, context(state), facts_of(state), authors, at)
    return reviews.review(state.review, case, command, application, authors)


def react(state: State, envelope: Envelope, at: datetime) -> Sequence[Event | EventWithContext]:
    """Open a case for an application; request the capacity for a seat."""
    return in_context(state, envelope, _react(state, envelope))


def _react(state: State, envelope: Envelope) -> Sequence[Event]:
    event = envelope.event
    if not isinstance(event, ApplicantEvent) or event.application != state.application or state.withdrawn:
        return []
    match event:
        case ApplicantRegistered() | ApplicantReactivated() if state.case.opened is None:
            return [cases.open_case(state.application, state.policy, state.province, envelope.time)]
        case ApplicantAdmitted() if state.capacity.identified is None and state.capacity.due is None:
            return [capacities.request(state.application, state.policy, state.province, envelope.time)]
    return []


def evolve(state: State, envelope: Envelope) -> State:
    """Return the state after one event of screening or registration."""
    return evolve_or_empty(state, envelope, _evolve, _emptied)


def _emptied(state: State) -> State:
    return State(
        round=state.round,
        province=state.province,
        policy=state.policy,
        application=state.application,
        withdrawn=state.withdrawn,
        seat=state.seat,
        erased=True,
    )


def _evolve(state: State, envelope: Envelope) -> State:
    event = envelope.event
    if not isinstance(event, ApplicantEvent) or event.application < state.application:
        return state
    match event:
        case ApplicantRegistered() | ApplicantReactivated():
            if event.application == state.application:
                return state
            return _with_context(
                State(
                    application=event.application,
                    registrar=cases.person_of(envelope.actor),
                    age_band=event.age_band,
                    work_mode=event.work_mode,
                ),
                envelope.context,
            )
        case ApplicantIdentityChecked(result=result):
            return _with_context(replace(state, identity=result), envelope.context)
        case ApplicantUpdated(age_band=age_band, work_mode=work_mode, identity_changed=changed):
            identity = "" if changed else state.identity
            by = {*state.correctors, cases.person_of(envelope.actor)} - {""}
            known = replace(
                state, correctors=tuple(sorted(by)), age_band=age_band, work_mode=work_mode, identity=identity
            )
            return _with_context(known, envelope.context)
        case ApplicantAdmitted():
            return _with_context(replace(state, seat=True), envelope.context)
        case ApplicantSeatReleased():  # an unanswered request for the capacity is closed with the seat
            capacity = state.capacity if state.capacity.identified else Capacity()
            return _with_context(replace(state, seat=False, capacity=capacity), envelope.context)
        case ApplicantWithdrawn():
            return _with_context(replace(state, withdrawn=True, claim=Claim()), envelope.context)
    return _evolve_own(state, envelope)


def _evolve_own(state: State, envelope: Envelope) -> State:
    match envelope.event:
        case CaseOpened() | CaseClaimed() | CaseReleased() | CaseBreached():
            return _with_case(state, envelope)
        case CaseCallLogged() | CaseCallAgreed():
            return _with_case(state, envelope)
        case CaseDecided() | CaseReviewed():
            return replace(_with_case(state, envelope), review=reviews.evolve(state.review, envelope))
        case CaseInfoRequested() | CaseInfoSupplied() | CaseInfoLapsed():
            info, case_ = infos.evolve(state.info, state.case, envelope)
            return replace(state, info=info, case=case_, claim=claims.evolve(state.claim, envelope))
        case CaseAppealed() | CaseAppealBreached() | CaseAppealDecided():
            return replace(state, appeal=appeals.evolve(state.appeal, envelope))
        case CapacityRequested() | CapacityBreached() | CapacityIdentified():
            return replace(state, capacity=capacities.evolve(state.capacity, envelope))
    return state


def indexed(state: State) -> Mapping[str, Any]:
    """Return area, state, number and deadline of the case; `due` is the next time at which a deadline or claim ends.

    An open case that is claimed has a state of its own, so that the next case is found without looking at those.
    No query finds an erased applicant.
    """
    if not state.application or state.erased:
        return {}
    found: dict[str, Any] = {
        "scope": f"{state.province}/{state.county}" if state.county else state.province,
        "province": state.province,
        "state": status_of(state),
    }
    if limit := _deadline(state, found["state"]):
        found["deadline"] = day_end(limit)
    if state.number:
        found["number"] = state.province[3:] + state.number
    if found["state"] == OPEN and state.claim.by:
        found |= {"state": CLAIMED, "claimer": cases.person_of(state.claim.by)}
    if status_of(state) in (OPEN, INFO_REQUESTED) and (agreed := phone.next_call(state.calls)):
        found["next_call"] = agreed
    if not state.withdrawn and (looked_at := reviews.status_of(state.review)):
        found["review"] = looked_at
    breaches = [
        claims.expires_at(state.claim, state.case),
        infos.lapses_at(state.info, state.case),
        cases.breaches_at(state.case),
        appeals.breaches_at(state.appeal),
        capacities.breaches_at(state.capacity) if state.seat else None,
    ]
    if not state.withdrawn and (due := min((each for each in breaches if each), default=None)):
        found["due"] = due
    return found


def _deadline(state: State, status: str) -> date | None:
    if status in (APPEALED, INFO_REQUESTED):
        return state.appeal.due if status == APPEALED else state.info.due
    return state.capacity.due if status in (AWAITING_CAPACITY, IDENTIFIED) else state.case.due


def counted(indexed: Mapping[str, Any]) -> Collection[tuple[str, str]]:
    """Count a case in its province and in its county: by state, and what screening has to do by its deadline as well.

    A claimed case counts as open. Counters also list, by their numbers, the cases that an officer has claimed, and
    those in which a call is agreed for a day.
    """
    if not indexed:
        return ()
    state, deadline = indexed["state"], indexed.get("deadline")
    status = OPEN if state == CLAIMED else state
    name = f"{status}/{instant(deadline)}" if status in TO_DO and deadline else status
    mine = {(claims_of(indexed["claimer"]), indexed["number"])} if state == CLAIMED else set()
    areas = {indexed["province"], indexed["scope"]}
    if agreed := indexed.get("next_call"):
        mine |= {(calls_of(area, tehran_day(agreed)), indexed["number"]) for area in areas}
    if review := indexed.get("review"):
        mine |= {(reviews_of(area), indexed["number"] if review == reviews.PENDING else review) for area in areas}
    return mine | {(f"cases/{area}", name) for area in areas}


def claims_of(person: str) -> str:
    """Return the group of counters that lists the cases that a person has claimed, by their numbers."""
    return f"claims/{person}"


def calls_of(area: str, day: date) -> str:
    """Return the group of counters that lists the cases of an area in which a call is agreed for a day."""
    return f"calls/{area}/{day.isoformat()}"


def reviews_of(area: str) -> str:
    """Return the group of counters that lists the cases of an area that wait for a second look, and counts results."""
    return f"reviews/{area}"


@lru_cache(10_000)
def instant(at: datetime) -> str:
    """Return an instant, to the second, as a text that sorts as time passes."""
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%S")


def context(state: State) -> Context:
    """Return the context of the next event about the applicant."""
    return Context(
        round=state.round, province=state.province, county=state.county, field=state.field, policy=state.policy
    )


def status_of(state: State) -> str:
    """Return the state of the present application: one of STATES."""
    if state.withdrawn:
        return CLOSED
    if not state.case.outcome:
        return INFO_REQUESTED if infos.is_waiting(state.info, state.case) else OPEN
    if appeals.is_pending(state.appeal):
        return APPEALED
    if state.capacity.identified:
        return IDENTIFIED
    return AWAITING_CAPACITY if state.seat else DECIDED


def holder_of(state: State) -> str:
    """Return who acts next: screening, the applicant, registration (for a seat) or market; empty for none."""
    status = status_of(state)
    if status == DECIDED:
        return "registration" if outcome_of(state) == cases.APPROVED else ""
    if status in TO_DO:
        return "screening"
    return {INFO_REQUESTED: "applicant", IDENTIFIED: "market"}.get(status, "")


def outcome_of(state: State) -> str:
    """Return the outcome of the screening, that of the appeal if there is one; empty without a decision."""
    return state.appeal.outcome or state.case.outcome


def authors_of(state: State) -> Collection[str]:
    """Return who wrote this application: they never decide about it, whatever their role."""
    return {state.registrar, *state.correctors} - {""}


def facts_of(state: State) -> Facts:
    """Return what the derived conditions of eligibility depend on."""
    unanswered = phone.unanswered(state.calls)
    return Facts(age_band=state.age_band, field=state.field, identity=state.identity, unanswered=unanswered)


def _with_case(state: State, envelope: Envelope) -> State:
    """Take case, claim and calls from an event about them, and the number, which older applications lack."""
    case, claim = cases.evolve(state.case, envelope), claims.evolve(state.claim, envelope)
    calls = phone.evolve(state.calls, envelope)
    return replace(state, case=case, claim=claim, calls=calls, number=state.number or case_digits(envelope.subject))


def _with_context(state: State, context: Context) -> State:
    """Take round, province, county, field and policy from registration's latest event."""
    return replace(
        state,
        round=context.round,
        province=context.province,
        county=context.county,
        field=context.field,
        policy=context.policy,
    )
