"""Stores: `execute`, `execute_many` and `process` keep the same promises over memory and over MongoDB."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from base.clock import Moment
from contracts.commands import Refused, Tick
from contracts.envelope import Envelope, decode
from contracts.events import ApplicantRegistered, ApplicantWithdrawn, CaseBreached, CaseOpened
from contracts.subjects import partition_of
from kernel.batch import process
from kernel.commands import CommandMetadata, Result, execute, execute_many
from kernel.errors import Fenced, KeyReused, ProjectionFailed, UniqueViolation
from kernel.record import KEPT_BYTES, LogPosition, Message, Private, Undecodable
from kernel.store import KEPT_RECORDS, Change, Effects, Snapshot, due_query
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore
from recovery.dead_letter_store import dead_letter_store
from tests.support.fixtures import StoreOf
from tests.support.messages import WITHDRAWN, message, person
from tests.support.small_services import (
    NOON,
    PERIOD,
    POISON,
    Decide,
    Register,
    ReportingRules,
    Tallies,
    Withdraw,
    noon,
)

EVERYWHERE = range(32)
TP = ("peyvand.registration", 0)


async def emitted(store: Any, subject: str) -> list[Any]:
    """Return all events of a subject of which none is published."""
    found = await store.pending([partition_of(subject)], 10_000)
    return [decode(raw).event for each in found if each.subject == subject for raw in each.events]


# Commands


async def test_a_record_is_read_as_it_was_stored(store_of: StoreOf) -> None:
    store = await store_of("registration")
    private = Private({"person": "v1:1"}, {"sealed": b"\x00\x01"})
    metadata = CommandMetadata("web:", "key", b"print", private, "00-5a")
    done = await execute(store, "p", Register(), noon, metadata)
    assert (await store.read(["p"]))["p"] == done.record
    assert done.record.indexed == {"scope": "IR-20/2001", "person": "v1:1"} and done.record.version == 1
    assert [(e.actor, e.traceparent) for e in done.events] == [("web:", "00-5a")]
    opened = CaseOpened(due=NOON.date())
    batch = [message("screening", n, opened) for n in (1, 3)] + [message("market", n, opened) for n in range(2, 300)]
    written = await process(store, batch, {}, noon)
    found = (await store.read(["p"]))["p"]
    assert found == written.changes[0][1] and found.state.consumed == ("CaseOpened",) and found.version == 2
    assert len(written.parked) == 1 + 298


async def test_a_refused_command_stores_nothing(store_of: StoreOf) -> None:
    store = await store_of("registration")
    with pytest.raises(Refused, match="already_withdrawn"):
        await execute(store, "p", Withdraw(), noon)
    assert (await store.read(["p"]))["p"].version == 0


async def test_fifty_concurrent_commands_on_one_subject(store_of: StoreOf) -> None:
    """One registers, the others decide again and are refused; sequences stay dense."""
    store = await store_of("registration")
    outcomes = await asyncio.gather(*(execute(store, "p", Register(), noon) for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(o, Result) for o in outcomes) == 1
    assert sum(isinstance(o, Refused) for o in outcomes) == 49
    for attempt in range(5):
        command = Register() if attempt % 2 else Withdraw()
        await asyncio.gather(*(execute(store, "p", command, noon) for _ in range(10)), return_exceptions=True)
    events = await emitted(store, "p")
    assert [type(e) for e in events] == [ApplicantRegistered, ApplicantWithdrawn] * 3
    assert (await store.read(["p"]))["p"].last_sequence == 6


async def test_fifty_concurrent_subjects_with_one_unique_value(store_of: StoreOf) -> None:
    """A violated unique field is not mistaken for a lost race: one subject gets the value, 49 a UniqueViolation."""
    store = await store_of("registration", unique=("person", "tracking"))
    outcomes = await asyncio.gather(
        *(execute(store, f"p{n}", Register(), noon, person("v1:x")) for n in range(50)), return_exceptions=True
    )
    (winner,) = [o.record.subject for o in outcomes if isinstance(o, Result)]
    losers = [o for o in outcomes if isinstance(o, UniqueViolation)]
    assert len(losers) == 49 and {violation.field for violation in losers} == {"person"}
    assert await store.find_by_unique("person", ["v1:x", "v1:y"]) == {"v1:x": winner}


async def test_each_of_several_values_of_a_unique_field_is_unique(store_of: StoreOf) -> None:
    """While keys are rotated a record has the values of all current keys."""
    store = await store_of("registration", unique=("person",))
    await execute(store, "p", Register(), noon, CommandMetadata(private=Private(indexed={"person": ["v1:x", "v2:x"]})))
    for value in ("v1:x", "v2:x"):
        with pytest.raises(UniqueViolation):
            await execute(store, "q", Register(), noon, person(value))
    await execute(store, "q", Register(), noon, person("v2:y"))
    assert await store.find_by_unique("person", ["v1:x", "v2:x", "v2:y"]) == {"v1:x": "p", "v2:x": "p", "v2:y": "q"}


async def test_a_repeated_idempotency_key_gets_the_stored_response(store_of: StoreOf) -> None:
    """Fifty concurrent requests, each with a new subject as from a form posted twice: one is stored, all get it."""
    store = await store_of("registration", unique=("person",))
    metadata = CommandMetadata(idempotency_key="web:k", fingerprint=b"f", private=Private(indexed={"person": "v1:x"}))
    done = await asyncio.gather(*(execute(store, f"p{n}", Register(), noon, metadata) for n in range(50)))
    assert len({d.record.subject for d in done}) == 1
    assert [d.repeated for d in done].count(False) == 1
    with pytest.raises(KeyReused):
        await execute(store, "other", Register(), noon, replace(metadata, fingerprint=b"g"))
    another = replace(metadata, idempotency_key="web:2")
    again = await execute(store, done[0].record.subject, Withdraw(), noon, another)
    assert not again.repeated and len(again.record.stored_responses) == 2


async def test_a_stored_response_holds_the_record_as_it_was(store_of: StoreOf) -> None:
    store = await store_of("registration")
    first, second = (CommandMetadata(idempotency_key=f"key-{n}") for n in (1, 2))
    done = [await execute(store, "p", Register(field="honey"), noon, first)]
    done += [await execute(store, "p", Withdraw(), noon, second)]
    await execute(store, "p", Register(province="IR-07", field="carpets"), noon)
    for metadata, command, answered in zip((first, second), (Register(), Withdraw()), done, strict=True):
        again = await execute(store, "p", command, noon, metadata)
        assert again.repeated and not again.events
        for name in ("state", "version", "last_sequence"):
            assert getattr(again.record, name) == getattr(answered.record, name)
    assert (await store.read(["p"]))["p"].last_sequence == 3


async def test_a_command_that_changes_nothing_is_not_done_later_either(store_of: StoreOf) -> None:
    """Its key is stored all the same: meanwhile another may have changed what the request would change back."""
    store, idle = await store_of("reporting"), CommandMetadata(idempotency_key="key-idle")
    await process(store, [message("registration", 1)], {}, noon)
    before = await store.read(["p"])
    first = await execute(store, "p", Tick(NOON), noon, idle)
    assert not first.events and first.record.version == before["p"].version + 1
    again = await execute(store, "p", Tick(NOON), noon, idle)
    assert again.repeated and again.record.version == first.record.version
    assert not (await execute(store, "new", Tick(NOON), noon, idle)).record.version, "no record is made of it"


async def test_a_stored_response_is_removed_after_a_week(store_of: StoreOf) -> None:
    """It is removed by the next command with a key, not earlier."""
    store = await store_of("registration")
    later = NOON + timedelta(days=8)
    await execute(store, "p", Register(), noon, CommandMetadata(idempotency_key="1"))
    assert [each.key for each in (await store.read(["p"]))["p"].stored_responses] == ["1"]
    await execute(store, "p", Withdraw(), lambda: Moment(later, later), CommandMetadata(idempotency_key="2"))
    assert [each.key for each in (await store.read(["p"]))["p"].stored_responses] == ["2"]
    assert await store.find_by_unique("idempotency_key", ["1", "2"]) == {"2": "p"}


async def test_commands_of_a_list_fail_each_for_itself(store_of: StoreOf) -> None:
    """Refusals, unique fields and keys in one list: what fails concerns its own subject only."""
    store = await store_of("registration", unique=("person",))
    await execute(store, "taken", Register(), noon, person("v1:0"))
    await execute(store, "before", Register(), noon, CommandMetadata(idempotency_key="k", fingerprint=b"f"))
    metadata = {f"p{n}": person(f"v1:{n % 30}") for n in range(40)}
    metadata |= {
        "again": CommandMetadata(idempotency_key="k", fingerprint=b"f"),
        "reused": CommandMetadata(idempotency_key="k", fingerprint=b"other"),
    }
    commands: dict[str, Any] = {subject: Register() for subject in metadata} | {"unregistered": Withdraw()}
    outcomes = await execute_many(store, commands, noon, metadata)
    assert outcomes.keys() == commands.keys()
    assert isinstance(outcomes["unregistered"], Refused) and isinstance(outcomes["reused"], KeyReused)
    assert isinstance(again := outcomes["again"], Result) and again.repeated and again.record.subject == "before"
    assert isinstance(outcomes["p0"], UniqueViolation) and isinstance(outcomes["p30"], UniqueViolation)
    done = {s: o for s, o in outcomes.items() if isinstance(o, Result) and not o.repeated}
    assert len(done) == 29
    found = await store.read(commands.keys())
    assert {s: r for s, r in found.items() if r.version} == {s: o.record for s, o in done.items()}


async def test_lists_and_single_commands_race(store_of: StoreOf) -> None:
    """`swap` against `transact`: each subject registers once."""
    store = await store_of("registration")
    people = [f"p{n}" for n in range(30)]
    lists = [execute_many(store, dict.fromkeys(people, Register()), noon) for _ in range(3)]
    singles = [execute(store, p, Register(), noon) for p in people]
    outcomes = await asyncio.gather(*lists, *singles, return_exceptions=True)
    done = sum(isinstance(o, Result) for o in outcomes)
    for many in outcomes[:3]:
        assert isinstance(many, dict)
        done += sum(isinstance(o, Result) for o in many.values())
    assert done == 30
    assert {r.last_sequence for r in (await store.read(people)).values()} == {1}


async def test_concurrent_commands_on_a_new_subject_have_one_winner(store_of: StoreOf) -> None:
    """With `new_subject` no record is read first: the insert alone decides."""
    store = await store_of("registration")
    metadata = [CommandMetadata(idempotency_key=f"key-{n}", new_subject=True) for n in range(20)]
    done = await asyncio.gather(
        *(execute(store, "p", Register(), noon, each) for each in metadata), return_exceptions=True
    )
    assert [type(each) for each in done].count(Refused) == 19
    winner = next(used for used, each in zip(metadata, done, strict=True) if isinstance(each, Result))
    assert (await execute(store, "p", Register(), noon, winner)).repeated


async def test_the_time_is_taken_again_after_a_suspension(store_of: StoreOf) -> None:
    """A process that was suspended between taking the time and the write does not write an old time."""
    store = await store_of("registration")
    times = iter([NOON, NOON + timedelta(minutes=1), NOON + timedelta(minutes=1), NOON + timedelta(minutes=1)])

    def clock() -> Moment:
        now = next(times)
        return Moment(now, now)

    done = await execute(store, "p", Register(), clock)
    assert done.events[0].time == NOON + timedelta(minutes=1)


# Batches


async def test_a_batch_moves_its_cursors_once(store_of: StoreOf) -> None:
    """A batch that starts elsewhere than at the cursor is fenced and changes nothing."""
    store, tallies = await store_of("reporting"), Tallies()
    assert await store.cursors([TP]) == {TP: 0}
    batch = [message("registration", n) for n in (1, 2)]
    await process(store, batch, {TP: (0, 2)}, noon, tallies.move)
    for start, end in ((0, 2), (1, 3), (3, 4)):
        with pytest.raises(Fenced):
            await process(store, [message("registration", 3)], {TP: (start, end)}, noon, tallies.move)
    assert await store.cursors([TP]) == {TP: 2}
    assert (await store.read(["p"]))["p"].inbox == {"registration": 2}
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 2}


async def test_of_five_workers_with_the_same_batch_one_handles_it(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    await store.cursors([TP])
    batch = [message("registration", 1, subject=f"p{n}") for n in range(100)]
    outcomes = await asyncio.gather(
        *(process(store, batch, {TP: (0, 100)}, noon) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(o, Fenced) for o in outcomes) == 4
    assert {r.version for r in (await store.read([f"p{n}" for n in range(100)])).values()} == {1}


async def test_a_log_that_is_consumed_again_changes_nothing(store_of: StoreOf) -> None:
    store, tallies = await store_of("screening"), Tallies()
    subjects = [f"p{n}" for n in range(50)]
    log = [message("registration", 1, subject=subject) for subject in subjects]
    await store.cursors([("a", 0), ("b", 0)])
    await process(store, log, {("a", 0): (0, 50)}, noon)
    written = await process(store, log, {("b", 0): (0, 50)}, noon, tallies.move)
    assert not written.changes and not written.parked and not tallies.counts
    assert {r.version for r in (await store.read(subjects)).values()} == {1}
    assert [len(each.events) for each in await store.pending(EVERYWHERE, 100)] == [1] * 50


async def test_an_event_about_another_kind_of_subject_moves_the_cursor_only(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    await store.cursors([TP])
    written = await process(store, [message("registration", 1, subject="round:1404")], {TP: (0, 1)}, noon)
    assert not written.changes and not written.parked and await store.cursors([TP]) == {TP: 1}


async def test_a_known_type_without_a_rule_moves_the_inbox_only(store_of: StoreOf) -> None:
    store = await store_of("screening")
    written = await process(store, [message("registration", 1, WITHDRAWN)], {}, noon)
    ((before, after),) = written.changes
    assert after.inbox == {"registration": 1} and after.state == before.state and not written.parked


async def test_a_fault_concerns_its_own_subject_only(store_of: StoreOf) -> None:
    """The event is parked with its fault, the others are handled, and the tallies count only them."""
    store, tallies = await store_of("reporting"), Tallies()
    batch = [message("registration", 1, subject=f"p{n}", field=POISON if n == 3 else "honey") for n in range(10)]
    written = await process(store, batch, {}, noon, tallies.move)
    (parked,) = written.parked
    assert (parked.subject, parked.source, parked.sequence, parked.reason) == ("p3", "registration", 1, "fault")
    assert parked.fault.message == "a bug"
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 9}


# What waits


async def test_subjects_that_are_due_are_found_and_ticks_are_idempotent(store_of: StoreOf) -> None:
    """The longest overdue comes first, and only from the requested partitions."""
    store = await store_of("screening")
    for n in range(3):
        at = NOON - timedelta(days=n)
        await process(store, [message("registration", 1, subject=f"p{n}")], {}, partial(Moment, at, at))
    assert await store.find_subjects(due_query(EVERYWHERE, NOON + PERIOD, 2)) == ["p2", "p1"]
    assert await store.find_subjects(due_query(EVERYWHERE, NOON + PERIOD - timedelta(days=2), 9)) == ["p2"]
    assert await store.find_subjects(due_query([partition_of("p1")], NOON + PERIOD, 9)) == ["p1"]
    tick = Tick(NOON + PERIOD)
    await asyncio.gather(*(execute(store, "p2", tick, noon) for _ in range(5)))
    await execute_many(store, {f"p{n}": tick for n in range(3)}, noon)
    assert not await store.find_subjects(due_query(EVERYWHERE, NOON + PERIOD, 9))
    assert [type(e) for e in await emitted(store, "p2")] == [CaseOpened, CaseBreached]


async def test_pending_events_are_those_behind_the_published_ones(store_of: StoreOf) -> None:
    """They come in order; the number of published ones is only ever raised, and changes nothing else of the record."""
    store = await store_of("registration")
    for command in (Register(), Withdraw(), Register()):
        await execute(store, "p", command, noon)
    before = (await store.read(["p"]))["p"]
    (pending,) = await store.pending([partition_of("p")], 10)
    assert (pending.subject, pending.partition, pending.published) == ("p", partition_of("p"), 0)
    assert len(pending.events) == 3
    await store.mark_published({"p": 2})
    await store.mark_published({"p": 1})
    (pending,) = await store.pending([partition_of("p")], 10)
    assert pending.published == 2 and [decode(raw).sequence for raw in pending.events] == [3]
    await store.mark_published({"p": 3})
    assert not await store.pending(EVERYWHERE, 10)
    assert (await store.read(["p"]))["p"] == before
    await execute(store, "p", Withdraw(), noon)
    (pending,) = await store.pending(EVERYWHERE, 10)
    assert pending.published == 3 and len(pending.events) == 1
    assert not await store.pending([n for n in EVERYWHERE if n != partition_of("p")], 10)
    assert [decode(raw).sequence for raw in await store.history("p")] == [1, 2, 3, 4]


async def test_undecodable_bytes_are_kept_once(store_of: StoreOf) -> None:
    """Each position is kept with its bytes, however often it is met."""
    store = await store_of("registration")
    found = [Undecodable(LogPosition("t", 0, n), b"\xff" if n else None, "no") for n in range(3)]
    await store.add_undecodable(found)
    await store.add_undecodable([replace(each, why="another") for each in found[:2]])
    if isinstance(store, MemoryStore):
        kept = [(each.position.offset, each.raw, each.why) for each in store.undecodable.values()]
    else:
        kept = [(d["offset"], d["raw"], d["why"]) async for d in store.undecodable.find(sort=[("offset", 1)])]
    assert kept == [(0, None, "no"), (1, b"\xff", "no"), (2, b"\xff", "no")]


async def test_undecodable_bytes_are_bounded_in_length_and_number(store_of: StoreOf) -> None:
    """What may be an event is kept whole; of a flood the first records of each partition, since the log has all."""
    store = await store_of("registration")
    event, long = b"x" * KEPT_BYTES, b"x" * 60_000
    found = [
        Undecodable.of(LogPosition("t", 1, n), event if n else long, "no", "code") for n in range(KEPT_RECORDS + 5)
    ]
    assert (len(found[0].raw or b""), found[0].length, found[1].raw) == (KEPT_BYTES, 60_000, event)
    other = Undecodable.of(LogPosition("t", 11, 1), None, "no", "code")
    assert await store.add_undecodable(found[:10]) == 10
    assert await store.add_undecodable([*found[10:], other]) == KEPT_RECORDS - 10 + 1
    assert await store.add_undecodable(found[-5:]) == 0
    letters = dead_letter_store(store)
    kept = [each async for each, _ in letters.undecodable()]
    assert len(kept) == KEPT_RECORDS + 1 and kept[0] == found[0]
    if isinstance(store, MongoStore):  # what is explained makes space
        await letters.explain([str(each.position) for each in found[:3]], "operator", "a test")
        assert await store.add_undecodable(found[-5:]) == 3


async def test_a_transaction_is_all_or_nothing(store_of: StoreOf) -> None:
    """Neither a change nor a projection that raises leaves anything behind."""
    store = await store_of("registration")
    await execute(store, "p", Register(), noon)

    def change(snapshot: Snapshot) -> Effects:
        raise Refused("not_now")

    with pytest.raises(Refused, match="not_now"):
        await store.transact(["p", "q"], change)

    async def projection(changes: Sequence[Change], session: Any) -> None:
        raise ZeroDivisionError("not now")

    def touch(snapshot: Snapshot) -> Effects:
        return Effects([(before := snapshot.record("p"), before)])

    with pytest.raises(ProjectionFailed, match="not now") as failed:
        await store.transact(["p"], touch, None, projection)
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    assert (await store.read(["p"]))["p"].version == 1
    written = await store.transact(["p"], touch)
    assert written.changes[0][1].version == (await store.read(["p"]))["p"].version == 2


def test_the_suite_consumes_real_events() -> None:
    """Check that the messages of these tests decode to what they claim to be."""
    m = message("registration", 1)
    assert isinstance(m, Message) and isinstance(decode(m.raw), Envelope) and decode(m.raw) == m.envelope
    assert ReportingRules.VERSION == 1 and Decide().outcome == "approved"
