"""What an applicant, or a ledger, adds to the national figures: dated deltas, a pure function of the facts.

Each indicator is the set of days at whose end the applicant counts for it, as a list of spans [first, end). A span
gives +1 on its first day and -1 on its end. Sums of deltas up to a day are therefore the figures at the end of it.
`docs/methodology.md` says the same in words.
"""

from datetime import date
from functools import lru_cache

from programme.calendar import working_days_between
from programme.policies import CURRENT, policy
from reporting.domain import applicant, ledger
from reporting.domain.applicant import Application

QUOTA = "quota"
REGISTERED = "registered"  # R
VERIFIED = "verified"  # of R
SCREENED = "screened"  # S
APPROVED = "approved"  # A
SCREENED_IN_TIME = "screened_in_time"
SCREENING_DUE = "screening_due"  # decided, or open past the due day
ADMITTED = "admitted"  # Ad
IDENTIFIED = "identified"  # C
IDENTIFIED_IN_TIME = "identified_in_time"
CAPACITY_DUE = "capacity_due"  # identified, or open past the due day
READY = "ready"  # K
CONNECTED = "connected"  # M
SUSTAINED = "sustained"  # U
SUSTAINABLE = "sustainable"  # n of U's share: first evidence at E2 or above is old enough
CLAIMS = "claims"  # connections, not persons: claimed and not ended, of those counted in C
CLAIMS_DOCUMENTED = "claims_documented"  # of these at E1 or above
CLAIMS_CONFIRMED = "claims_confirmed"  # of these at E2 or above
CLAIMS_SOLD = "claims_sold"  # of these at E3 or above
CLAIMS_SUSTAINED = "claims_sustained"
TO_DECISION = "to_decision"  # whole working days from ... to ..., as a histogram: "to_decision:7"
TO_CAPACITY = "to_capacity"
TO_MARKET = "to_market"
END_TO_END = "end_to_end"
DURATIONS = (TO_DECISION, TO_CAPACITY, TO_MARKET, END_TO_END)

EVER = 1 << 30  # later than any day
Deltas = dict[tuple[str, int, str], int]
Span = tuple[int, int]


def contributions(state: object) -> Deltas:
    """(province, day as an ordinal, indicator) -> what this subject adds on that day."""
    match state:
        case applicant.State():
            return _applicant(state)
        case ledger.State():
            return _ledger(state)
    return {}


def _ledger(state: ledger.State) -> Deltas:
    deltas: Deltas = {}
    before = 0
    for day, quota in state.quotas:
        key = (state.province, day, QUOTA)
        deltas[key] = deltas.get(key, 0) + quota - before
        before = quota
    return deltas


def _applicant(state: applicant.State) -> Deltas:
    deltas: Deltas = {}
    applications = state.applications
    if len(applications) == 1:
        for one in applications.values():
            _application(deltas, one, EVER)
        return deltas
    end = EVER
    for number in sorted(applications, reverse=True):  # an application counts until the next one starts
        one = applications[number]
        _application(deltas, one, end)
        end = one.registered or end
    return deltas


def _application(deltas: Deltas, a: Application, end: int) -> None:
    if not a.registered or not a.province:
        return  # what others told waits until registration says who this is

    def span(indicator: str, first: int, last: int) -> None:
        if first < last:
            key = (a.province, first, indicator)
            deltas[key] = deltas.get(key, 0) + 1
            if last < EVER:
                key = (a.province, last, indicator)
                deltas[key] = deltas.get(key, 0) - 1

    dropped = a.withdrawn_at is not None and (a.decided_at is None or a.withdrawn_at < a.decided_at)
    gone = min(a.withdrawn, end) if dropped else end
    span(REGISTERED, a.registered, gone)
    for i, (day, verified) in enumerate(a.answers):
        if verified:
            changed = a.answers[i + 1][0] if i + 1 < len(a.answers) else EVER
            span(VERIFIED, max(day, a.registered), min(changed, gone))

    late = a.case_due + 1 if a.case_due else EVER  # the day on which a case that is still open counts against
    if a.decided and not dropped:
        decided = max(a.decided, a.registered)
        span(SCREENED, decided, gone)
        span(_took(TO_DECISION, a.registered, decided), decided, gone)
        if a.approved:
            span(APPROVED, decided, gone)
        if a.decided < late:
            span(SCREENED_IN_TIME, decided, gone)
        span(SCREENING_DUE, max(min(a.decided, late), a.registered), gone)
    else:
        span(SCREENING_DUE, max(late, a.registered), gone)

    if not a.admitted:
        return
    seated, left = max(a.admitted, a.registered), min(a.released or EVER, end)
    span(ADMITTED, seated, left)
    late = a.capacity_due + 1 if a.capacity_due else EVER
    if not a.identified:
        span(CAPACITY_DUE, max(late, seated), left)
    else:
        identified = max(a.identified, seated)
        span(IDENTIFIED, identified, left)
        span(_took(TO_CAPACITY, seated, identified), identified, left)
        if a.identified < late:
            span(IDENTIFIED_IN_TIME, identified, left)
        span(CAPACITY_DUE, max(min(a.identified, late), seated), left)
        if a.readied:
            span(READY, max(a.readied, identified), left)

    first = min((c.confirmed for c in a.connections.values() if c.confirmed), default=0)
    if not first:
        sustainable = EVER
    else:
        sustainable = max(first + _sustained_days(a.policy), seated)
        span(SUSTAINABLE, sustainable, left)
        span(_took(END_TO_END, a.registered, first), max(first, seated), left)
    if not (a.identified and a.connections):
        return
    identified = max(a.identified, seated)
    if first:
        span(_took(TO_MARKET, a.identified, first), max(first, identified), left)
    connected, sustained = [], []
    for c in a.connections.values():
        last = min(c.ended or EVER, left)
        span(CLAIMS, max(c.claimed, identified), last)
        if c.documented:
            span(CLAIMS_DOCUMENTED, max(c.documented, identified), last)
        if c.confirmed:
            span(CLAIMS_CONFIRMED, max(c.confirmed, identified), last)
            connected.append((max(c.confirmed, identified), last))
            if c.sustained:
                since = max(c.sustained, c.confirmed, sustainable, identified)
                span(CLAIMS_SUSTAINED, since, last)
                sustained.append((since, last))
        if c.sold:
            span(CLAIMS_SOLD, max(c.sold, identified), last)
    for first_day, last in _union(connected):
        span(CONNECTED, first_day, last)
    for first_day, last in _union(sustained):
        span(SUSTAINED, first_day, last)


def _union(spans: list[Span]) -> list[Span]:
    """The days in any of these spans: a producer with two connections counts once."""
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


@lru_cache(1 << 16)
def _took(duration: str, first: int, last: int) -> str:
    """Where a duration counts in its histogram: whole working days, none where sources disagree about their order."""
    days = working_days_between(date.fromordinal(first), date.fromordinal(last)) if first < last else 0
    return f"{duration}:{days}"


@lru_cache(64)
def _sustained_days(version: str) -> int:
    return policy(version or CURRENT).sustained_days
