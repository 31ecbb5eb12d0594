"""Dead letters: are they grouped by cause, retried in order, discarded on record, and counted once?"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from base.clock import Moment, machine_now
from contracts.commands import Refused
from contracts.events import ApplicantWithdrawn
from contracts.subjects import PARTITIONS
from kernel.batch import CircuitBreaker, drain, process
from kernel.record import LogPosition, Undecodable
from kernel.store import Change
from recovery.dead_letter import LetterOutcome, group, parse
from recovery.dead_letters import DeadLetters
from tests.support.faulty_events import faulty, park_three, recorded_actions, recount, rules_with_bug
from tests.support.messages import REGISTERED, UNKNOWN_TYPE, WITHDRAWN, message, unknown
from tests.support.parked_events import parked
from tests.support.small_services import NOON, Tallies, noon
from tests.support.small_workers import SmallSystem

StoreOf = Callable[..., Any]
EVERY_PARTITION = range(PARTITIONS)
ABC = [f"registration/{subject}/1" for subject in "abc"]
OPERATOR = "operator:o1"


def now() -> Moment:
    """Return the time of a clock whose machine time is correct."""
    return Moment(NOON, machine_now())


def outcomes_of(outcomes: Sequence[LetterOutcome]) -> list[tuple[str, int]]:
    return [(each.outcome, each.drained) for each in outcomes]


async def parked_left(store: Any, *subjects: str) -> int:
    """Return how many parked events of registration about these subjects are stored."""
    return sum([len(await store.parked.events((subject, "registration"), 100)) for subject in subjects])


# Groups


async def test_letters_with_one_cause_are_one_group_with_the_fingerprint_of_the_circuit_breaker(
    store_of: StoreOf,
) -> None:
    store, breaker = await store_of("reporting"), CircuitBreaker()
    events = [faulty("a", 1), faulty("b", 1), message("registration", 2, subject="b"), faulty("c", 1, WITHDRAWN)]
    await process(store, events, {}, noon, None, breaker)
    larger, smaller = group(await DeadLetters(store, noon).letters())
    assert (larger.letters, larger.behind, larger.type, larger.example) == (2, 1, REGISTERED.TYPE, ABC[0])
    assert (smaller.letters, smaller.behind, smaller.type, smaller.example) == (1, 0, WITHDRAWN.TYPE, ABC[2])
    for each in (larger, smaller):
        assert (each.kind, each.reason, each.source) == ("parked", "fault", "registration")
        assert (each.fault.error, each.fault.message) == ("ValueError", "a bug")
        assert each.fault.where.startswith("ReportingRules.evolve:")
    heads = {head.subject: head.fingerprint for head in await store.parked.heads(("fault",))}
    assert heads == {"a": larger.fingerprint, "b": larger.fingerprint, "c": smaller.fingerprint}
    assert breaker.parked.keys() == {larger.fingerprint, smaller.fingerprint}


async def test_letters_are_found_by_subject_and_by_fingerprint(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    await process(store, [faulty("a", 1), faulty("b", 1), faulty("c", 1, WITHDRAWN)], {}, noon)
    await store.add_undecodable([Undecodable(LogPosition("peyvand.registration", 3, 5), b"\xff", "invalid byte")])
    dead = DeadLetters(store, noon)
    assert [each.id for each in await dead.letters("b")] == [ABC[1]]
    (letter,) = await dead.letters("a")
    assert [each.id for each in await dead.letters(fingerprint=letter.fingerprint)] == ABC[:2]
    assert len(await dead.letters()) == 4


async def test_a_letter_of_an_unknown_type_is_listed_and_waits_for_a_newer_version(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    await process(store, [unknown(1), message("registration", 2)], {}, noon)
    dead = DeadLetters(store, noon)
    (letter,) = await dead.letters()
    assert (letter.reason, letter.type, letter.behind) == ("unknown_type", UNKNOWN_TYPE, 1)
    (outcome,) = await dead.act("retry", [letter.id], OPERATOR, "", dry_run=False)
    assert (outcome.outcome, outcome.drained) == ("parked", 0)
    assert [each.id for each in await dead.letters()] == [letter.id]


# Retry


async def test_after_a_fix_a_retry_handles_the_letters_and_what_is_behind_them_in_order(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    await park_three(store, tallies)
    dead = DeadLetters(store, noon, tallies.move)

    before_fix = await dead.act("retry", ABC, OPERATOR, "", dry_run=True)
    assert outcomes_of(before_fix) == [("parked", 0)] * 3
    assert {each.fault.error for each in before_fix} == {"ValueError"}

    store.rules = {"applicant": rules_with_bug()}
    expected = await dead.act("retry", ABC, OPERATOR, "", dry_run=True)
    assert outcomes_of(expected) == [("drained", 2)] * 3
    assert len(await dead.letters()) == 3 and await parked_left(store, *"abc") == 6, "a dry run changes nothing"
    assert await recorded_actions(store) == [], "a dry run is no action"

    assert await dead.act("retry", ABC, OPERATOR, "the rules are fixed", dry_run=False) == expected
    assert await dead.letters() == [] and await parked_left(store, *"abc") == 0
    records = await store.read([*"abcd"])
    assert [records[s].inbox for s in "abcd"] == [{"registration": 2}] * 3 + [{"registration": 1}]
    assert +tallies.counts == await recount(store, *"abcd")
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 4, ("IR-20", "ApplicantWithdrawn"): 3}

    assert outcomes_of(await dead.act("retry", ABC, OPERATOR, "", dry_run=False)) == [("gone", 0)] * 3
    assert +tallies.counts == await recount(store, *"abcd"), "a repeated retry handles nothing"
    assert await recorded_actions(store) == [
        (OPERATOR, "retry", "the rules are fixed", ABC),
        (OPERATOR, "retry", "", ABC),
    ]


async def test_a_retry_that_meets_the_fault_again_leaves_the_letter_as_it_was(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    await park_three(store, tallies)
    dead = DeadLetters(store, noon, tallies.move)
    before, counts = await dead.letters(), tallies.counts.copy()
    outcomes = await dead.act("retry", ABC, OPERATOR, "", dry_run=False)
    assert outcomes_of(outcomes) == [("parked", 0)] * 3
    assert {(each.fault.error, each.fault.message) for each in outcomes} == {("ValueError", "a bug")}
    after = await dead.letters()
    assert [(each.id, each.fingerprint, each.since, each.behind) for each in after] == [
        (each.id, each.fingerprint, each.since, each.behind) for each in before
    ]
    assert tallies.counts == counts


async def test_a_retry_goes_on_up_to_the_next_fault(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    events = [faulty("a", 1), message("registration", 2, WITHDRAWN, "a"), faulty("a", 3, WITHDRAWN), faulty("a", 4)]
    await process(store, events, {}, noon, tallies.move)
    store.rules = {"applicant": rules_with_bug(ApplicantWithdrawn)}
    dead = DeadLetters(store, noon, tallies.move)
    for dry_run in (True, False):
        (outcome,) = await dead.act("retry", ABC[:1], OPERATOR, "", dry_run=dry_run)
        assert (outcome.outcome, outcome.drained, outcome.fault.error) == ("drained", 2, "ValueError")
    (letter,) = await dead.letters()
    assert (letter.id, letter.type, letter.behind) == ("registration/a/3", WITHDRAWN.TYPE, 1)
    assert +tallies.counts == await recount(store, "a")
    assert sum(tallies.counts.values()) == 2


async def test_a_fault_in_the_projection_concerns_its_own_letter_and_is_stored_by_the_worker(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    await park_three(store, tallies)
    store.rules = {"applicant": rules_with_bug()}

    async def fail_on_b(changes: Sequence[Change], session: Any) -> None:
        if any(after.subject == "b" for _, after in changes):
            raise LookupError("no row")
        await tallies.move(changes, session)

    outcomes = await DeadLetters(store, noon, fail_on_b).act("retry", ABC, OPERATOR, "", dry_run=False)
    assert outcomes_of(outcomes) == [("drained", 2), ("parked", 0), ("drained", 2)]
    assert outcomes[1].fault.error == "LookupError"
    assert (await store.read(["b"]))["b"].inbox == {}
    assert await drain(store, EVERY_PARTITION, noon, fail_on_b) == 1
    (letter,) = await DeadLetters(store, noon).letters()
    assert (letter.id, letter.fault.error, letter.behind) == (ABC[1], "LookupError", 1)
    done = await DeadLetters(store, noon, tallies.move).act("retry", ABC[1:2], OPERATOR, "", dry_run=False)
    assert outcomes_of(done) == [("drained", 2)]
    assert +tallies.counts == await recount(store, *"abcd")


async def test_requests_at_the_same_time_act_once(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    await process(store, [faulty("a", 1), message("registration", 2, WITHDRAWN, "a"), faulty("b", 1)], {}, noon)
    store.rules = {"applicant": rules_with_bug()}
    retries = [DeadLetters(store, noon).act("retry", ABC[:1], OPERATOR, "", dry_run=False) for _ in range(4)]
    discards = [DeadLetters(store, noon).act("discard", ABC[1:2], OPERATOR, "test data", dry_run=False) for _ in "1234"]
    done = await asyncio.gather(*retries, *discards)
    assert sorted(each.outcome for (each,) in done[4:]) == ["discarded", "gone", "gone", "gone"]
    records = await store.read(["a", "b"])
    assert records["a"].state.consumed == {"ApplicantRegistered": 1, "ApplicantWithdrawn": 1}
    assert [each.sequence for each in records["b"].discarded] == [1] and records["b"].state.consumed == {}
    assert await DeadLetters(store, noon).letters() == [] and await parked_left(store, *"ab") == 0


# Discard


async def test_a_discard_is_recorded_and_what_is_behind_is_handled(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    await process(store, [faulty("a", 1), message("registration", 2, subject="a")], {}, noon, tallies.move)
    dead = DeadLetters(store, noon, tallies.move)
    with pytest.raises(Refused, match="missing_field"):
        await dead.act("discard", ABC[:1], OPERATOR, "  ", dry_run=False)
    (expected,) = await dead.act("discard", ABC[:1], OPERATOR, "test data", dry_run=True)
    assert (expected.outcome, expected.drained) == ("discarded", 1)
    assert (await store.read(["a"]))["a"].inbox == {} and len(await dead.letters()) == 1, "a dry run changes nothing"
    assert await recorded_actions(store) == [] and not tallies.counts

    assert await dead.act("discard", ABC[:1], OPERATOR, "test data", dry_run=False) == [expected]
    repeated = await dead.act("discard", ABC[:1], OPERATOR, "test data", dry_run=False)
    assert outcomes_of(repeated) == [("gone", 0)]
    record = (await store.read(["a"]))["a"]
    (discarded,) = record.discarded
    assert (discarded.source, discarded.sequence) == ("registration", 1)
    assert (discarded.reason, discarded.who) == ("test data", OPERATOR)
    assert record.inbox == {"registration": 2} and record.state.consumed == {"ApplicantRegistered": 1}
    assert await dead.letters() == [] and await parked_left(store, "a") == 0
    assert +tallies.counts == await recount(store, "a")
    assert await recorded_actions(store) == [(OPERATOR, "discard", "test data", ABC[:1])] * 2


async def test_only_the_blocking_event_can_be_discarded(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    await process(store, [faulty("a", 1), message("registration", 2, subject="a")], {}, noon)
    dead = DeadLetters(store, noon)
    for letter in ("registration/a/2", "registration/a/3", "screening/a/1"):
        for dry_run in (True, False):
            outcomes = await dead.act("discard", [letter], OPERATOR, "test data", dry_run=dry_run)
            assert outcomes_of(outcomes) == [("gone", 0)], letter
    record = (await store.read(["a"]))["a"]
    assert not record.discarded and record.inbox == {}


# Missing events


async def test_an_event_that_is_missing_for_a_minute_is_listed_under_its_own_id(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    dead = DeadLetters(store, noon, tallies.move)
    await process(store, [message("registration", 3, subject="recent")], {}, now, tallies.move)
    assert await dead.letters() == [], "within a minute the event may still arrive"
    events = [message("registration", n, WITHDRAWN if n == 4 else None, "a") for n in (1, 3, 4)]
    await process(store, events, {}, noon, tallies.move)
    (letter,) = await dead.letters()
    assert (letter.id, letter.kind, letter.reason, letter.behind) == ("registration/a/2", "parked", "early", 2)
    assert letter.raw is None and letter.type == "" and letter.fault.error == "EventMissing"
    assert "event 2 is missing, event 3 waits for it" in letter.fault.message
    for dry_run in (True, False):
        (retried,) = await dead.act("retry", [letter.id], OPERATOR, "", dry_run=dry_run)
        assert (retried.outcome, retried.fault) == ("parked", letter.fault)
    for dry_run in (True, False):
        (outcome,) = await dead.act("discard", [letter.id], OPERATOR, "lost by its producer", dry_run=dry_run)
        assert (outcome.outcome, outcome.drained) == ("discarded", 2)
    record = (await store.read(["a"]))["a"]
    assert record.inbox == {"registration": 4} and [each.sequence for each in record.discarded] == [2]
    assert await dead.letters() == [] and await parked_left(store, "a") == 0
    assert +tallies.counts == await recount(store, "a")

    await process(store, [message("registration", 2, WITHDRAWN, "a")], {}, noon, tallies.move)
    assert (await store.read(["a"]))["a"] == record, "a discarded event that arrives after all is a repeat"


# Undecodable bytes


async def test_undecodable_bytes_are_grouped_explained_or_decoded_by_a_version_that_can(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    topic, newer = "peyvand.registration", message("registration", 1)
    others = [Undecodable(LogPosition(topic, 3, n), b"\xff 09123456789", f"invalid byte at {n}") for n in (5, 61)]
    await store.add_undecodable([*others, Undecodable(LogPosition(topic, 4, 1), newer.raw, "unknown type 'x'")])
    dead = DeadLetters(store, noon, tallies.move)
    assert [(each.kind, each.source, each.letters) for each in group(await dead.letters())] == [
        ("undecodable", topic, 2),
        ("undecodable", topic, 1),
    ]
    (expected,) = await dead.act("retry", [f"{topic}/4@1"], OPERATOR, "", dry_run=True)
    assert expected.outcome == "drained" and not await parked(store)

    ids = [f"{topic}/3@5", f"{topic}/4@1", f"{topic}/4@1", f"{topic}/9@9"]
    outcomes = await dead.act("retry", ids, OPERATOR, "a newer version", dry_run=False)
    assert [each.outcome for each in outcomes] == ["parked", "drained", "drained", "gone"]
    assert outcomes[0].fault.error == "DecodeError"
    assert not tallies.counts, "only the owner of the partition handles events"
    assert await store.parked.ready(EVERY_PARTITION, 10) == [("p", "registration")]
    assert await drain(store, EVERY_PARTITION, noon, tallies.move) == 1
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 1}
    assert not await parked(store)

    await dead.act("discard", [f"{topic}/3@5", f"{topic}/3@61"], OPERATOR, "test data", dry_run=True)
    assert len(await dead.letters()) == 2, "a dry run changes nothing"
    await dead.act("discard", [f"{topic}/3@5", f"{topic}/3@61"], OPERATOR, "test data", dry_run=False)
    assert await dead.letters() == [] and await DeadLetters(store, noon).letters() == []
    assert [each[1:3] for each in await recorded_actions(store)] == [
        ("retry", "a newer version"),
        ("discard", "test data"),
    ]


async def test_decoded_bytes_that_were_handled_already_change_nothing(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    repeated = message("registration", 1)
    await process(store, [repeated], {}, noon, tallies.move)
    await store.add_undecodable([Undecodable(LogPosition("peyvand.registration", 4, 1), repeated.raw, "why")])
    dead = DeadLetters(store, noon, tallies.move)
    await dead.act("retry", ["peyvand.registration/4@1"], OPERATOR, "", dry_run=False)
    assert await dead.letters() == [] and not await parked(store)
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 1}


async def test_an_event_in_the_topic_of_another_producer_stays_undecodable(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    forged = message("registration", 1)
    await store.add_undecodable([Undecodable(LogPosition("peyvand.screening", 4, 1), forged.raw, "another producer")])
    dead = DeadLetters(store, noon)
    for dry_run in (True, False):
        (outcome,) = await dead.act("retry", ["peyvand.screening/4@1"], OPERATOR, "", dry_run=dry_run)
        assert outcome.outcome == "parked" and "another producer" in outcome.fault.message
    assert len(await dead.letters()) == 1 and not await parked(store)


# Records and ids


@pytest.mark.server
async def test_a_record_of_a_newer_version_fails_its_own_letter_only(small_system: SmallSystem) -> None:
    store = small_system.store("reporting")
    await process(store, [message("registration", 1, subject=s) for s in "ab"], {}, noon)
    await store.records.update_one({"_id": "a"}, {"$set": {"rules_version": 9}})
    await process(store, [message("registration", 2, WITHDRAWN, "a"), faulty("b", 2, WITHDRAWN)], {}, noon)
    newer = small_system.store("reporting", rules_with_bug())
    dead, ids = DeadLetters(newer, noon), ["registration/a/2", "registration/b/2"]
    assert sorted((each.id, each.reason) for each in await dead.letters()) == [
        (ids[0], "newer_rules"),
        (ids[1], "fault"),
    ]
    for dry_run in (True, False):
        (blocked,) = await dead.act("discard", ids[:1], OPERATOR, "test data", dry_run=dry_run)
        assert (blocked.outcome, blocked.fault.error) == ("parked", "NewerRules")
    for dry_run in (True, False):
        blocked, done = await dead.act("retry", ids, OPERATOR, "", dry_run=dry_run)
        assert (blocked.outcome, blocked.drained) == ("parked", 0) and "version 9" in blocked.fault.message
        assert (done.outcome, done.drained) == ("drained", 1)
    assert [(each.id, each.reason) for each in await dead.letters()] == [(ids[0], "newer_rules")]


@pytest.mark.server
async def test_a_missing_event_is_listed_although_a_newer_version_wrote_the_record(
    small_system: SmallSystem,
) -> None:
    store = small_system.store("reporting")
    events = [message("registration", n, subject=subject) for subject in "abc" for n in (1, 3)]
    await process(store, events, {}, noon)
    await store.records.update_one({"_id": "b"}, {"$set": {"rules_version": 9}})
    dead = DeadLetters(store, noon)
    assert [each.id for each in await dead.letters()] == [f"registration/{subject}/2" for subject in "abc"]
    outcomes = await dead.act("retry", ["registration/b/1", "registration/b/2"], OPERATOR, "", dry_run=False)
    assert outcomes_of(outcomes) == [("gone", 0), ("parked", 0)], "the first was handled, the second waits"
    (outcome,) = await dead.act("discard", ["registration/b/2"], OPERATOR, "lost", dry_run=False)
    assert (outcome.outcome, outcome.fault.error) == ("parked", "NewerRules")


async def test_an_unknown_id_is_gone_and_a_malformed_one_is_refused(store_of: StoreOf) -> None:
    dead = DeadLetters(await store_of("reporting"), noon)
    ids = ["registration/x/1", "registration/kind:x/1", "peyvand.registration/3@5"]
    for action in ("retry", "discard"):
        outcomes = await dead.act(action, ids, OPERATOR, "a reason", dry_run=False)
        assert outcomes_of(outcomes) == [("gone", 0)] * 3
        with pytest.raises(Refused, match="letter_unknown"):
            await dead.act(action, [*ids, "malformed"], OPERATOR, "a reason", dry_run=False)


def test_an_id_has_source_subject_and_sequence() -> None:
    assert parse("registration/ledger:1404/IR-20/7") == (("ledger:1404/IR-20", "registration"), 7)
    for malformed in ("", "x", "a/b", "a/b/c", "a/b/0", "a//1", "a/b/-1", "a/b/٣", f"a/b/{10**30}"):
        with pytest.raises(Refused, match="letter_unknown"):
            parse(malformed)
