"""What an applicant or a ledger contributes to the national figures: dated deltas, a pure function of the facts.

For each indicator, a subject counts at the end of certain days, given as spans [first, end). A span gives +1 on its
first day and -1 on its end, so the sum of the deltas up to a day is the figure at the end of that day.
`docs/methodology.md` gives the same rules in words.
"""

from datetime import date
from functools import lru_cache

from programme.calendar import month_end, month_of
from programme.policies import CURRENT, policy
from programme.work_calendar import work_calendar
from reporting.domain import applicant, ledger
from reporting.domain.applicant import Application

QUOTA = "quota"
REGISTERED = "registered"  # R
VERIFIED = "verified"  # of R
SCREENED = "screened"  # S
APPROVED = "approved"  # A
APPEALED = "appealed"  # of S
OVERTURNED = "overturned"  # of the appealed: approved by the decision on the appeal
SCREENED_IN_TIME = "screened_in_time"
SCREENING_DUE = "screening_due"  # decided, or open after the due day
ADMITTED = "admitted"  # Ad
IDENTIFIED = "identified"  # C
IDENTIFIED_IN_TIME = "identified_in_time"
CAPACITY_DUE = "capacity_due"  # identified, or open after the due day
GAVE_UP = "gave_up"  # identified producers who withdrew and gave up their seat in this month
GAVE_UP_SUSTAINABLE = "gave_up_sustainable"  # of these, whose evidence was old enough
WITHDRAWN = "withdrawn"  # present applications that were withdrawn, whenever
WITHDRAWN_BY_OFFICER = "withdrawn_by_officer"  # of these, recorded by an officer on a signed form
OFFICER_ACTS = "officer_acts"  # acts, not persons: corrections, tracking codes and withdrawals that officers recorded
READY = "ready"  # K
CONNECTED = "connected"  # M
SUSTAINED = "sustained"  # U
SUSTAINABLE = "sustainable"  # denominator of U's share: the first evidence at E2 or above is old enough
CLAIMS = "claims"  # connections, not persons: claimed, not ended, of applicants counted in C
CLAIMS_DOCUMENTED = "claims_documented"  # claims at E1 or above
CLAIMS_CONFIRMED = "claims_confirmed"  # claims at E2 or above
CLAIMS_SOLD = "claims_sold"  # claims at E3 or above
CLAIMS_SUSTAINED = "claims_sustained"
TO_DECISION = "to_decision"  # a histogram of whole working days, one indicator a bar: "to_decision:7"
APPLICANT_TURN = "applicant_turn"  # of these, the days on which an applicant who was asked for papers had to act
TO_CAPACITY = "to_capacity"
TO_MARKET = "to_market"
END_TO_END = "end_to_end"
DURATIONS = (TO_DECISION, APPLICANT_TURN, TO_CAPACITY, TO_MARKET, END_TO_END)

EVER = 1 << 30  # later than any day
Deltas = dict[tuple[str, int, str], int]
Span = tuple[int, int]
IndicatorSpan = tuple[str, int, int]  # indicator, first day, end


def contributions(state: object) -> Deltas:
    """Return by (province, day as an ordinal, indicator) what a subject adds on that day."""
    deltas: Deltas = {}
    add_contributions(deltas, state)
    return deltas


def add_contributions(deltas: Deltas, state: object) -> bool:
    """Add what a subject adds to these deltas; return whether it adds anything."""
    if isinstance(state, applicant.State):
        return _add_applicant(deltas, state)
    return isinstance(state, ledger.State) and _add_ledger(deltas, state)


def _add_ledger(deltas: Deltas, state: ledger.State) -> bool:
    before = 0
    for day, quota in state.quotas:
        key = (state.province, day, QUOTA)
        deltas[key] = deltas.get(key, 0) + quota - before
        before = quota
    return bool(state.quotas)


def _add_applicant(deltas: Deltas, state: applicant.State) -> bool:
    applications = state.applications
    if len(applications) == 1:
        return any([_add(deltas, application, EVER) for application in applications.values()])
    added, end = False, EVER
    for number in sorted(applications, reverse=True):  # an application counts until the next one starts
        application = applications[number]
        added |= _add(deltas, application, end)
        end = application.registered or end
    return added


def _add(deltas: Deltas, a: Application, end: int) -> bool:
    """Add the deltas of one application, which counts until `end` at the latest; return whether there are any."""
    if not a.registered or not a.province:
        return False  # other sources were faster: registration has not announced the application yet
    province = a.province
    for indicator, first, last in _spans(a, end):
        if first < last:
            key = (province, first, indicator)
            deltas[key] = deltas.get(key, 0) + 1
            if last < EVER:
                key = (province, last, indicator)
                deltas[key] = deltas.get(key, 0) - 1
    return True


def _spans(a: Application, end: int) -> list[IndicatorSpan]:
    """Return the spans of all stages; those that are empty count for nothing."""
    withdrawn = a.withdrawn_at is not None and (a.decided_at is None or a.withdrawn_at < a.decided_at)
    until = min(a.withdrawn, end) if withdrawn else end
    spans: list[IndicatorSpan] = []  # one list, to which every stage adds: this runs for millions of records
    _registration(spans, a, until)
    if a.decided and not withdrawn:
        _decision(spans, a, until)
    else:
        _open_case(spans, a, until)
    _acts(spans, a, end)
    if a.admitted:
        seated, left = max(a.admitted, a.registered), min(a.released or EVER, end)
        _capacity(spans, a, seated, left)
        _market(spans, a, seated, left)
        if a.identified:
            _given_up(spans, a, GAVE_UP, max(a.identified, seated), left)
    return spans


def _acts(spans: list[IndicatorSpan], a: Application, end: int) -> None:
    """Add when the application is withdrawn, and what officers did, which no later application undoes."""
    if a.withdrawn:
        spans.append((WITHDRAWN, max(a.withdrawn, a.registered), end))
        if a.by_officer:
            spans.append((WITHDRAWN_BY_OFFICER, max(a.withdrawn, a.registered), end))
    spans += [(OFFICER_ACTS, max(day, a.registered), EVER) for day in a.officer_acts]


def _given_up(spans: list[IndicatorSpan], a: Application, name: str, since: int, left: int) -> None:
    """Add until the end of the month who counted until they withdrew and gave up their seat.

    Another application does not end it: a province could have those register again who sell nothing.
    """
    if a.withdrawn and a.released and since < left == a.released:
        spans.append((name, left, _month_end(left) + 1))


def _registration(spans: list[IndicatorSpan], a: Application, until: int) -> None:
    """Add when the application is registered, and when its identity is verified."""
    spans.append((REGISTERED, a.registered, until))
    for i, (day, verified) in enumerate(a.answers):
        if verified:
            changed = a.answers[i + 1][0] if i + 1 < len(a.answers) else EVER
            spans.append((VERIFIED, max(day, a.registered), min(changed, until)))


def _open_case(spans: list[IndicatorSpan], a: Application, until: int) -> None:
    """Add when a case without a decision is overdue."""
    spans.append((SCREENING_DUE, max(_late(a.case_due), a.registered), until))


def _decision(spans: list[IndicatorSpan], a: Application, until: int) -> None:
    """Add when a decided case is screened, approved, and screened in time."""
    late, decided = _late(a.case_due), max(a.decided, a.registered)
    spans.append((SCREENED, decided, until))
    spans.append((_duration(TO_DECISION, a.registered, decided, area_of(a.province)), decided, until))
    if a.periods:
        spans.append((_turn_of_applicant(a), decided, until))
    spans.append((SCREENING_DUE, max(min(a.decided, late), a.registered), until))
    if a.approved:
        spans.append((APPROVED, decided, until))
    elif a.appealed:
        _appeal(spans, a, decided, until)
    if a.decided < late:
        spans.append((SCREENED_IN_TIME, decided, until))


def _turn_of_applicant(a: Application) -> str:
    """Return the histogram bar of the working days that the applicant's turns took; a decision ends one."""
    area = area_of(a.province)
    return f"{APPLICANT_TURN}:{sum(_days(first, min(last, a.decided), area) for first, last in a.periods)}"


def _appeal(spans: list[IndicatorSpan], a: Application, decided: int, until: int) -> None:
    """Add when a rejection is under appeal or was, and from when it is an approval: the case is screened once."""
    spans.append((APPEALED, max(a.appealed, decided), until))
    if a.overturned:
        overturned = max(a.appeal_decided, a.appealed, decided)
        spans.append((OVERTURNED, overturned, until))
        spans.append((APPROVED, overturned, until))


def _capacity(spans: list[IndicatorSpan], a: Application, seated: int, left: int) -> None:
    """Add when a person with a seat is admitted, identified, identified in time, and ready."""
    spans.append((ADMITTED, seated, left))
    late = _late(a.capacity_due)
    if not a.identified:
        spans.append((CAPACITY_DUE, max(late, seated), left))
        return
    identified = max(a.identified, seated)
    spans.append((IDENTIFIED, identified, left))
    spans.append((_duration(TO_CAPACITY, seated, identified, area_of(a.province)), identified, left))
    spans.append((CAPACITY_DUE, max(min(a.identified, late), seated), left))
    if a.identified < late:
        spans.append((IDENTIFIED_IN_TIME, identified, left))
    if a.readied:
        spans.append((READY, max(a.readied, identified), left))


def _market(spans: list[IndicatorSpan], a: Application, seated: int, left: int) -> None:
    """Add when a person with a seat is connected and sustained, and when each of their claims counts."""
    if not a.connections:
        return
    sustainable = EVER
    first = min((c.confirmed for c in a.connections.values() if c.confirmed), default=0)
    if first:
        sustainable = max(first + _sustained_days(a.policy), seated)
        spans.append((SUSTAINABLE, sustainable, left))
        _given_up(spans, a, GAVE_UP_SUSTAINABLE, sustainable, left)
        spans.append((_duration(END_TO_END, a.registered, first, area_of(a.province)), max(first, seated), left))
    if not a.identified:
        return
    identified = max(a.identified, seated)
    if first:
        spans.append((_duration(TO_MARKET, a.identified, first, area_of(a.province)), max(first, identified), left))
    connected: list[Span] = []
    sustained: list[Span] = []
    for c in a.connections.values():
        last = min(c.ended or EVER, left)
        spans.append((CLAIMS, max(c.claimed, identified), last))
        if c.documented:
            spans.append((CLAIMS_DOCUMENTED, max(c.documented, identified), last))
        if c.confirmed:
            day = max(c.confirmed, identified)
            spans.append((CLAIMS_CONFIRMED, day, last))
            connected.append((day, last))
            if c.sustained:
                day = max(c.sustained, sustainable, day)
                spans.append((CLAIMS_SUSTAINED, day, last))
                sustained.append((day, last))
        if c.sold:
            spans.append((CLAIMS_SOLD, max(c.sold, identified), last))
    spans += [(CONNECTED, *days) for days in _union(connected)]
    spans += [(SUSTAINED, *days) for days in _union(sustained)]


def _union(spans: list[Span]) -> list[Span]:
    """Return the days in any of these spans as disjoint spans: a producer with two connections counts once."""
    spans = [each for each in spans if each[0] < each[1]]
    if len(spans) < 2:
        return spans
    joined: list[Span] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def _late(due: int) -> int:
    """Return the day from which an open case counts as overdue: the day after it is due."""
    return due + 1 if due else EVER


@lru_cache(1 << 16)
def _duration(name: str, first: int, last: int, area: str) -> str:
    """Return the histogram bar of a duration, in whole working days; 0 if sources disagree about the order."""
    return f"{name}:{_days(first, last, area)}"


def _days(first: int, last: int, area: str) -> int:
    if first >= last:
        return 0
    return work_calendar().working_days_between(date.fromordinal(first), date.fromordinal(last), area)


@lru_cache(4_096)
def _month_end(day: int) -> int:
    """Return the last day of the Jalali month of a day, both as ordinals."""
    return month_end(month_of(date.fromordinal(day))).toordinal()


@lru_cache(64)
def area_of(province: str) -> str:
    """Return the province if working days are not everywhere the same there, else "": most durations are kept once."""
    return work_calendar().area(province)


@lru_cache(64)
def _sustained_days(version: str) -> int:
    return policy(version or CURRENT).sustained_days
