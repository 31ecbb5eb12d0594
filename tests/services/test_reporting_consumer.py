"""Consuming events: every published example, any order, duplicates, and a round that goes on."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec.structs import replace

import contracts
from contracts.envelope import Envelope, decode, encode
from contracts.events import PRODUCERS, ApplicantErased, ConnectionEnded, QuotaSet
from contracts.examples import APPLICANT, story
from contracts.subjects import kind_of
from contracts.topics import topics_consumed_by
from kernel.batch import process
from kernel.record import Message, Reason
from kernel.stores.memory import MemoryStore
from programme.calendar import month_of
from reporting.domain import RULES
from reporting.domain.contributions import contributions
from reporting.ranking_cache import RankingCache
from reporting.tallies import ROUNDS, MemoryTallies, Reading, iso_day, tally_id
from tests.support.reporting_round import (
    NOW,
    START,
    RoundEvents,
    app_of,
    consume,
    fixed_clock,
    ranking_cache,
    round_events,
    running_client,
)

EXAMPLES = sorted((Path(contracts.__file__).parent / "published/examples").glob("*/*.json"))


class CountedTallies(MemoryTallies):
    """Tallies that count how often they are read."""

    readings = 0

    async def read(self, since: Mapping[str, int], today: date) -> Reading:
        """Return what moved."""
        self.readings += 1
        return await super().read(since, today)


def test_reporting_consumes_all_topics_and_emits_nothing() -> None:
    assert topics_consumed_by("reporting") == ("peyvand.registration", "peyvand.screening", "peyvand.market")
    assert "reporting" not in PRODUCERS


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name.removeprefix("ir.peyvand."))
def test_every_published_example_is_consumed(path: Path) -> None:
    envelope = decode(path.read_bytes())
    rules = RULES.get(kind_of(envelope.subject))
    if rules is None:
        return  # reporting has no rules for this kind of subject
    state = rules.evolve(rules.State(), envelope)
    assert state.round == "1404" or not envelope.context.round
    assert not rules.react(state, envelope, envelope.time)
    contributions(state)


async def test_the_examples_together_contribute_to_the_figures() -> None:
    """The producers' examples are the history of one applicant; in order they contribute to the figures."""
    envelopes = sorted(
        (decode(path.read_bytes()) for path in EXAMPLES), key=lambda e: (e.source, e.subject, e.sequence)
    )
    states: dict[str, Any] = {}
    for envelope in envelopes:
        if rules := RULES.get(kind_of(envelope.subject)):
            states[envelope.subject] = rules.evolve(states.get(envelope.subject, rules.State()), envelope)
    assert any(contributions(state) for state in states.values())


async def test_a_forged_erasure_moves_no_one_to_another_round() -> None:
    """It applies at once, under whatever round it names: of no one known yet, until registration's next event."""
    envelopes = [each for each in story() if each.subject == APPLICANT]
    erased = next(each for each in envelopes if isinstance(each.event, ApplicantErased))
    forged = replace(erased, sequence=1_000, context=replace(erased.context, round="1403"))
    for position in range(len(envelopes) + 1):
        store, tallies = MemoryStore("reporting", RULES), MemoryTallies()
        for each in [*envelopes[:position], forged, *envelopes[position:]]:
            await process(store, [Message(each, encode(each))], {}, fixed_clock(NOW), tallies.move)
            expected = Counter[tuple[str, str, str]]()
            for record in store.records.values():
                for (province, day, indicator), n in contributions(record.state).items():
                    expected[f"{record.state.round}/{province}", iso_day(day), indicator] += n
            found = Counter[tuple[str, str, str]]()
            for tally, days in tallies.tallies.items():
                for moved, sums in days.items():
                    for indicator, n in sums.items():
                        found["/".join(tally.split("/")[:2]), moved, indicator] += n
            assert found == expected, f"after {position} events, at {each.event!r}"
        assert store.records[APPLICANT].state.round == "1404", f"the forgery came after {position} events"


async def test_shuffled_sources_and_duplicates_give_the_same_figures() -> None:
    envelopes = round_events().envelopes
    expected = await (await ranking_cache(envelopes)).figures()
    rng = random.Random(7)
    queues: dict[tuple[str, str], list[Envelope]] = {}
    for envelope in envelopes:
        queues.setdefault((envelope.source, envelope.subject), []).append(envelope)
    shuffled: list[Envelope] = []
    left = list(queues.values())
    while left:
        queue = rng.choice(left)
        shuffled.append(queue.pop(0))
        if rng.random() < 0.2:
            shuffled.append(rng.choice(shuffled))  # a duplicate
        left = [each for each in left if each]
    again = await (await ranking_cache(shuffled)).figures()
    assert expected is not None and again is not None
    assert again.counts == expected.counts and again.events == expected.events == len(envelopes)
    for name in expected.tables:
        assert again.ranks[name] == expected.ranks[name]


async def test_early_events_are_counted_once_the_gap_closes() -> None:
    events = RoundEvents()
    events.applicant(APPLICANT, "IR-20", 5)
    tallies = MemoryTallies()
    store = await consume(tallies, reversed(events.envelopes))
    found = await tallies.read({}, NOW.date())
    assert found.events == len(events.envelopes) and not await store.parked.heads(get_args(Reason), APPLICANT)


async def test_a_quota_raised_within_a_month_counts_from_its_day() -> None:
    events = round_events()
    raised = START + timedelta(days=15)
    events.emit("registration", "ledger:1404/IR-20", QuotaSet(quota=90, previous=40), raised, "IR-20")
    tallies = MemoryTallies()
    store = await consume(tallies, events.envelopes)
    for days, quota in ((14, 40), (15, 90), (40, 90)):
        found = await RankingCache(store, tallies, fixed_clock(START + timedelta(days=days)), pause=0).figures()
        assert found is not None and found.counts["IR-20"].quota == quota


async def test_an_ended_connection_still_counts_in_the_past() -> None:
    events = round_events()
    before = await (await ranking_cache(events.envelopes)).figures()
    sold = [e.subject for e in events.envelopes if e.subject.startswith("0199-IR-20") and e.source == "market"][-1]
    ended = ConnectionEnded(connection="c1", reason="price")
    events.emit("market", sold, ended, NOW - timedelta(days=1), "IR-20")
    tallies = MemoryTallies()
    store = await consume(tallies, events.envelopes)
    after = await RankingCache(store, tallies, fixed_clock(NOW), pause=0).figures()
    past = await RankingCache(store, tallies, fixed_clock(NOW - timedelta(days=2)), pause=0).figures()
    assert before is not None and after is not None and past is not None
    assert after.counts["IR-20"].connected == before.counts["IR-20"].connected - 1
    assert past.counts["IR-20"].connected == before.counts["IR-20"].connected


async def test_an_open_case_is_overdue_from_the_day_after_it_is_due() -> None:
    events = RoundEvents()
    events.envelopes += [e for e in round_events().envelopes if e.subject == "round:1404"]
    events.applicant("0199", "IR-20", 1)
    due: date = next(e.event.due for e in events.envelopes if hasattr(e.event, "due"))
    tallies = MemoryTallies()
    store = await consume(tallies, events.envelopes)
    for day, counted in ((due, 0), (due + timedelta(days=1), 1)):
        noon = START + (day - START.date())
        found = await RankingCache(store, tallies, fixed_clock(noon), pause=0).figures()
        assert found is not None and found.day == day
        assert found.counts["IR-20"].screening_due == counted


async def test_ranks_at_past_month_ends_come_from_the_same_deltas() -> None:
    found = await (await ranking_cache()).figures()
    assert found is not None
    assert [day.isoformat() for day in found.month_ends] == ["2025-10-22", "2025-11-21"]
    assert all(len(ranks) == 2 for ranks in found.past_ranks["composite"].values())
    past = await (await ranking_cache(now=START + timedelta(days=29))).figures()
    assert past is not None and past.day == found.month_ends[0]
    assert {code: ranks[0] for code, ranks in found.past_ranks["3"].items()} == past.ranks["3"]


async def test_only_the_tallies_that_moved_are_read_again() -> None:
    events = round_events()
    tallies = MemoryTallies()
    store = await consume(tallies, events.envelopes)
    cache = RankingCache(store, tallies, fixed_clock(NOW), pause=0)
    first = await cache.figures()
    assert await cache.figures() is first
    more = RoundEvents()
    more.applicant("0200", "IR-20", 1)
    await consume(tallies, more.envelopes, store)
    assert len((await tallies.read(cache.versions, NOW.date())).documents) == 1
    second = await cache.figures(fresh=True)
    assert first is not None and second is not None and second.version > first.version
    assert second.counts["IR-20"].registered == first.counts["IR-20"].registered + 1


async def test_the_progress_of_a_partition_names_its_own_tallies_only() -> None:
    """A batch of many partitions must not write all of them into one document, which every refresh reads."""
    tallies = MemoryTallies()
    await consume(tallies, round_events().envelopes)
    assert tallies.progress
    for partition, progress in tallies.progress.items():
        assert {int(name.split("/")[2]) for name in progress["versions"] if name != ROUNDS} <= {partition}


async def test_what_is_kept_and_computed_does_not_grow_with_the_days() -> None:
    """Of 13 months, the days of one are kept; each other month is one day."""
    tallies = MemoryTallies()
    store = await consume(tallies, round_events().envelopes)
    for n in range(400):
        day = (START + timedelta(days=n)).date()
        tally = tally_id("1404", "IR-20", 5, month_of(day))
        tallies.tallies.setdefault(tally, {})[day.isoformat()] = {"registered": 1, "verified": 1}
        tallies.progress[5]["versions"][tally] = n + 1_000
    cache = RankingCache(store, tallies, fixed_clock(START + timedelta(days=400)), pause=0)
    found, kept = await cache.figures(), cache.sums["1404", "IR-20"]
    assert found is not None and found.counts["IR-20"].registered >= 400
    present = {day for day in kept if month_of(date.fromordinal(day)) == cache.month}
    assert len(present) <= 31 and len(kept) - len(present) <= 14
    assert all(len(days) == 1 for name, days in cache.documents.items() if not name.endswith(cache.month))


async def test_one_reading_a_second_serves_all_who_want_fresh_figures() -> None:
    tallies = CountedTallies()
    cache = RankingCache(await consume(tallies, round_events().envelopes), tallies, fixed_clock(NOW), pause=0.2)
    first = await cache.figures()
    more = RoundEvents()
    more.applicant("0200", "IR-20", 1)
    await consume(tallies, more.envelopes, cache.store)  # type: ignore[arg-type]
    found = await asyncio.gather(*(cache.figures(fresh=True) for _ in range(200)))
    assert tallies.readings == 2
    assert first is not None and all(each is found[0] for each in found)
    assert found[0] is not None and found[0].version > first.version, "fresh is what was stored before the call"


async def test_anonymous_clients_cannot_have_the_tallies_read_more_than_once_a_pause() -> None:
    """100 clients send `no-cache` while 50 follow the table: one reading serves them all."""
    tallies = CountedTallies()
    cache = RankingCache(await consume(tallies, round_events().envelopes), tallies, fixed_clock(NOW), pause=0.5)
    app = app_of(cache)
    async with running_client(app) as client:
        viewers = [asyncio.create_task(client.get("/v1/stream")) for _ in range(50)]
        began = time.monotonic()
        headers = {"Cache-Control": "no-cache"}
        found = []
        for _ in range(5):
            found += await asyncio.gather(*(client.get("/v1/ranking", headers=headers) for _ in range(20)))
        pauses = (time.monotonic() - began) / 0.5
        assert {each.status_code for each in found} == {200}
        assert tallies.readings <= pauses + 2, "one at the beginning, one that is under way"
        app.state.stopping.set()
        await asyncio.gather(*viewers)


async def test_a_new_month_is_known_by_day() -> None:
    """The clock passes the end of a month: what was folded is read again."""
    tallies, now = MemoryTallies(), [START + timedelta(days=20)]
    store = await consume(tallies, round_events().envelopes)
    cache = RankingCache(store, tallies, lambda: fixed_clock(now[0])(), pause=0)
    for days in (20, 40, 41, 60):
        now[0] = START + timedelta(days=days)
        found, new = await cache.figures(), await RankingCache(store, tallies, fixed_clock(now[0]), pause=0).figures()
        assert found is not None and new is not None and found.counts == new.counts
        assert found.past_ranks == new.past_ranks
