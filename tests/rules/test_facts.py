"""Facts about an applicant: the same state in any interleaving of sources, and contributions equal to a recount."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.envelope import Context, Envelope
from contracts.events import (
    ApplicantAdmitted,
    ApplicantCodeReissued,
    ApplicantErased,
    ApplicantIdentityChecked,
    ApplicantReactivated,
    ApplicantRegistered,
    ApplicantSeatReleased,
    ApplicantUpdated,
    ApplicantWithdrawn,
    CapacityIdentified,
    CapacityRequested,
    CaseAppealDecided,
    CaseAppealed,
    CaseDecided,
    CaseInfoRequested,
    CaseInfoSupplied,
    CaseOpened,
    ConnectionEnded,
    ConnectionEvidenced,
    ConnectionSustained,
    ProducerConnected,
    ProducerReadied,
)
from programme.calendar import tehran_day, to_jalali
from programme.work_calendar import work_calendar
from reporting.domain import applicant
from reporting.domain.contributions import contributions
from tests.support.fact_histories import PERSON, START, History, histories

HORIZON = 260  # days that are compared


def folded(events: Iterable[Envelope]) -> applicant.State:
    state = applicant.State()
    for envelope in events:
        state = applicant.evolve(state, envelope)
    return state


def recount(events: list[Envelope], day: int) -> Counter[tuple[str, str]]:
    """Return the figures at the end of a day from the events alone, without spans and deltas."""
    known: list[tuple[Any, int]] = [(e, tehran_day(e.time).toordinal()) for e in events]
    known = [(e, d) for e, d in known if d <= day]
    starts = [e for e, _ in known if isinstance(e.event, ApplicantRegistered | ApplicantReactivated)]
    if not starts:
        return Counter()
    latest, province = starts[-1].event.application, starts[-1].context.province
    own = [(e, d) for e, d in known if e.event.application == latest]

    def first(kind: type) -> tuple[Any, int]:
        return next(((e, d) for e, d in own if isinstance(e.event, kind)), (None, 0))

    registered = tehran_day(starts[-1].time).toordinal()
    withdrawn, decided = first(ApplicantWithdrawn)[0], first(CaseDecided)[0]
    names = []
    dropped = withdrawn is not None and (decided is None or withdrawn.time < decided.time)
    if not dropped:
        names.append("registered")
        answers = [
            e.event.result if isinstance(e.event, ApplicantIdentityChecked) else "changed"
            for e, _ in own
            if isinstance(e.event, ApplicantIdentityChecked)
            or (isinstance(e.event, ApplicantUpdated) and e.event.identity_changed)
        ]
        answers = [answer for answer in answers if answer != "unavailable"]
        if answers and answers[-1] == "match":
            names.append("verified")
        due, days = _paused(own, first)
        if decided:
            on = first(CaseDecided)[1]
            names += ["screened", "screening_due", f"to_decision:{_between(registered, on)}"]
            again = first(CaseAppealDecided)[0]
            names += [f"applicant_turn:{days}"] if first(CaseInfoRequested)[0] else []
            names += ["approved"] if (again or decided).event.outcome == "approved" else []
            names += ["appealed"] if first(CaseAppealed)[0] else []
            names += ["overturned"] if again and again.event.outcome == "approved" else []
            names += ["screened_in_time"] if due is not None and on <= due else []
        elif due is not None and day > due:
            names.append("screening_due")
    if first(ApplicantAdmitted)[0] and not first(ApplicantSeatReleased)[0]:
        names += _recount_seat(own, first, registered, day)
    names += ["withdrawn"] * (withdrawn is not None)
    names += ["withdrawn_by_officer"] * (withdrawn is not None and not withdrawn.actor.startswith("web"))
    return Counter((province, name) for name in names) + _recount_lasting(known, starts, day)


def _recount_lasting(known: list[tuple[Any, int]], starts: list[Any], day: int) -> Counter[tuple[str, str]]:
    """Return what a later application does not undo: the acts of officers, and who gave up the seat this month."""
    found: Counter[tuple[str, str]] = Counter()
    for start in starts:
        own = [(e, d) for e, d in known if e.event.application == start.event.application]

        def first(kind: type, own: list[tuple[Any, int]] = own) -> tuple[Any, int]:
            return next(((e, d) for e, d in own if isinstance(e.event, kind)), (None, 0))

        acts = [e for e, _ in own if isinstance(e.event, ApplicantUpdated | ApplicantCodeReissued | ApplicantWithdrawn)]
        names = ["officer_acts" for e in acts if not e.actor.startswith("web")]
        if first(ApplicantSeatReleased)[0] and first(ApplicantWithdrawn)[0]:
            names += _recount_given_up(own, first, day)
        found += Counter((start.context.province, name) for name in names)
    return found


def _paused(own: list[tuple[Any, int]], first: Callable[[type], Any]) -> tuple[int | None, int]:
    """Return the due day of the case, and the working days that it was the applicant's turn until the decision."""
    opened, decided = first(CaseOpened)[0], first(CaseDecided)[1]
    due, total = opened.event.due.toordinal() if opened else None, 0
    asked = [i for i, (e, _) in enumerate(own) if isinstance(e.event, CaseInfoRequested)]
    for i in asked:
        (request, begun), rest = own[i], own[i + 1 :]
        answers = [d for e, d in rest if isinstance(e.event, CaseInfoSupplied | CaseInfoRequested)]
        ended = min([*answers[:1], request.event.due.toordinal()])
        total += _between(begun, min(ended, decided or ended))
        if due is not None and begun <= due:
            days = _between(begun, ended)
            due = work_calendar().add_working_days(date.fromordinal(due), days).toordinal()
            while due < ended or _between(due - 1, due) == 0:  # papers that come on a day off
                due += 1
    return due, total


def _recount_given_up(own: list[tuple[Any, int]], first: Callable[[type], Any], day: int) -> list[str]:
    left, seated = first(ApplicantSeatReleased)[1], first(ApplicantAdmitted)[1]
    if to_jalali(date.fromordinal(left))[:2] != to_jalali(date.fromordinal(day))[:2]:
        return []
    identified, on = first(CapacityIdentified)
    names = ["gave_up"] if identified and max(on, seated) < left else []
    proven = [
        d
        for e, d in own
        if (isinstance(e.event, ProducerConnected) and e.event.evidence >= "E2")
        or (isinstance(e.event, ConnectionEvidenced) and e.event.to >= "E2")
    ]
    return names + (["gave_up_sustainable"] if proven and max(min(proven) + 90, seated) < left else [])


def _recount_seat(own: list[tuple[Any, int]], first: Callable[[type], Any], registered: int, day: int) -> list[str]:
    names = ["admitted"]
    admitted, (identified, on) = first(ApplicantAdmitted)[1], first(CapacityIdentified)
    due = first(CapacityRequested)[0].event.due.toordinal() if first(CapacityRequested)[0] else None
    proven_on: dict[str, int] = {}
    for e, d in own:
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
    ended = {e.event.connection for e, _ in own if isinstance(e.event, ConnectionEnded)}
    grades: dict[str, str] = {}
    for e, _ in own:
        match e.event:
            case ProducerConnected(connection=name, evidence=grade) | ConnectionEvidenced(connection=name, to=grade):
                grades[name] = grade
    open_grades = {name: grade for name, grade in grades.items() if name not in ended}
    names += ["claims"] * len(open_grades)
    for least, name in (("E1", "claims_documented"), ("E2", "claims_confirmed"), ("E3", "claims_sold")):
        names += [name] * sum(grade >= least for grade in open_grades.values())
    names += ["connected"] if any(grade >= "E2" for grade in open_grades.values()) else []
    sustained = {e.event.connection for e, _ in own if isinstance(e.event, ConnectionSustained)} - ended
    names += ["claims_sustained"] * len(sustained) + (["sustained"] if sustained else [])
    return names


def _between(first: int, last: int) -> int:
    return work_calendar().working_days_between(datetime.fromordinal(first).date(), datetime.fromordinal(last).date())


@settings(max_examples=60)
@given(histories())
def test_the_sums_of_the_deltas_equal_a_recount_on_every_day(events: list[Envelope]) -> None:
    deltas = contributions(folded(events))
    start = tehran_day(START).toordinal()
    assert all(day >= start for _, day, _ in deltas)
    sums: Counter[tuple[str, str]] = Counter()
    for day in range(start, start + HORIZON):
        for (province, on, indicator), n in deltas.items():
            if on == day:
                sums[province, indicator] += n
        assert +sums == recount(events, day)
        assert all(n >= 0 for n in sums.values())
        for p in ("IR-20", "IR-08"):
            ladder = [sums[p, i] for i in ("sustained", "connected", "identified", "admitted")]
            assert ladder == sorted(ladder)
            assert sums[p, "sustained"] <= sums[p, "sustainable"]
            assert sums[p, "screened"] <= sums[p, "registered"]
            assert sums[p, "screened_in_time"] <= sums[p, "screening_due"]
            assert sums[p, "identified_in_time"] <= sums[p, "capacity_due"]


def test_a_later_application_undoes_neither_the_acts_of_officers_nor_who_gave_up_the_seat() -> None:
    h = History(lambda _: None)  # type: ignore[arg-type]
    n: dict[str, Any] = {"application": 1}
    h.province = "IR-20"
    h.emit("registration", ApplicantRegistered(**n, **PERSON))
    h.emit("registration", ApplicantAdmitted(**n))
    h.emit(
        "screening",
        CapacityIdentified(product_group="textiles", unit="piece", monthly_band="1-9", skill_level="skilled", **n),
    )
    h.at += timedelta(days=5)
    h.emit("registration", ApplicantWithdrawn(reason="moved", **n), actor="manager:b")
    h.emit("registration", ApplicantSeatReleased(reason="withdrawn", **n))
    h.at += timedelta(days=1)
    h.emit("registration", ApplicantReactivated(application=2, **PERSON), actor="registrar:a")
    today, deltas = tehran_day(h.at).toordinal(), contributions(folded(h.events))

    def figure(day: int, name: str) -> int:
        return sum(n for (_, on, indicator), n in deltas.items() if indicator == name and on <= day)

    assert [figure(today, name) for name in ("gave_up", "officer_acts", "withdrawn", "identified")] == [1, 1, 0, 0]
    assert (figure(today + 40, "gave_up"), figure(today + 40, "officer_acts")) == (0, 1)


@settings(max_examples=60)
@given(histories(), st.randoms(use_true_random=False))
def test_any_interleaving_of_the_sources_gives_the_same_state(events: list[Envelope], random: Random) -> None:
    queues = {source: [e for e in events if e.source == source] for source in ("registration", "screening", "market")}
    shuffled: list[Envelope] = []
    while any(queues.values()):
        shuffled.append(queues[random.choice([source for source, queue in queues.items() if queue])].pop(0))
    assert folded(shuffled) == folded(events)
    assert contributions(folded(shuffled)) == contributions(folded(events))


@settings(max_examples=60)
@given(histories(), st.integers(0, 40), st.booleans())
def test_a_fold_gives_what_evolve_gives_and_leaves_former_states_alone(
    events: list[Envelope], cut: int, erased: bool
) -> None:
    if erased:
        context = Context(round="1404", province="IR-20", policy="1404-1")
        erasure = ApplicantErased(reason="request")
        events = [*events, Envelope("registration", "0199", 99, START, erasure, context, recorded=START)]
    former = folded(events[:cut])
    before = msgspec.json.encode(former)
    assert applicant.fold(former, events[cut:]) == folded(events)
    assert msgspec.json.encode(former) == before
