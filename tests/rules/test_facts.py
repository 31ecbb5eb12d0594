"""Facts about an applicant: whatever the order of the sources, the end is the same, and its tallies are a recount."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.commands import Tick
from contracts.envelope import Context, Envelope
from contracts.events import (
    ApplicantAdmitted,
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
    ConnectionEnded,
    ConnectionEvidenced,
    ConnectionSustained,
    Event,
    ProducerConnected,
    ProducerReadied,
)
from programme.calendar import add_working_days, tehran_day, working_days_between
from reporting.domain import applicant
from reporting.domain.contributions import contributions

START = datetime(2025, 9, 23, 5, tzinfo=UTC)
HORIZON = 260  # days that are looked at
PERSON: dict[str, Any] = {"sex": "female", "age_band": "25-34", "work_mode": "independent", "intake_channel": "web"}


class History:
    """A possible life of one applicant, as three services would tell it."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw, self.at = draw, START
        self.told: list[Envelope] = []
        self.sequences: Counter[str] = Counter()
        self.province = draw(st.sampled_from(["IR-20", "IR-08"]))

    def tell(self, source: str, event: Event, at: datetime | None = None) -> None:
        self.sequences[source] += 1
        province = self.province if source == "registration" else "IR-99"  # a stale copy: it must not matter
        self.told.append(
            Envelope(
                source=source,
                subject="0199",
                sequence=self.sequences[source],
                time=at or self.at,
                event=event,
                context=Context(round="1404", province=province, county="2001", field="JF001", policy="1404-1"),
                recorded=self.at,
            )
        )

    def later(self, most: int = 40) -> None:
        hours = self.draw(st.integers(0, most * 24))
        self.at += timedelta(hours=hours)

    def happens(self) -> bool:
        return self.draw(st.booleans())


@st.composite
def histories(draw: st.DrawFn) -> list[Envelope]:
    h = History(draw)
    for application in range(1, draw(st.integers(1, 3)) + 1):
        if application > 1:
            h.later(10)
            h.province = draw(st.sampled_from(["IR-20", "IR-08"]))
        first = ApplicantRegistered if application == 1 else ApplicantReactivated
        h.tell("registration", first(application=application, **PERSON))
        left = _apply(h, application)
        if not left:
            break
    return h.told


def _apply(h: History, application: int) -> bool:
    """One application, until it is left (another may follow) or stands where it stands."""
    n: dict[str, Any] = {"application": application}
    if h.happens():
        for result in h.draw(st.lists(st.sampled_from(["match", "mismatch", "unavailable"]), max_size=3)):
            h.tell("registration", ApplicantIdentityChecked(result=result, **n))
            h.later(3)
    due = add_working_days(tehran_day(h.at), 10)
    h.tell("screening", CaseOpened(due=due, **n))
    h.later()
    withdrawn = h.draw(st.sampled_from([False, False, True]))
    if withdrawn:
        h.tell("registration", ApplicantWithdrawn(reason="moved", **n))
        if h.happens():
            h.later(1)
    if tehran_day(h.at) > due:
        h.tell("screening", CaseBreached(due=due, **n))
    if withdrawn and h.happens():
        return True
    outcome = h.draw(st.sampled_from(["approved", "approved", "rejected"]))
    h.tell("screening", CaseDecided(outcome=outcome, **n))  # perhaps at the very instant of the withdrawal
    if withdrawn or outcome == "rejected":
        return withdrawn
    h.later(5)
    h.tell("registration", ApplicantAdmitted(**n))
    _seated(h, n)
    if h.happens():
        h.tell("registration", ApplicantWithdrawn(reason="health", **n))
        h.later(2)
        h.tell("registration", ApplicantSeatReleased(reason="withdrawn", **n))
        return True
    return False


def _seated(h: History, n: dict[str, Any]) -> None:
    due = add_working_days(tehran_day(h.at), 20)
    h.tell("screening", CapacityRequested(due=due, **n))
    h.later()
    if tehran_day(h.at) > due:
        h.tell("screening", CapacityBreached(due=due, **n))
    if not h.happens():
        return
    h.tell(
        "screening",
        CapacityIdentified(product_group="textiles", unit="piece", monthly_band="1-9", skill_level="skilled", **n),
    )
    h.tell("market", ProducerReadied(product_group="textiles", **n))
    for i in range(h.draw(st.integers(0, 2))):
        h.later(15)
        name, grade = f"0199.c{i}", h.draw(st.sampled_from(["E0", "E1", "E2", "E3"]))
        h.tell(
            "market",
            ProducerConnected(connection=name, channel="direct", counterparty_kind="consumer", evidence=grade, **n),
        )
        if grade < "E2" and h.happens():
            h.later(15)
            h.tell("market", ConnectionEvidenced(connection=name, from_=grade, to="E2", **n))
            grade = "E2"
        if grade >= "E2" and h.happens():
            h.at += timedelta(days=91)
            h.tell("market", ConnectionSustained(connection=name, **n))
        if h.happens():
            h.later(10)
            h.tell("market", ConnectionEnded(connection=name, reason="completed", **n))


def folded(told: Iterable[Envelope]) -> applicant.State:
    state = applicant.State()
    for envelope in told:
        state = applicant.evolve(state, envelope)
    return state


def recount(told: list[Envelope], day: int) -> Counter[tuple[str, str]]:
    """The figures at the end of a day, asked of the events alone: no spans, no deltas."""
    known: list[tuple[Any, int]] = [(e, tehran_day(e.time).toordinal()) for e in told]
    known = [(e, d) for e, d in known if d <= day]
    starts = [e for e, _ in known if isinstance(e.event, ApplicantRegistered | ApplicantReactivated)]
    if not starts:
        return Counter()
    present, province = starts[-1].event.application, starts[-1].context.province
    of = [(e, d) for e, d in known if e.event.application == present]

    def first(kind: type) -> tuple[Any, int]:
        return next(((e, d) for e, d in of if isinstance(e.event, kind)), (None, 0))

    registered = tehran_day(starts[-1].time).toordinal()
    withdrawn, decided = first(ApplicantWithdrawn)[0], first(CaseDecided)[0]
    names = []
    gone = withdrawn is not None and (decided is None or withdrawn.time < decided.time)
    if not gone:
        names.append("registered")
        answers = [e.event.result for e, _ in of if isinstance(e.event, ApplicantIdentityChecked)]
        answers = [answer for answer in answers if answer != "unavailable"]
        if answers and answers[-1] == "match":
            names.append("verified")
        due = first(CaseOpened)[0].event.due.toordinal() if first(CaseOpened)[0] else None
        if decided:
            on = first(CaseDecided)[1]
            names += ["screened", "screening_due", f"to_decision:{_between(registered, on)}"]
            names += ["approved"] if decided.event.outcome == "approved" else []
            names += ["screened_in_time"] if due is not None and on <= due else []
        elif due is not None and day > due:
            names.append("screening_due")
    if first(ApplicantAdmitted)[0] and not first(ApplicantSeatReleased)[0]:
        names += _recount_seat(of, first, registered, day)
    return Counter((province, name) for name in names)


def _recount_seat(of: list[tuple[Any, int]], first: Callable[[type], Any], registered: int, day: int) -> list[str]:
    names = ["admitted"]
    admitted, (identified, on) = first(ApplicantAdmitted)[1], first(CapacityIdentified)
    due = first(CapacityRequested)[0].event.due.toordinal() if first(CapacityRequested)[0] else None
    proven_on: dict[str, int] = {}
    for e, d in of:
        match e.event:
            case ProducerConnected(connection=name, evidence=grade) if grade >= "E2":
                proven_on.setdefault(name, d)
            case ConnectionEvidenced(connection=name, to=grade) if grade >= "E2":
                proven_on.setdefault(name, d)
    if proven_on:
        evidence = min(proven_on.values())
        names.append(f"end_to_end:{_between(registered, evidence)}")
        names += ["sustainable"] if day >= evidence + 90 else []
        names.append(f"to_market:{_between(on, evidence)}")
    if not identified:
        return names + (["capacity_due"] if due is not None and day > due else [])
    names += ["identified", "capacity_due", f"to_capacity:{_between(admitted, on)}"]
    names += ["identified_in_time"] if on <= due else []
    names += ["ready"] if first(ProducerReadied)[0] else []
    ended = {e.event.connection for e, _ in of if isinstance(e.event, ConnectionEnded)}
    grades: dict[str, str] = {}
    for e, _ in of:
        match e.event:
            case ProducerConnected(connection=name, evidence=grade) | ConnectionEvidenced(connection=name, to=grade):
                grades[name] = grade
    open_grades = {name: grade for name, grade in grades.items() if name not in ended}
    names += ["claims"] * len(open_grades)
    for least, name in (("E1", "claims_documented"), ("E2", "claims_confirmed"), ("E3", "claims_sold")):
        names += [name] * sum(grade >= least for grade in open_grades.values())
    names += ["connected"] if any(grade >= "E2" for grade in open_grades.values()) else []
    lasting = {e.event.connection for e, _ in of if isinstance(e.event, ConnectionSustained)} - ended
    names += ["claims_sustained"] * len(lasting) + (["sustained"] if lasting else [])
    return names


def _between(first: int, last: int) -> int:
    return working_days_between(datetime.fromordinal(first).date(), datetime.fromordinal(last).date())


@settings(max_examples=60, deadline=None)
@given(histories())
def test_the_sums_of_every_day_are_a_recount(told: list[Envelope]) -> None:
    deltas = contributions(folded(told))
    start = tehran_day(START).toordinal()
    assert all(day >= start for _, day, _ in deltas)
    sums: Counter[tuple[str, str]] = Counter()
    for day in range(start, start + HORIZON):
        for (province, on, indicator), n in deltas.items():
            if on == day:
                sums[province, indicator] += n
        assert +sums == recount(told, day)
        assert all(n >= 0 for n in sums.values())
        for p in ("IR-20", "IR-08"):
            ladder = [sums[p, i] for i in ("sustained", "connected", "identified", "admitted")]
            assert ladder == sorted(ladder)
            assert sums[p, "sustained"] <= sums[p, "sustainable"]
            assert sums[p, "screened"] <= sums[p, "registered"]
            assert sums[p, "screened_in_time"] <= sums[p, "screening_due"]
            assert sums[p, "identified_in_time"] <= sums[p, "capacity_due"]


@settings(max_examples=60, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_any_interleaving_of_the_sources_gives_the_same_end(told: list[Envelope], random: Random) -> None:
    queues = {source: [e for e in told if e.source == source] for source in ("registration", "screening", "market")}
    shuffled: list[Envelope] = []
    while any(queues.values()):
        shuffled.append(queues[random.choice([source for source, queue in queues.items() if queue])].pop(0))
    assert folded(shuffled) == folded(told)
    assert contributions(folded(shuffled)) == contributions(folded(told))


def test_reporting_says_nothing() -> None:
    state, at = applicant.State(), START
    assert not applicant.decide(state, Tick(at), at)
    assert "due" not in applicant.indexed(state)


def test_what_others_tell_waits_until_registration_says_who_this_is() -> None:
    opened = Envelope(source="screening", subject="0199", sequence=1, time=START, event=CaseOpened(due=START.date()))
    state = applicant.evolve(applicant.State(), opened)
    assert state.applications and contributions(state) == {}
