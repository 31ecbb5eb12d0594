"""Events that do not match their published schema: known as such on arrival, parked, and replaced by valid ones."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from contracts import envelope as decoding
from contracts.envelope import InvalidEvent, decode
from contracts.events import Event
from contracts.subjects import SUBJECTS
from kernel.batch import process
from kernel.record import LogPosition, Message
from kernel.roles.consumer import RETRIED
from recovery.dead_letters import DeadLetters
from recovery.parked_events import insert_parked
from tests.support.fixtures import StoreOf
from tests.support.messages import REGISTERED, message, unknown
from tests.support.parked_events import REGISTRATION, head, parked, record, settle
from tests.support.small_services import ReportingRules, Tallies, noon

WHO = "operator:o1"


def forged(sequence: int, subject: str = "p", at: int = 0, **changes: Any) -> Message:
    """Return an invalid event of registration; by default one without a round."""
    raw = json.loads(message("registration", sequence, subject=subject).raw)
    raw = json.dumps({**raw, **(changes or {"round": "nonsense"})}).encode()
    envelope = decode(raw)
    assert isinstance(envelope.event, InvalidEvent)
    return Message(envelope, raw, LogPosition("peyvand.registration", 3, at or 1_000 + sequence))


def events(*sequences: int, event: Event | None = None) -> list[Message]:
    return [message("registration", n, event) for n in sequences]


async def undecodable(store: Any) -> list[tuple[str, str]]:
    """Return the positions and codes of what is in the list of undecodable records."""
    found = DeadLetters(store, noon).storage.undecodable()
    return sorted([(str(each.position), each.code) async for each, _ in found])


async def reasons(store: Any) -> list[tuple[int, str]]:
    return [(each.sequence, each.reason) for each in (await parked(store)).get(REGISTRATION, ())]


async def check(store: Any, tallies: Tallies, handled: int) -> None:
    assert (await record(store)).inbox == ({"registration": handled} if handled else {})
    assert +tallies.counts == ({("IR-20", "ApplicantRegistered"): handled} if handled else {})


async def test_it_is_parked_with_its_position_and_blocks_its_subject_alone(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    batch = [*events(1), forged(2), *events(3), message("registration", 1, subject="q")]
    await settle(store, batch, projection=tallies.move)
    first = await head(store)
    assert (first.sequence, first.reason, first.behind) == (2, "invalid", 1)
    assert (first.fault.error, first.fault.where) == ("InvalidEvent", "$.round")
    assert first.position == LogPosition("peyvand.registration", 3, 1_002)
    assert (await record(store)).inbox == (await record(store, "q")).inbox == {"registration": 1}
    (letter,) = await DeadLetters(store, noon).letters()
    assert (letter.id, letter.reason, str(letter.position)) == ("registration/p/2", "invalid", str(first.position))


@pytest.mark.parametrize("together", [True, False])
async def test_a_valid_event_replaces_it_in_its_turn(store_of: StoreOf, together: bool) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    arriving = [*events(1), forged(2), *events(3, 2)]
    await settle(store, *([arriving] if together else [[each] for each in arriving]), projection=tallies.move)
    assert not await parked(store)
    await check(store, tallies, 3)
    assert await undecodable(store) == [("peyvand.registration/3@1002", "forged")]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("before", [True, False])
async def test_a_valid_event_takes_its_place_before_its_turn(store_of: StoreOf, together: bool, before: bool) -> None:
    """It is early: whichever of the two comes first, the valid one stays, and is handled when the gap closes."""
    store, tallies = await store_of("reporting"), Tallies()
    pair = [forged(5), *events(5)] if before else [*events(5), forged(5)]
    arriving = [*events(4), *pair, *events(1)]
    await settle(store, *([arriving] if together else [[each] for each in arriving]), projection=tallies.move)
    assert await reasons(store) == [(4, "early"), (5, "early")]
    assert await undecodable(store) == [("peyvand.registration/3@1005", "forged")]
    await settle(store, events(2, 3), projection=tallies.move)
    await check(store, tallies, 5)


async def test_early_it_is_known_as_invalid_and_stays_when_its_turn_comes(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    await settle(store, [*events(2), forged(4)], events(5))
    assert await reasons(store) == [(2, "early"), (4, "invalid"), (5, "early")]
    await settle(store, events(1, 3))
    assert await reasons(store) == [(4, "invalid"), (5, "early")]
    assert (await record(store)).inbox == {"registration": 3} and not await undecodable(store)


async def test_a_discarded_forgery_leaves_its_place_to_the_real_event(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    await settle(store, [*events(1), forged(2)], events(3), projection=tallies.move)
    dead = DeadLetters(store, noon, tallies.move)
    letter = "registration/p/2"
    for dry_run in (True, False):
        (outcome,) = await dead.act("discard", [letter], "op-1", "forged", dry_run=dry_run)
        assert (outcome.id, outcome.outcome, outcome.drained) == (letter, "discarded", 0)
    assert await reasons(store) == [(3, "early")] and (await record(store)).inbox == {"registration": 1}
    await settle(store, events(2), projection=tallies.move)
    await check(store, tallies, 3)
    assert not await parked(store)


async def test_what_has_an_id_that_is_handled_or_taken_is_kept_as_undecodable(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    await settle(store, [*events(1), forged(1, at=7)], [forged(1, at=8)], projection=tallies.move)
    assert not await parked(store)
    await settle(store, [forged(2)], [forged(2, policy="x", at=9)], [forged(2, at=10)], projection=tallies.move)
    assert await reasons(store) == [(2, "invalid")]
    assert await undecodable(store) == [(f"peyvand.registration/3@{n}", "forged") for n in (7, 8, 9)]
    await check(store, tallies, 1)


async def test_a_repeat_of_a_valid_event_is_dropped_whatever_it_holds(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    other = message("registration", 3, field="wool")
    await settle(store, events(3), [other], events(1, 2))
    assert (await record(store)).inbox == {"registration": 3}
    assert not await parked(store) and not await undecodable(store), "two valid events cannot be distinguished"


async def test_it_is_released_by_a_version_for_which_it_is_valid(
    store_of: StoreOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await store_of("reporting")
    arriving = forged(1)
    await settle(store, [arriving], events(2))
    assert "invalid" in RETRIED
    await store.parked.release(RETRIED)
    await settle(store)
    assert await reasons(store) == [(1, "invalid"), (2, "early")], "it is still invalid"
    valid = replace(message("registration", 1).envelope, event=REGISTERED)
    monkeypatch.setattr("kernel.record.decode", lambda raw: valid if raw == arriving.raw else decode(raw))
    await store.parked.release(RETRIED)
    await settle(store)
    assert (await record(store)).inbox == {"registration": 2} and not await parked(store)


async def test_an_operator_discards_what_its_producer_emitted_in_two_steps(store_of: StoreOf) -> None:
    """It may be a forgery: only the second discard, of the missing event, gives the sequence up."""
    store = await store_of("reporting")
    letters = DeadLetters(store, noon)
    await settle(store, [*events(1), forged(2), *events(3)])
    (outcome,) = await letters.act("retry", ["registration/p/2"], WHO, "", dry_run=True)
    assert (outcome.outcome, outcome.fault.error) == ("parked", "InvalidEvent")
    for drained in (0, 1):
        (outcome,) = await letters.act("discard", ["registration/p/2"], WHO, "a defect", dry_run=False)
        assert (outcome.outcome, outcome.drained) == ("discarded", drained)
    found = await record(store)
    assert found.inbox == {"registration": 3} and [each.sequence for each in found.discarded] == [2]


async def test_before_its_turn_a_discard_only_removes_it(store_of: StoreOf) -> None:
    """A forgery far ahead: the event that will have its sequence is still handled."""
    store, tallies = await store_of("reporting"), Tallies()
    letters = DeadLetters(store, noon, tallies.move)
    await settle(store, [*events(1), forged(4), *events(5)], projection=tallies.move)
    for dry_run in (True, False):
        (outcome,) = await letters.act("discard", ["registration/p/4"], WHO, "a forgery", dry_run=dry_run)
        assert (outcome.outcome, outcome.drained) == ("discarded", 0)
    assert await reasons(store) == [(5, "early")] and not (await record(store)).discarded
    await settle(store, events(2, 3, 4), projection=tallies.move)
    await check(store, tallies, 5)


@pytest.mark.parametrize("subject", ["round:9999", "group:1", "$where.a", "x:y/z"])
async def test_about_a_kind_without_rules_it_is_parked_and_can_be_discarded(
    store_of: StoreOf, subject: str, strict: None
) -> None:
    """`applicant.registered` about a round is no event about a round."""
    store, source = await store_of("reporting"), (subject, "registration")
    await settle(store, [forged(1, subject), *events(1)], [forged(2, subject), forged(4, subject)])
    assert (await head(store, source)).reason == "invalid" and (await head(store, source)).behind == 2
    await store.parked.release(RETRIED)
    await settle(store)
    assert (await head(store, source)).reason == "invalid" and (await head(store, source)).behind == 2
    letters = DeadLetters(store, noon)
    for n in (1, 2, 4):
        for dry_run in (True, False):
            (outcome,) = await letters.act(
                "discard", [f"registration/{subject}/{n}"], WHO, "a forgery", dry_run=dry_run
            )
            assert outcome.outcome == "discarded", n
    assert source not in await parked(store)
    assert subject not in {each.subject for each in await store.parked.heads(["ready", "invalid", "early"])}


@pytest.fixture
def strict() -> Iterator[None]:
    """Undo the short names of this folder for subjects."""
    short, real = decoding._is_subject["applicant"], re.compile(SUBJECTS["applicant"]).fullmatch
    decoding._is_subject["applicant"] = real
    yield
    decoding._is_subject["applicant"] = short


async def test_a_forgery_is_not_retried_from_the_undecodable_ones(store_of: StoreOf) -> None:
    store, letters = await store_of("reporting"), None
    letters = DeadLetters(store, noon)
    await settle(store, [*events(1), forged(1, at=7)])
    (outcome,) = await letters.act("retry", ["peyvand.registration/3@7"], WHO, "", dry_run=False)
    assert (outcome.outcome, outcome.fault.error) == ("parked", "InvalidEvent") and not await parked(store)
    (outcome,) = await letters.act("discard", ["peyvand.registration/3@7"], WHO, "a forgery", dry_run=False)
    assert outcome.outcome == "discarded" and not await undecodable(store)


async def test_beside_an_unreadable_record_and_a_failing_projection_it_is_invalid(store_of: StoreOf) -> None:
    store = await store_of("reporting")

    async def failing(changes: Any, session: Any) -> None:
        raise ZeroDivisionError

    await process(store, [*events(1), forged(2), *events(3)], {}, noon, failing)
    assert await reasons(store) == [(1, "fault"), (2, "invalid"), (3, "early")]
    assert await insert_parked(store, message("registration", 2), noon)
    assert await reasons(store) == [(1, "fault"), (2, "early"), (3, "early")]
    assert len(await undecodable(store)) == 1


async def test_an_unknown_code_of_a_kind_without_rules_does_not_concern_the_service(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    about_a_round = unknown(1, "round:1404")
    known = replace(about_a_round.envelope, event=replace(about_a_round.envelope.event, type=REGISTERED.TYPE))
    await settle(store, [replace(about_a_round, envelope=known)])
    assert not await parked(store)
    await settle(store, [about_a_round])
    assert len(await parked(store)) == 1 and ReportingRules.VERSION == 1
