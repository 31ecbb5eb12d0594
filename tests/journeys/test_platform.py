"""Whatever is repeated, reordered, crashed or raced: reporting's figures are an independent recount."""

import asyncio
import os
from datetime import date, timedelta
from functools import cache
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.subjects import ledger_subject, partition_of
from kernel.store import Changes
from peyvand.verify import recount
from programme.calendar import tehran_day
from programme.reference import holidays
from registration.domain import applicant, ledger
from reporting.domain.contributions import contributions
from reporting.domain.figures import sums_at
from reporting.domain.indicators import PLAIN
from reporting.store import MemoryTallies, place_name
from tests.journeys.in_process_platform import ALL, PROVINCES, ROUND, START, Nation

EXAMPLES = int(os.environ.get("PEYVAND_JOURNEYS", "1000"))
SERVICES = ("registration", "screening", "market", "reporting")
FIELDS = {
    "Q": "quota",
    "R": "registered",
    "verified": "verified",
    "S": "screened",
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
}

CHOICES: dict[str, Any] = {
    "advance": range(6),  # a person
    "withdraw": range(6),
    "flow": range(1, 4),  # turns of every worker
    "turn": range(4),  # one worker
    "days": (1, 5, 12, 40, 95),
    "quota": range(5),
}
VERBS = ["advance"] * 8 + ["flow"] * 7 + ["days"] * 2 + ["turn", "quota", "withdraw"]
steps = st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, 59), st.integers(0, 2)), min_size=10, max_size=60)


@given(steps=steps, quotas=st.tuples(*[st.integers(0, 3)] * 3), seed=st.integers(0, 2**32))
@settings(max_examples=EXAMPLES, deadline=None)
def test_the_figures_are_a_recount(steps: list[Any], quotas: tuple[int, int, int], seed: int) -> None:
    """The journey of a small country."""
    asyncio.run(journey(steps, quotas, seed))


def drawn(seed: int) -> tuple[list[Any], tuple[int, int, int]]:
    """A long journey by a seed alone."""
    chance = Random(seed)
    taken = [(chance.choice(VERBS), chance.randint(0, 59), chance.randint(0, 2)) for _ in range(80)]
    return taken, (2, 1, 3)


def test_journeys_reach_everything_there_is() -> None:
    """A canary: over some seeds every type of event of the first release is said."""
    told: set[str] = set()
    for seed in range(12):
        for events in asyncio.run(journey(*drawn(seed), seed)).told().values():
            told |= {e["type"].split(".", 3)[3] for e in events}
    assert told >= {
        "applicant.reactivated.v1",
        "applicant.waitlisted.v1",
        "applicant.admitted.v1",
        "applicant.seat_released.v1",
        "case.breached.v1",
        "capacity.breached.v1",
        "capacity.identified.v1",
        "offer.accepted.v1",
        "connection.evidenced.v1",
        "connection.sustained.v1",
        "connection.ended.v1",
    }


async def _lose(self: Nation, service: str) -> None:
    """Marks as sent what is not."""
    store = self.stores[service]
    found = await store.waiting(ALL, 1_000)
    for waiting in found:
        self._write(service, self.logs[service], waiting.emitted[self.chance.random() < 0.05 :])
        await store.mark_relayed({waiting.subject: waiting.relayed + len(waiting.emitted)})


async def _twice(self: MemoryTallies, changed: Changes, session: Any) -> None:
    """Counts events, not differences."""
    await HONEST(self, changed, session)
    if len(changed) == 3:
        await HONEST(self, changed, session)


HONEST = MemoryTallies.move


@pytest.mark.parametrize(
    ("room", "name", "broken"),
    [(Nation, "relay", _lose), (MemoryTallies, "move", _twice), (Nation, "_write", lambda *_: None)],
    ids=["mark before effect", "tallies moved twice", "nothing is said"],
)
def test_a_broken_country_is_noticed(room: Any, name: str, broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Canaries: with one promise broken on purpose, some journey does not hold."""
    monkeypatch.setattr(room, name, broken)
    with pytest.raises(AssertionError):
        for seed in range(12):
            asyncio.run(journey(*drawn(seed), seed))


async def journey(steps: list[Any], quotas: tuple[int, ...], seed: int) -> Nation:
    """All of it, and what must hold at its end."""
    chance = Random(seed)
    nation = Nation(chance)
    await nation.open(quotas)
    for verb, choice, province in steps:
        n = CHOICES[verb][choice % len(CHOICES[verb])]
        match verb:
            case "advance":
                await nation.advance(n, province)
            case "flow":
                for _ in range(n):
                    for service in chance.sample(SERVICES, 4):
                        await nation.turn(service)
            case "turn":
                await nation.turn(SERVICES[n])
            case "days":
                nation.at += timedelta(days=n)
            case "withdraw":
                await nation.withdraw(n)
            case "quota":
                await nation.quota(PROVINCES[province], n)
    await nation.settle()
    await check(nation)
    return nation


@cache
def calendar() -> recount.Calendar:
    """The recount's own."""
    return recount.Calendar(each.day for each in holidays())


async def check(nation: Nation) -> None:
    """Every invariant that applies."""
    stores = nation.stores
    assert not nation.faults
    assert not [r for store in stores.values() for r in store.kept.values() if r.parked]

    told, today = nation.told(), tehran_day(nation.at)
    independent = recount.count(told, calendar(), today, ROUND)
    figures = await nation.board().figures(ROUND, fresh=True)
    assert figures is not None
    for province in PROVINCES:
        mine, own = independent.get(province, recount.Count()), figures.counts[province]
        assert {f: getattr(mine, f) for f in FIELDS} == {f: getattr(own, name) for f, name in FIELDS.items()}, province
        spans = sorted(mine.end_to_end)
        assert own.end_to_end == (spans[(len(spans) - 1) // 2] if spans else None)
    expected = recount.tables(independent, list(figures.counts))
    for name, table in figures.tables.items():
        assert [(row.rank, row.province) for row in table] == expected[name], name

    _tallies_are_the_sum_of_the_facts(nation)
    _every_day_is_possible(nation)
    _seats_are_right(nation)
    facts = stores["reporting"].kept
    assert nation.acknowledged <= facts.keys()
    assert {s for s, r in stores["registration"].kept.items() if getattr(r.state, "application", 0)} <= facts.keys()


def _tallies_are_the_sum_of_the_facts(nation: Nation) -> None:
    summed: dict[tuple[str, int, str], int] = {}
    for record in nation.stores["reporting"].kept.values():
        for (province, day, indicator), n in contributions(record.state).items():
            place = place_name(ROUND, province, partition_of(record.subject))
            summed[place, day, indicator] = summed.get((place, day, indicator), 0) + n
    kept = {
        (place, date.fromisoformat(day).toordinal(), indicator): n
        for place, days in nation.tallies.tallies.items()
        for day, by in days.items()
        for indicator, n in by.items()
    }
    assert {k: n for k, n in kept.items() if n} == {k: n for k, n in summed.items() if n}


def _every_day_is_possible(nation: Nation) -> None:
    """0 <= U <= M <= C <= Ad, S <= R, nothing below 0: on every day."""
    by_province: dict[str, dict[int, dict[str, int]]] = {}
    for record in nation.stores["reporting"].kept.values():
        for (province, day, indicator), n in contributions(record.state).items():
            sums = by_province.setdefault(province, {}).setdefault(day, {})
            sums[indicator] = sums.get(indicator, 0) + n
    first, last = tehran_day(START).toordinal(), tehran_day(nation.at).toordinal()
    for days in by_province.values():
        for sums in sums_at(days, sorted(d for d in days if first <= d <= last)):
            one = {name: sums.get(name, 0) for name in PLAIN}
            assert min(one.values()) >= 0
            assert one["sustained"] <= one["connected"] <= one["identified"] <= one["admitted"]
            assert one["screened"] <= one["registered"] and one["approved"] <= one["screened"]
            assert one["screened_in_time"] <= one["screening_due"] and one["identified_in_time"] <= one["capacity_due"]
            assert one["claims_sustained"] <= one["claims_confirmed"] <= one["claims"]


def _seats_are_right(nation: Nation) -> None:
    """quota = available + held + admitted; who waits, waits because there is no seat, in the published order."""
    kept = nation.stores["registration"].kept
    applicants = [r for r in kept.values() if isinstance(r.state, applicant.State)]
    for province in PROVINCES:
        subject = ledger_subject(ROUND, province)
        seats: ledger.State = kept[subject].state
        holders = [r for r in applicants if r.state.seat and r.state.seat.ledger == subject]
        waiting = [r for r in applicants if r.indexed.get("seating") == "waiting" and r.indexed["ledger"] == subject]
        assert seats.admitted == len(holders) <= seats.quota
        assert ledger.available(seats) >= 0 and not (waiting and ledger.available(seats))
