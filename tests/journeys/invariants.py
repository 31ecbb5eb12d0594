"""What must hold in the end, whatever was repeated, reordered, crashed or raced."""

from datetime import date

import msgspec

from contracts.subjects import ledger_subject, partition_of
from peyvand.verify import recount
from peyvand.verify.days_off import recount_calendar
from programme.calendar import tehran_day
from registration.domain import applicant, ledger
from reporting.domain.contributions import contributions
from reporting.domain.figures import sums_at
from reporting.domain.indicators import PLAIN
from reporting.tallies import month_of_ordinal, tally_id
from tests.journeys.in_process_platform import FIELDS, PROFILE, PROVINCES, ROUND, START, InProcessPlatform

FIGURES = {
    "Q": "quota",
    "R": "registered",
    "verified": "verified",
    "S": "screened",
    "A": "approved",
    "appealed": "appealed",
    "overturned": "overturned",
    "in_time": "screened_in_time",
    "due": "screening_due",
    "Ad": "admitted",
    "C": "identified",
    "identified_in_time": "identified_in_time",
    "identified_due": "capacity_due",
    "M": "connected",
    "U": "sustained",
    "sustainable": "sustainable",
    "claims": "claims",
    "confirmed": "claims_confirmed",
    "gave_up": "gave_up",
    "gave_up_sustainable": "gave_up_sustainable",
    "withdrawn": "withdrawn",
    "withdrawn_by_officer": "withdrawn_by_officer",
    "officer_acts": "officer_acts",
}


CALENDAR = recount_calendar()


async def check(platform: InProcessPlatform) -> None:
    """Assert every invariant: nothing is parked, and figures, tallies and seats are right."""
    stores = platform.stores
    assert not platform.faults
    assert not [source for store in stores.values() for source in store.parked.by_source]

    independent = recount.count(platform.emitted_events(), CALENDAR, tehran_day(platform.now), ROUND)
    figures = await platform.ranking().figures(ROUND, fresh=True)
    assert figures is not None
    for province in PROVINCES:
        expected, shown = independent.get(province, recount.Count()), figures.counts[province]
        assert {f: getattr(expected, f) for f in FIGURES} == {f: getattr(shown, n) for f, n in FIGURES.items()}, (
            province
        )
        spans = sorted(expected.end_to_end)
        assert shown.end_to_end == (spans[(len(spans) - 1) // 2] if spans else None)
    tables = recount.tables(independent, list(figures.counts))
    for name, table in figures.tables.items():
        assert [(row.rank, row.province) for row in table] == tables[name], name

    _no_one_decides_on_their_own_work(platform)
    _every_decision_is_about_the_job_field(platform)
    _tallies_are_the_sum_of_the_facts(platform)
    _every_day_is_possible(platform)
    _seats_are_right(platform)
    facts, records = stores["reporting"].records, stores["registration"].records
    assert platform.acknowledged <= facts.keys()
    assert {subject for subject, r in records.items() if getattr(r.state, "application", 0)} <= facts.keys()
    _erased_people_are_forgotten(platform)


def _no_one_decides_on_their_own_work(platform: InProcessPlatform) -> None:
    """Who registered never screens, and neither they nor who took the first decision or filed the appeal decides it."""
    acts: dict[tuple[str, int], dict[str, str]] = {}  # of an application: person by what they did
    for subject, events in platform.emitted_events().items():
        for e in events:
            person = e.get("actor", "").partition(":")[2]
            act = e["type"].split(".", 3)[3].removesuffix(".v1").replace("reactivated", "registered")
            if person and act in ("applicant.registered", *DECISIONS):
                acts.setdefault((subject, e["data"].get("application", 1)), {})[act] = person
    for by in acts.values():
        for act, others in DECISIONS.items():
            assert act not in by or by[act] not in {by.get(each) for each in others}, (act, by)


def _every_decision_is_about_the_job_field(platform: InProcessPlatform) -> None:
    """Whatever was corrected meanwhile: at rest the field of an application is the one that was decided about."""
    records = platform.stores["registration"].records
    for subject, events in platform.emitted_events().items():
        state = records[subject].state
        if not isinstance(state, applicant.State) or applicant.has_left(state):
            continue
        for e in events:
            if ".case.decided." in e["type"] and e["data"].get("application", 1) == state.application:
                assert e["field"] == state.context.field, subject


DECISIONS = {
    "case.decided": ("applicant.registered",),
    "case.appealed": (),
    "case.appeal_decided": ("applicant.registered", "case.decided", "case.appealed"),
}


def _tallies_are_the_sum_of_the_facts(platform: InProcessPlatform) -> None:
    summed: dict[tuple[str, int, str], int] = {}
    for record in platform.stores["reporting"].records.values():
        for (province, day, indicator), n in contributions(record.state).items():
            tally = tally_id(ROUND, province, partition_of(record.subject), month_of_ordinal(day))
            key = tally, day, indicator
            summed[key] = summed.get(key, 0) + n
    stored = {
        (tally, date.fromisoformat(day).toordinal(), indicator): n
        for tally, days in platform.tallies.tallies.items()
        for day, by in days.items()
        for indicator, n in by.items()
    }
    assert {k: n for k, n in stored.items() if n} == {k: n for k, n in summed.items() if n}


def _every_day_is_possible(platform: InProcessPlatform) -> None:
    """0 <= U <= M <= C <= Ad, S <= R, nothing below 0: on every day."""
    by_province: dict[str, dict[int, dict[str, int]]] = {}
    for record in platform.stores["reporting"].records.values():
        for (province, day, indicator), n in contributions(record.state).items():
            sums = by_province.setdefault(province, {}).setdefault(day, {})
            sums[indicator] = sums.get(indicator, 0) + n
    first, last = tehran_day(START).toordinal(), tehran_day(platform.now).toordinal()
    for days in by_province.values():
        for sums in sums_at(days, sorted(d for d in days if first <= d <= last)):
            one = {name: sums.get(name, 0) for name in PLAIN}
            assert min(one.values()) >= 0
            assert one["sustained"] <= one["connected"] <= one["identified"] <= one["admitted"]
            assert one["screened"] <= one["registered"] and one["approved"] <= one["screened"]
            assert one["overturned"] <= one["appealed"] <= one["screened"] and one["overturned"] <= one["approved"]
            assert one["screened_in_time"] <= one["screening_due"] and one["identified_in_time"] <= one["capacity_due"]
            assert one["claims_sustained"] <= one["claims_confirmed"] <= one["claims"]


def _erased_people_are_forgotten(platform: InProcessPlatform) -> None:
    """Of an erased person every service keeps the province and the dates that it counts; the key is destroyed."""
    for subject in platform.erased:
        for name, store in platform.stores.items():
            record = store.records[subject]
            known = msgspec.to_builtins(record.state, str_keys=True)
            assert KNOWN_IN_STATE.isdisjoint(_leaves(known)), (name, known)
            if name == "registration":
                own = {"scope", "province", "round", "status", "priority", "registered_at", "person", "tracking"}
                assert record.indexed.keys() == own and record.indexed["scope"] in PROVINCES
                assert record.private.content.keys() == {"key_id"} and not record.stored_responses
                assert record.private.content["key_id"] not in platform.keys.stored
            elif name != "reporting":
                assert not record.indexed


KNOWN_IN_STATE = {"2001", *FIELDS, *PROFILE.values(), "web", "processing", "kilogram", "skilled", "export", "direct"}


def _leaves(value: object) -> set[object]:
    if isinstance(value, dict):
        return {leaf for each in value.items() for part in each for leaf in _leaves(part)}
    return {leaf for each in value for leaf in _leaves(each)} if isinstance(value, list | tuple) else {value}


def _seats_are_right(platform: InProcessPlatform) -> None:
    """quota = available + admitted, and an applicant waits only if no seat is free."""
    records = platform.stores["registration"].records
    applicants = [r for r in records.values() if isinstance(r.state, applicant.State)]
    for province in PROVINCES:
        subject = ledger_subject(ROUND, province)
        seats: ledger.State = records[subject].state if subject in records else ledger.State()
        holders = [r for r in applicants if r.state.seat and r.state.seat.ledger == subject]
        waiting = [r for r in applicants if r.indexed.get("seating") == "waiting" and r.indexed["ledger"] == subject]
        assert seats.admitted == len(holders) <= seats.quota
        assert ledger.available(seats) >= 0 and not (waiting and ledger.available(seats))
