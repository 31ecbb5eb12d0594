"""What reporting hears: every event that its owners publish, in any order, doubled, and a round that moves on."""

import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

import contracts
from contracts.envelope import Envelope, decode
from contracts.events import PRODUCERS, ConnectionEnded, QuotaSet
from contracts.subjects import kind_of
from contracts.topics import topics_consumed_by
from kernel.batch import process
from kernel.record import Message
from reporting.consumer import topics
from reporting.domain import RULES
from reporting.domain.contributions import contributions
from reporting.store import Board, MemoryTallies
from tests.support.reporting_round import NOW, START, Speakers, a_round, at, board, hear

EXAMPLES = sorted((Path(contracts.__file__).parent / "published/examples").glob("*/*.json"))


def test_it_hears_everybody_and_says_nothing() -> None:
    assert (
        topics() == topics_consumed_by("reporting") == ("peyvand.registration", "peyvand.screening", "peyvand.market")
    )
    assert "reporting" not in PRODUCERS


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name.removeprefix("ir.peyvand."))
def test_every_published_example_is_heard(path: Path) -> None:
    envelope = decode(path.read_bytes())
    rules = RULES.get(kind_of(envelope.subject))
    if rules is None:
        return  # read past: reporting keeps no facts about it
    state = rules.evolve(rules.State(), envelope)
    assert state.round == "1404" or not envelope.context.round
    assert not rules.react(state, envelope, envelope.time)
    contributions(state)


async def test_the_examples_together_are_one_applicant_who_sells() -> None:
    """The producers' examples tell one life; told whole and in order it counts where it should."""
    said = sorted((decode(path.read_bytes()) for path in EXAMPLES), key=lambda e: (e.source, e.subject, e.sequence))
    states: dict[str, Any] = {}
    for envelope in said:
        if rules := RULES.get(kind_of(envelope.subject)):
            states[envelope.subject] = rules.evolve(states.get(envelope.subject, rules.State()), envelope)
    assert any(contributions(state) for state in states.values())


async def test_replayed_shuffled_and_doubled_it_is_the_same() -> None:
    said = a_round().said
    whole = await (await board(said)).figures()
    chance = random.Random(7)
    queues: dict[tuple[str, str], list[Envelope]] = {}
    for envelope in said:
        queues.setdefault((envelope.source, envelope.subject), []).append(envelope)
    mixed: list[Envelope] = []
    left = list(queues.values())
    while left:
        queue = chance.choice(left)
        mixed.append(queue.pop(0))
        if chance.random() < 0.2:
            mixed.append(chance.choice(mixed))  # once more
        left = [each for each in left if each]
    again = await (await board(mixed)).figures()
    assert whole is not None and again is not None
    assert again.counts == whole.counts and again.events == whole.events == len(said)
    for name in whole.tables:
        assert again.ranks[name] == whole.ranks[name]


async def test_what_comes_early_is_counted_once_the_hole_closes() -> None:
    speakers = Speakers()
    speakers.applicant("0199", "IR-20", 5)
    tallies = MemoryTallies()
    store = await hear(tallies, reversed(speakers.said))
    found = await tallies.read({})
    assert found.events == len(speakers.said) and not store.kept["0199"].parked


async def test_quotas_raised_in_mid_month_count_from_their_day() -> None:
    speakers = a_round()
    raised = START + timedelta(days=15)
    speakers.say("registration", "ledger:1404/IR-20", QuotaSet(quota=90, previous=40), raised, "IR-20")
    tallies = MemoryTallies()
    await hear(tallies, speakers.said)
    for days, quota in ((14, 40), (15, 90), (40, 90)):
        found = await Board(tallies, at(START + timedelta(days=days)), pause=0).figures()
        assert found is not None and found.counts["IR-20"].quota == quota


async def test_an_ended_connection_stays_counted_in_the_past() -> None:
    speakers = a_round()
    before = await (await board(speakers.said)).figures()
    sold = [e.subject for e in speakers.said if e.subject.startswith("0199-IR-20") and e.source == "market"][-1]
    ended = ConnectionEnded(connection=f"{sold}.c1", reason="price")
    speakers.say("market", sold, ended, NOW - timedelta(days=1), "IR-20")
    tallies = MemoryTallies()
    await hear(tallies, speakers.said)
    after = await Board(tallies, at(NOW), pause=0).figures()
    then = await Board(tallies, at(NOW - timedelta(days=2)), pause=0).figures()
    assert before is not None and after is not None and then is not None
    assert after.counts["IR-20"].connected == before.counts["IR-20"].connected - 1
    assert then.counts["IR-20"].connected == before.counts["IR-20"].connected


async def test_an_open_case_counts_against_from_the_day_after_its_due_day() -> None:
    speakers = Speakers()
    speakers.said += [e for e in a_round().said if e.subject == "round:1404"]
    speakers.applicant("0199", "IR-20", 1)
    due: date = next(e.event.due for e in speakers.said if hasattr(e.event, "due"))
    tallies = MemoryTallies()
    await hear(tallies, speakers.said)
    for day, counted in ((due, 0), (due + timedelta(days=1), 1)):
        noon = START + (day - START.date())
        found = await Board(tallies, at(noon), pause=0).figures()
        assert found is not None and found.day == day
        assert found.counts["IR-20"].screening_due == counted


async def test_ranks_of_the_past_months_are_told_from_the_same_deltas() -> None:
    found = await (await board()).figures()
    assert found is not None
    assert [day.isoformat() for day in found.month_ends] == ["2025-10-22", "2025-11-21"]
    assert all(len(ranks) == 2 for ranks in found.past_ranks["composite"].values())
    then = await (await board(now=START + timedelta(days=29))).figures()
    assert then is not None and then.day == found.month_ends[0]
    assert {code: ranks[0] for code, ranks in found.past_ranks["3"].items()} == then.ranks["3"]


async def test_only_what_moved_is_read_again() -> None:
    speakers = a_round()
    tallies = MemoryTallies()
    store = await hear(tallies, speakers.said)
    of = Board(tallies, at(NOW), pause=0)
    first = await of.figures()
    assert await of.figures() is first
    more = Speakers()
    more.applicant("0200", "IR-20", 1)
    await process(store, [Message(e, b"") for e in more.said], {}, at(NOW), tallies.move)
    assert len((await tallies.read(of.versions)).documents) == 1
    second = await of.figures(fresh=True)
    assert first is not None and second is not None and second.version > first.version
    assert second.counts["IR-20"].registered == first.counts["IR-20"].registered + 1
