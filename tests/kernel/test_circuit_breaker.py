"""What stops a worker before it parks everything: a fault of many subjects, and a projection that always fails.

A batch that fails is bisected; every part of it is fenced.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from base.clock import Moment
from contracts.commands import UnknownVersion
from contracts.envelope import Envelope
from kernel.batch import SUBJECTS_LIMIT, WINDOW, CircuitBreaker, drain, process
from kernel.errors import CircuitOpen, Fenced
from kernel.query import Query
from kernel.record import BLOCKED
from kernel.store import Change, Effects
from tests.support.fixtures import StoreOf
from tests.support.messages import WITHDRAWN, Picky, message, unknown
from tests.support.small_services import NOON, POISON, ReportingRules, Tallies, noon

EVERYWHERE = range(32)
TP = ("peyvand.registration", 0)


def poison(first: int, n: int) -> list[Any]:
    """Return one event of each of n subjects, on all of which the rules raise."""
    return [message("registration", 1, subject=f"p{k}", field=POISON) for k in range(first, first + n)]


async def stored(store: Any) -> tuple[list[str], list[str], dict[Any, int]]:
    """Return the subjects with a record, those with parked events, and the cursor."""
    heads = await store.parked.heads([*BLOCKED, "early", "ready"])
    records = await store.find_subjects(Query("applicant"))
    return records, sorted(each.subject for each in heads), dict(await store.cursors([TP]))


async def test_one_fault_of_many_subjects_opens_the_circuit_despite_successes(store_of: StoreOf) -> None:
    """The batch that passes the limit changes nothing."""
    store, breaker = await store_of("reporting"), CircuitBreaker()
    await store.cursors([TP])
    fine = [message("registration", 1, subject=f"ok{n}") for n in range(SUBJECTS_LIMIT + 1)]
    mixed = [each for pair in zip(poison(0, SUBJECTS_LIMIT + 1), fine, strict=True) for each in pair]
    await process(store, mixed[:60], {TP: (0, 60)}, noon, breaker=breaker)
    before = await stored(store)
    assert len(before[0]) == len(before[1]) == 30
    with pytest.raises(CircuitOpen, match=r"ValueError in ReportingRules.evolve:.*: a bug"):
        await process(store, mixed[60:], {TP: (60, 102)}, noon, breaker=breaker)
    assert await stored(store) == before


async def test_the_limit_itself_does_not_open_the_circuit(store_of: StoreOf) -> None:
    """Neither do repeats, nor further faults of the same subjects."""
    store, breaker = await store_of("reporting"), CircuitBreaker()
    for _ in range(3):
        await process(store, poison(0, SUBJECTS_LIMIT), {}, noon, breaker=breaker)
    assert len(await store.parked.heads(["fault"])) == SUBJECTS_LIMIT
    with pytest.raises(CircuitOpen):
        await process(store, poison(SUBJECTS_LIMIT, 1), {}, noon, breaker=breaker)


async def test_different_faults_do_not_add_up(store_of: StoreOf) -> None:
    store, breaker = await store_of("reporting", rules=Picky), CircuitBreaker()
    Picky.fixed = False
    other = [message("registration", 1, WITHDRAWN, subject=f"w{n}") for n in range(SUBJECTS_LIMIT)]
    await process(store, [*poison(0, SUBJECTS_LIMIT), *other], {}, noon, breaker=breaker)
    assert len(await store.parked.heads(["fault"])) == 2 * SUBJECTS_LIMIT


async def test_unknown_types_and_early_events_do_not_open_the_circuit(store_of: StoreOf) -> None:
    """A producer that is deployed before its consumers is no reason to stop."""
    store, breaker = await store_of("reporting"), CircuitBreaker()
    many = [unknown(1, f"u{n}") for n in range(200)] + [message("registration", 2, subject=f"e{n}") for n in range(200)]
    await process(store, many, {}, noon, breaker=breaker)
    assert len(await store.parked.heads(["unknown_type"])) == len(await store.parked.heads(["early"])) == 200


async def test_the_window_slides(store_of: StoreOf) -> None:
    """Faults that are a minute old no longer count; younger ones still do."""
    store, breaker, now = await store_of("reporting"), CircuitBreaker(), NOON

    def clock() -> Moment:
        return Moment(now, now)

    await process(store, poison(0, 30), {}, clock, breaker=breaker)
    now = NOON + WINDOW / 2
    await process(store, poison(30, 20), {}, clock, breaker=breaker)
    now = NOON + WINDOW - timedelta(milliseconds=1)
    with pytest.raises(CircuitOpen):
        await process(store, poison(50, 1), {}, clock, breaker=breaker)
    now = NOON + WINDOW
    await process(store, poison(50, 30), {}, clock, breaker=breaker)
    with pytest.raises(CircuitOpen):
        await process(store, poison(80, 1), {}, clock, breaker=breaker)
    assert len(await store.parked.heads(["fault"])) == 80


async def test_faults_that_were_not_stored_do_not_count(store_of: StoreOf) -> None:
    """Neither those of a fenced batch nor those of the batch that opened the circuit."""
    store, breaker = await store_of("reporting"), CircuitBreaker()
    await store.cursors([TP])
    for _ in range(3):
        with pytest.raises(Fenced):
            await process(store, poison(0, 40), {TP: (7, 47)}, noon, breaker=breaker)
    with pytest.raises(CircuitOpen):
        await process(store, poison(100, SUBJECTS_LIMIT + 1), {}, noon, breaker=breaker)
    await process(store, poison(50, SUBJECTS_LIMIT), {}, noon, breaker=breaker)
    assert len(await store.parked.heads(["fault"])) == SUBJECTS_LIMIT


async def test_a_drain_opens_the_circuit_too(store_of: StoreOf) -> None:
    """Released events that meet one fault in many subjects stay as they are."""
    store, breaker = await store_of("reporting"), CircuitBreaker()
    subjects = [f"p{n}" for n in range(SUBJECTS_LIMIT + 1)]
    await process(store, [message("registration", 2, subject=s, field=POISON) for s in subjects], {}, noon)
    ready = [message("registration", 1, subject=s) for s in subjects]
    await process(store, ready, {}, noon, breaker=breaker)
    with pytest.raises(CircuitOpen):
        await drain(store, EVERYWHERE, noon, None, breaker)
    assert len(await store.parked.ready(EVERYWHERE, 99)) == len(subjects)


# Bisection


async def test_a_batch_is_bisected_down_to_the_subject_at_fault(store_of: StoreOf) -> None:
    """The projection fails on one subject: its events are parked, the others and the cursor move, each counts once."""
    store, tallies = await store_of("reporting"), Tallies()
    await store.cursors([TP])

    async def picky(changes: Sequence[Change], session: Any) -> None:
        if any(after.subject == "p5" and after.state.consumed for _, after in changes):
            raise ZeroDivisionError("p5")
        await tallies.move(changes, session)

    batch = [message("registration", n, subject=f"p{k}") for n in (1, 2) for k in range(9)]
    written = await process(store, batch, {TP: (0, 18)}, noon, picky)
    assert {each.subject for each in written.parked} == {"p5"}
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 16}
    assert await store.cursors([TP]) == {TP: 18}
    head, behind = await store.parked.events(("p5", "registration"), 9)
    assert (head.sequence, head.reason, head.fault.error) == (1, "fault", "ZeroDivisionError")
    assert (behind.sequence, behind.reason) == (2, "early")


async def test_both_halves_with_different_faults_are_bisected_further(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()

    async def picky(changes: Sequence[Change], session: Any) -> None:
        subjects = {after.subject for _, after in changes}
        if "p1" in subjects:
            raise ZeroDivisionError("p1")
        if "p6" in subjects:
            raise KeyError("p6")
        await tallies.move(changes, session)

    batch = [message("registration", 1, subject=f"p{k}") for k in range(8)]
    await process(store, batch, {}, noon, picky)
    heads = {each.subject: each.fault.error for each in await store.parked.heads(["fault"])}
    assert heads == {"p1": "ZeroDivisionError", "p6": "KeyError"}
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 6}


async def test_one_fault_of_the_projection_in_both_halves_opens_the_circuit_at_once(store_of: StoreOf) -> None:
    """No subject causes it, so that none is parked, and nothing changes."""
    store, calls = await store_of("reporting"), 0
    await store.cursors([TP])

    async def broken(changes: Sequence[Change], session: Any) -> None:
        nonlocal calls
        calls += 1
        raise ZeroDivisionError

    batch = [message("registration", 1, subject=f"p{n}") for n in range(8)]
    with pytest.raises(CircuitOpen, match="projection: ZeroDivisionError"):
        await process(store, batch, {TP: (0, 8)}, noon, broken)
    assert await stored(store) == ([], [], {TP: 0}) and calls == 3


async def test_parking_that_fails_as_well_opens_the_circuit(store_of: StoreOf, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await store_of("reporting")

    async def broken(*args: Any, **options: Any) -> Effects:
        raise ZeroDivisionError("nothing can be written")

    monkeypatch.setattr(store, "transact", broken)
    with pytest.raises(CircuitOpen, match="nothing can be written"):
        await process(store, [message("registration", 1)], {}, noon)


async def test_every_part_of_a_bisected_batch_is_fenced(store_of: StoreOf) -> None:
    """A worker that loses its partition between any two parts commits no further one: it handles and parks nothing."""
    store = await store_of("reporting")
    transact, stolen_at, calls = store.transact, 0, 0
    before: Any = None
    tp = TP

    async def steal(*args: Any, **options: Any) -> Effects:
        nonlocal calls, before
        calls += 1
        if calls == stolen_at:
            await transact([], lambda snapshot: Effects(), {tp: (0, 1)})
            before = await stored(store)
        found: Effects = await transact(*args, **options)
        return found

    async def picky(changes: Sequence[Change], session: Any) -> None:
        if any(after.subject.endswith("-5") for _, after in changes):
            raise ZeroDivisionError

    async def attempt(n: int) -> None:
        nonlocal tp, stolen_at, calls
        tp, stolen_at, calls = (f"peyvand.{n}", 0), n, 0
        await store.cursors([tp])
        batch = [message("registration", 1, subject=f"{n}-{k}") for k in range(8)]
        await process(store, batch, {tp: (0, 8)}, noon, picky)

    store.transact = steal
    await attempt(0)
    parts = calls
    assert parts > 8, "the batch was bisected down to one subject"
    for n in range(1, parts + 1):
        with pytest.raises(Fenced):
            await attempt(n)
        assert await stored(store) == before and before[0], f"part {n} of {parts} was not fenced"
        assert dict(await store.cursors([tp])) == {tp: 1}


class OlderRules(ReportingRules):
    """Rules without the policies that an event names, and which therefore a newer version handles."""

    @staticmethod
    def evolve(state: Any, envelope: Envelope) -> Any:
        raise UnknownVersion(envelope.context.policy)


async def test_what_a_newer_version_handles_pauses_no_worker(store_of: StoreOf) -> None:
    store, breaker = await store_of("reporting", OlderRules), CircuitBreaker()
    await process(store, poison(0, 2 * SUBJECTS_LIMIT), {}, noon, breaker=breaker)
    heads = await store.parked.heads(["unknown_type"])
    assert len(heads) == 2 * SUBJECTS_LIMIT and {each.fault.error for each in heads} == {"UnknownVersion"}


# The pause under attack


async def test_thousands_of_faulty_withdrawals_between_good_registrations_pause_after_the_limit(
    store_of: StoreOf,
) -> None:
    """However small the batches, and however many successes lie between them."""
    store, breaker, Picky.fixed = await store_of("reporting", rules=Picky), CircuitBreaker(), False
    mixed = [
        each
        for n in range(2_000)
        for each in (
            message("registration", 1, WITHDRAWN, subject=f"w{n}"),
            message("registration", 1, subject=f"r{n}"),
        )
    ]
    with pytest.raises(CircuitOpen):
        for start in range(0, len(mixed), 7):
            await process(store, mixed[start : start + 7], {}, noon, breaker=breaker)
    assert len(await store.parked.heads(["fault"])) <= SUBJECTS_LIMIT
    assert start < 7 * SUBJECTS_LIMIT


class Verbose(ReportingRules):
    """Rules whose error names the subject and a number: no two messages are equal."""

    @staticmethod
    def evolve(state: Any, envelope: Envelope) -> Any:
        raise ValueError(f"{envelope.subject}: {envelope.sequence * 7919} is wrong")


async def test_messages_that_differ_are_one_fault(store_of: StoreOf) -> None:
    store, breaker = await store_of("reporting", rules=Verbose), CircuitBreaker()
    with pytest.raises(CircuitOpen):
        for n in range(SUBJECTS_LIMIT + 1):
            await process(store, [message("registration", 1, subject=f"v{n}")], {}, noon, breaker=breaker)
    assert len(breaker.parked) == 1 and len(await store.parked.heads(["fault"])) == SUBJECTS_LIMIT


async def test_alternating_fingerprints_park_no_more_than_the_limit_of_each(store_of: StoreOf) -> None:
    store, breaker, Picky.fixed = await store_of("reporting", rules=Picky), CircuitBreaker(), False
    events = [WITHDRAWN, None]  # the second one is poison
    with pytest.raises(CircuitOpen):
        for n in range(2_000):
            each = message("registration", 1, events[n % 2], subject=f"x{n}", field=POISON)
            await process(store, [each], {}, noon, breaker=breaker)
    assert len(await store.parked.heads(["fault"])) == 2 * SUBJECTS_LIMIT and len(breaker.parked) == 2


async def test_one_subject_again_and_again_does_not_pause_and_takes_no_space(store_of: StoreOf) -> None:
    """A letter that an operator, or a script, retries all the time."""
    store, breaker, now = await store_of("reporting"), CircuitBreaker(), NOON

    def clock() -> Moment:
        return Moment(now, now)

    await process(store, poison(0, 1), {}, clock, breaker=breaker)
    for _ in range(100):
        now += timedelta(seconds=1)
        await store.parked.release(["fault"])
        await drain(store, EVERYWHERE, clock, None, breaker)
    assert len(await store.parked.heads(["fault"])) == 1
    assert sum(map(len, breaker.parked.values())) <= WINDOW.total_seconds()


async def test_a_slow_drip_does_not_pause_and_takes_no_space(store_of: StoreOf) -> None:
    """It stays below the limit at every moment. Each subject is parked, and `DeadLetters` fires at the first."""
    store, breaker, now = await store_of("reporting"), CircuitBreaker(), NOON

    def clock() -> Moment:
        return Moment(now, now)

    for n in range(4 * SUBJECTS_LIMIT):
        now += WINDOW / SUBJECTS_LIMIT
        await process(store, poison(n, 1), {}, clock, breaker=breaker)
    assert len(await store.parked.heads(["fault"])) == 4 * SUBJECTS_LIMIT
    assert sum(map(len, breaker.parked.values())) <= SUBJECTS_LIMIT
