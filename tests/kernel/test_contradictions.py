"""A consumed event that does not follow the one that was handled before it: its producer's history is another one."""

from typing import Any

import pytest
from msgspec.structs import replace

from contracts.envelope import digest
from kernel.batch import SUBJECTS_LIMIT, CircuitBreaker, process
from kernel.record import Message, Record, consume
from kernel.roles.observation import observe_batch
from observability import metrics
from recovery.parked_events import discard_one
from tests.support.fixtures import StoreOf
from tests.support.messages import chain, message
from tests.support.parked_events import REGISTRATION, head, parked, record, settle
from tests.support.small_services import ReportingRules, noon
from tests.support.small_workers import RULES

REPORTING = RULES["reporting"]
FORK = message("registration", 2, field="saffron")  # another second event: the producer was restored


class RulesAtOnce(ReportingRules):
    """ReportingRules that fold events at once."""

    @staticmethod
    def fold(state: Any, envelopes: Any) -> Any:
        for envelope in envelopes:
            state = ReportingRules.evolve(state, envelope)
        return state


def forked(*sequences: int) -> list[Message]:
    """Return events that follow FORK."""
    return chain("registration", *sequences, after=FORK)


@pytest.mark.parametrize("rules", [ReportingRules, RulesAtOnce])
def test_a_record_knows_the_last_event_that_it_has_handled_of_each_source(rules: Any) -> None:
    ours, theirs = chain("registration", 1, 2, 3), chain("screening", 1)
    empty = Record(subject="p", state=rules.State())
    after, left = consume(empty, rules, "reporting", [*ours, *theirs], noon())
    assert not left and after.inbox_hashes == {"registration": digest(ours[2].raw), "screening": digest(theirs[0].raw)}
    assert consume(after, rules, "reporting", ours, noon()) == (after, []), "repeats change nothing"


@pytest.mark.parametrize("rules", [ReportingRules, RulesAtOnce])
def test_what_follows_another_event_is_not_handled(rules: Any) -> None:
    """In the batch of the event before it, and in a later one."""
    empty, ours = Record(subject="p", state=rules.State()), chain("registration", 1, 2)
    at_once = consume(empty, rules, "reporting", [*ours, *forked(3, 4)], noon())
    before, _ = consume(empty, rules, "reporting", ours, noon())
    after, left = consume(before, rules, "reporting", forked(3, 4), noon())
    assert after is before and at_once == (before, left)
    assert [(each.sequence, each.reason, each.fault.where) for each in left] == [
        (3, "invalid", "$.previous"),
        (4, "early", ""),
    ]


def test_without_a_digest_on_either_side_nothing_is_contradicted() -> None:
    """After a discard of a missing event, and where a producer names none."""
    ours = chain("registration", 1, 2)
    before, _ = consume(Record(subject="p", state=REPORTING.State()), REPORTING, "reporting", ours, noon())
    unsure, bare = replace(before, inbox_hashes={"registration": ""}), message("registration", 3)
    for record_, next_ in ((unsure, forked(3)), (before, [bare])):
        assert consume(record_, REPORTING, "reporting", next_, noon())[0].inbox == {"registration": 3}


async def test_it_is_kept_across_batches_and_the_event_that_follows_takes_its_place(store_of: StoreOf) -> None:
    store, ours = await store_of("reporting"), chain("registration", 1, 2, 3, 4)
    others = chain("screening", 1), chain("registration", 1, subject="q")
    await settle(store, ours[:2], [*forked(3), *others[0], *others[1]])
    found = await head(store)
    assert (found.sequence, found.reason, found.position) == (3, "invalid", forked(3)[0].position)
    assert (await record(store)).inbox == {"registration": 2, "screening": 1}, "its other sources flow on"
    await settle(store, ours[2:])
    after = await record(store)
    assert after.inbox["registration"] == 4 and after.inbox_hashes["registration"] == digest(ours[3].raw)
    assert not await parked(store)


async def test_a_discard_keeps_the_digest_of_what_it_discards(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    poison = chain("registration", 1, field="poison")
    after = chain("registration", 2, after=poison[0])
    await settle(store, [*poison, *after])
    assert await discard_one(store, REGISTRATION, 1, "nonsense", "operator:o1", noon, None)
    await settle(store)
    assert (await record(store)).inbox == {"registration": 2}
    assert (await record(store)).discarded[0].hash == digest(poison[0].raw)


async def test_many_of_them_do_not_pause_the_service(store_of: StoreOf) -> None:
    """A producer that was restored must not stop its consumers."""
    store, breaker = await store_of("reporting"), CircuitBreaker()
    subjects = [f"p{n}" for n in range(SUBJECTS_LIMIT + 10)]
    await settle(store, [chain("registration", 1, subject=s)[0] for s in subjects])
    other = [chain("registration", 1, 2, subject=s, field="saffron")[1] for s in subjects]
    written = await process(store, other, {}, noon, None, breaker)
    assert {each.reason for each in written.parked} == {"invalid"} and len(written.parked) == len(subjects)


async def test_it_is_counted_with_the_place_at_which_the_log_has_it(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    await settle(store, chain("registration", 1, 2))
    counter = metrics.INVALID.labels("contradictions", "peyvand.registration", "0")
    counted, messages = counter._value.get(), forked(3)
    observe_batch("contradictions", messages, await process(store, messages, {}, noon))
    assert counter._value.get() == counted + 1
