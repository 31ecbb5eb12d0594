"""The two ways records move, over memory and MongoDB alike."""

import asyncio
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
from kernel.batch import FAULTS_IN_A_ROW, process
from kernel.commands import CommandMetadata, Result, execute, execute_many
from kernel.errors import CircuitOpen, Fenced, KeyReused, UniqueViolation
from kernel.record import LogPosition, Message, Private, Undecodable
from kernel.store import Changes, Known
from recovery.dead_letters import mend
from tests.kernel.test_record import Picky, message
from tests.support.fixtures import StoreOf
from tests.support.small_services import NOON, PERIOD, POISON, Counting, Decide, Register, Tallies, Withdraw, noon

EVERYWHERE = range(32)
TP = ("peyvand.registration", 0)


def person(value: str) -> CommandMetadata:
    """Somebody with this blind index asks."""
    return CommandMetadata(private=Private(indexed={"person": value}))


async def emitted(store: Any, subject: str) -> list[Any]:
    """All it ever emitted, none of which was relayed."""
    found = await store.waiting([partition_of(subject)], 10_000)
    return [decode(raw).event for w in found if w.subject == subject for raw in w.emitted]


async def test_a_record_comes_back_as_it_was_stored(store_of: StoreOf) -> None:
    """Every field of it."""
    store = await store_of("registration")
    ask = CommandMetadata("web:", "key", b"print", Private({"person": "v1:1"}, {"sealed": b"\x00\x01"}), "00-trace")
    done = await execute(store, "p", Register(), noon, ask)
    assert (await store.read(["p"]))["p"] == replace(done.record, emitted=())
    assert done.record.indexed == {"scope": "IR-20/2001", "person": "v1:1"}
    assert [(e.actor, e.traceparent) for e in done.events] == [("web:", "00-trace")]
    opened = CaseOpened(due=NOON.date())
    batch = [message("screening", n, opened) for n in (1, 3)] + [message("market", n, opened) for n in range(2, 300)]
    moved = await process(store, batch, {}, noon)
    stored = (await store.read(["p"]))["p"]
    assert stored == replace(moved.changes[0][1], emitted=()) and stored.state.heard == ("CaseOpened",)


async def test_what_is_refused_is_not_stored(store_of: StoreOf) -> None:
    """And raises what the rules raise."""
    store = await store_of("registration")
    with pytest.raises(Refused, match="already_withdrawn"):
        await execute(store, "p", Withdraw(), noon)
    assert (await store.read(["p"]))["p"].version == 0


async def test_fifty_at_once_on_one_subject(store_of: StoreOf) -> None:
    """Whoever loses a race looks again: one registers, the others are refused, and sequences stay dense."""
    store = await store_of("registration")
    outcomes = await asyncio.gather(*(execute(store, "p", Register(), noon) for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(o, Result) for o in outcomes) == 1
    assert sum(isinstance(o, Refused) for o in outcomes) == 49
    for turn in range(5):
        command = Register() if turn % 2 else Withdraw()
        await asyncio.gather(*(execute(store, "p", command, noon) for _ in range(10)), return_exceptions=True)
    events = await emitted(store, "p")
    assert [type(e) for e in events] == [ApplicantRegistered, ApplicantWithdrawn] * 3
    assert (await store.read(["p"]))["p"].last_sequence == 6


async def test_fifty_first_inserts_of_one_person_make_one(store_of: StoreOf) -> None:
    """A unique field is told apart from a lost race: fifty subjects, one of which may hold it."""
    store = await store_of("registration", unique=("person", "tracking"))
    outcomes = await asyncio.gather(
        *(execute(store, f"p{n}", Register(), noon, person("v1:x")) for n in range(50)), return_exceptions=True
    )
    (winner,) = [o.record.subject for o in outcomes if isinstance(o, Result)]
    losers = [o for o in outcomes if isinstance(o, UniqueViolation)]
    assert len(losers) == 49 and {t.field for t in losers} == {"person"}
    assert await store.holder("person", "v1:x") == winner
    assert await store.holders("person", ["v1:x", "v1:y"]) == {"v1:x": winner}


async def test_any_of_several_live_values_holds(store_of: StoreOf) -> None:
    """While keys are rotated a record claims the values of all live keys."""
    store = await store_of("registration", unique=("person",))
    await execute(store, "p", Register(), noon, CommandMetadata(private=Private(indexed={"person": ["v1:x", "v2:x"]})))
    for value in ("v1:x", "v2:x"):
        with pytest.raises(UniqueViolation):
            await execute(store, "q", Register(), noon, person(value))
    await execute(store, "q", Register(), noon, person("v2:y"))


async def test_the_same_key_is_answered_again(store_of: StoreOf) -> None:
    """Fifty at once, each for a subject of its own as a form posted twice would: one moves, all get its answer."""
    store = await store_of("registration", unique=("person",))
    ask = CommandMetadata(key="web:k", fingerprint=b"f", private=Private(indexed={"person": "v1:x"}))
    done = await asyncio.gather(*(execute(store, f"p{n}", Register(), noon, ask) for n in range(50)))
    assert len({d.record.subject for d in done}) == 1
    assert [d.repeated for d in done].count(False) == 1
    with pytest.raises(KeyReused):
        await execute(store, "other", Register(), noon, replace(ask, fingerprint=b"g"))
    again = await execute(store, done[0].record.subject, Withdraw(), noon, replace(ask, key="web:2"))
    assert not again.repeated and len(again.record.answered) == 2


async def test_an_answer_is_forgotten_after_a_week(store_of: StoreOf) -> None:
    """Not before, and only when another comes."""
    store = await store_of("registration")
    later = NOON + timedelta(days=8)
    await execute(store, "p", Register(), noon, CommandMetadata(key="1"))
    await execute(store, "p", Withdraw(), lambda: Moment(later, later), CommandMetadata(key="2"))
    assert [a.key for a in (await store.read(["p"]))["p"].answered] == ["2"]
    assert await store.holders("answered", ["1", "2"]) == {"2": "p"}


async def test_many_are_decided_each_for_itself(store_of: StoreOf) -> None:
    """What one is refused the others are not: rules, unique fields, keys, all in one list."""
    store = await store_of("registration", unique=("person",))
    await execute(store, "taken", Register(), noon, person("v1:0"))
    await execute(store, "before", Register(), noon, CommandMetadata(key="k", fingerprint=b"f"))
    asks = {f"p{n}": person(f"v1:{n % 30}") for n in range(40)}
    asks |= {
        "again": CommandMetadata(key="k", fingerprint=b"f"),
        "reused": CommandMetadata(key="k", fingerprint=b"other"),
    }
    commands: dict[str, Any] = {subject: Register() for subject in asks} | {"nobody": Withdraw()}
    outcomes = await execute_many(store, commands, noon, asks)
    assert outcomes.keys() == commands.keys()
    assert isinstance(outcomes["nobody"], Refused) and isinstance(outcomes["reused"], KeyReused)
    assert isinstance(again := outcomes["again"], Result) and again.repeated and again.record.subject == "before"
    assert isinstance(outcomes["p0"], UniqueViolation) and isinstance(outcomes["p30"], UniqueViolation)
    done = [s for s, o in outcomes.items() if isinstance(o, Result) and not o.repeated]
    assert len(done) == 29
    stored = await store.read(commands.keys())
    assert sorted(s for s, r in stored.items() if r.version) == sorted(done)


async def test_lists_and_single_requests_race(store_of: StoreOf) -> None:
    """swap against transact: each subject registers once, whoever was faster."""
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


async def test_a_batch_moves_its_cursors_once(store_of: StoreOf) -> None:
    """Whoever stands elsewhere is fenced, and nothing of the batch has moved."""
    store, tallies = await store_of("reporting"), Tallies()
    assert await store.cursors([TP]) == {TP: 0}
    batch = [message("registration", n) for n in (1, 2)]
    await process(store, batch, {TP: (0, 2)}, noon, tallies.move)
    for first, after in ((0, 2), (1, 3), (3, 4)):
        with pytest.raises(Fenced):
            await process(store, [message("registration", 3)], {TP: (first, after)}, noon, tallies.move)
    assert await store.cursors([TP]) == {TP: 2}
    assert (await store.read(["p"]))["p"].inbox == {"registration": 2}
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 2}


async def test_two_who_read_the_same_batch(store_of: StoreOf) -> None:
    """Of two workers that both believe they own it, one moves it."""
    store = await store_of("reporting")
    await store.cursors([TP])
    batch = [message("registration", 1, subject=f"p{n}") for n in range(100)]
    outcomes = await asyncio.gather(
        *(process(store, batch, {TP: (0, 100)}, noon) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(o, Fenced) for o in outcomes) == 4
    assert {r.version for r in (await store.read([f"p{n}" for n in range(100)])).values()} == {1}


async def test_cursors_from_0_again_have_no_effect(store_of: StoreOf) -> None:
    """A whole log read a second time: repeats, all of them."""
    store, tallies = await store_of("screening"), Tallies()
    log = [message("registration", 1, subject=f"p{n}") for n in range(50)]
    for turn in (("a", 0), ("b", 0)):
        await store.cursors([turn])
        await process(store, log, {turn: (0, 50)}, noon)
    await process(store, [], {}, noon, tallies.move)
    waiting = await store.waiting(EVERYWHERE, 100)
    assert [len(w.emitted) for w in waiting] == [1] * 50


async def test_other_kinds_are_read_past(store_of: StoreOf) -> None:
    """An event about a kind of subject without rules here moves the cursor and nothing else."""
    store = await store_of("reporting")
    await store.cursors([TP])
    done = await process(store, [message("registration", 1, subject="round:1404")], {TP: (0, 1)}, noon)
    assert not done.changes and await store.cursors([TP]) == {TP: 1}


async def test_what_nobody_handles_moves_the_inbox_only(store_of: StoreOf) -> None:
    """A type that is known and that these rules have no use for."""
    store = await store_of("screening")
    done = await process(store, [message("registration", 1, ApplicantWithdrawn(reason="other"))], {}, noon)
    ((before, after),) = done.changes
    assert after.inbox == {"registration": 1} and after.state == before.state and not after.parked


async def test_one_subjects_poison_is_not_everybodys(store_of: StoreOf) -> None:
    """Parked with its fault and counted as one; the others flow on, and the tallies know nothing of it."""
    store, tallies = await store_of("reporting"), Tallies()
    batch = [message("registration", 1, subject=f"p{n}", field=POISON if n == 3 else "honey") for n in range(10)]
    done = await process(store, batch, {}, noon, tallies.move)
    (fault,) = done.faults
    assert (fault.subject, fault.source, fault.sequence) == ("p3", "registration", 1) and "a bug" in fault.why
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 9}


async def test_twenty_faults_in_a_row_stop_everything(store_of: StoreOf) -> None:
    """A bad deploy must not park everybody: the batch that reaches the bound has not moved."""
    store = await store_of("reporting")
    poison = [message("registration", 1, subject=f"p{n}", field=POISON) for n in range(FAULTS_IN_A_ROW)]
    done = await process(store, poison[:10], {}, noon)
    assert done.faults_in_a_row == 10
    with pytest.raises(CircuitOpen):
        await process(store, poison[10:], {}, noon, faults_in_a_row=10)
    assert (await store.read(["p15"]))["p15"].version == 0
    mixed = [each for n, bad in enumerate(poison[10:]) for each in (bad, message("registration", 1, subject=f"ok{n}"))]
    assert (await process(store, mixed, {}, noon, faults_in_a_row=10)).faults_in_a_row == 0


async def test_a_batch_is_halved_down_to_the_subject(store_of: StoreOf) -> None:
    """A projection, say, that cannot bear one of them: that one is parked, the others and the cursor move."""
    store, tallies = await store_of("reporting"), Tallies()
    await store.cursors([TP])

    async def picky(changes: Changes, session: Any) -> None:
        if any(after.subject == "p5" and after.state.heard for _, after in changes):
            raise ZeroDivisionError("p5")
        await tallies.move(changes, session)

    batch = [message("registration", n, subject=f"p{k}") for n in (1, 2) for k in range(9)]
    done = await process(store, batch, {TP: (0, 18)}, noon, picky)
    assert [f.subject for f in done.faults] == ["p5"]
    assert tallies.counts == {("IR-20", "ApplicantRegistered"): 16}
    assert await store.cursors([TP]) == {TP: 18}
    parked = (await store.read(["p5"]))["p5"].parked["registration"]
    assert sorted(parked.envelopes) == [1, 2] and "ZeroDivisionError" in parked.fault


async def test_a_projection_that_bears_nobody_pauses(store_of: StoreOf) -> None:
    """Not even parking can be stored: nobody's events would fare better."""
    store = await store_of("reporting")

    async def broken(changes: Changes, session: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(CircuitOpen):
        await process(store, [message("registration", 1, subject=f"p{n}") for n in range(4)], {}, noon, broken)
    assert all(not r.version for r in (await store.read([f"p{n}" for n in range(4)])).values())


async def test_mending_moves_the_tallies_too(store_of: StoreOf) -> None:
    """Retried once the rules are mended, or discarded with who and why."""
    store, tallies = await store_of("reporting", rules=Picky), Tallies()
    Picky.mended = False
    bad = [message("registration", 1, ApplicantWithdrawn(reason="other"), subject=s) for s in ("p", "q")]
    await process(store, [*bad, message("registration", 2, subject="q")], {}, noon, tallies.move)
    assert not +tallies.counts
    record = await mend(store, "q", "registration", "discard", "operator:o1", "nonsense", noon, tallies.move)
    assert record.discarded[0].who == "operator:o1"
    Picky.mended = True
    await mend(store, "p", "registration", "retry", "operator:o1", "mended", noon, tallies.move)
    assert +tallies.counts == {("IR-20", "ApplicantRegistered"): 1, ("IR-20", "ApplicantWithdrawn"): 1}
    assert (await store.read(["q"]))["q"].discarded == record.discarded
    with pytest.raises(Refused, match="nothing_parked"):
        await mend(store, "p", "registration", "retry", "operator:o1", "again", noon, tallies.move)


async def test_what_is_due_is_found_and_said_once(store_of: StoreOf) -> None:
    """The longest overdue first, in the partitions asked for; ticks are idempotent."""
    store = await store_of("screening")
    for n in range(3):
        at = NOON - timedelta(days=n)
        await process(store, [message("registration", 1, subject=f"p{n}")], {}, partial(Moment, at, at))
    assert await store.due(EVERYWHERE, NOON + PERIOD, 2) == ["p2", "p1"]
    assert await store.due(EVERYWHERE, NOON + PERIOD - timedelta(days=2), 9) == ["p2"]
    assert await store.due([partition_of("p1")], NOON + PERIOD, 9) == ["p1"]
    tick = Tick(NOON + PERIOD)
    await asyncio.gather(*(execute(store, "p2", tick, noon) for _ in range(5)))
    await execute_many(store, {f"p{n}": tick for n in range(3)}, noon)
    assert not await store.due(EVERYWHERE, NOON + PERIOD, 9)
    assert [type(e) for e in await emitted(store, "p2")] == [CaseOpened, CaseBreached]


async def test_what_waits_to_be_sent(store_of: StoreOf) -> None:
    """In order, behind the mark; the mark is only ever raised, and moves nothing else."""
    store = await store_of("registration")
    for command in (Register(), Withdraw(), Register()):
        await execute(store, "p", command, noon)
    before = (await store.read(["p"]))["p"]
    (waiting,) = await store.waiting([partition_of("p")], 10)
    assert (waiting.subject, waiting.relayed, len(waiting.emitted)) == ("p", 0, 3)
    await store.mark_relayed({"p": 2})
    await store.mark_relayed({"p": 1})
    (waiting,) = await store.waiting([partition_of("p")], 10)
    assert waiting.relayed == 2 and [decode(raw).sequence for raw in waiting.emitted] == [3]
    await store.mark_relayed({"p": 3})
    assert not await store.waiting(EVERYWHERE, 10)
    await execute(store, "p", Withdraw(), noon)
    (waiting,) = await store.waiting(EVERYWHERE, 10)
    assert waiting.relayed == 3 and len(waiting.emitted) == 1
    assert replace((await store.read(["p"]))["p"], version=3) != before  # the fourth moved it
    assert not await store.waiting([n for n in EVERYWHERE if n != partition_of("p")], 10)


async def test_the_unreadable_are_kept_once(store_of: StoreOf) -> None:
    """With their place, however often they are met."""
    store = await store_of("registration")
    unread = [Undecodable(LogPosition("t", 0, n), b"\xff" if n else None, "no") for n in range(3)]
    await store.quarantine(unread)
    await store.quarantine(unread[:2])


async def test_time_is_taken_anew_after_a_stop(store_of: StoreOf) -> None:
    """A process that was stopped between taking the time and the write does not write what was."""
    store = await store_of("registration")
    times = iter([NOON, NOON + timedelta(minutes=1), NOON + timedelta(minutes=1), NOON + timedelta(minutes=1)])

    def clock() -> Moment:
        now = next(times)
        return Moment(now, now)

    done = await execute(store, "p", Register(), clock)
    assert done.events[0].time == NOON + timedelta(minutes=1)


async def test_a_transaction_of_anything_is_all_or_nothing(store_of: StoreOf) -> None:
    """A change over several records that raises at the end has changed none."""
    store = await store_of("registration")
    await execute(store, "p", Register(), noon)

    def change(known: Known) -> Changes:
        raise Refused("not_now")

    with pytest.raises(Refused, match="not_now"):
        await store.transact(["p", "q"], change)

    async def projection(changes: Changes, session: Any) -> None:
        raise Refused("not_now")

    with pytest.raises(Refused, match="not_now"):
        await store.transact(["p"], lambda known: [(known["p"], replace(known["p"], version=2))], None, projection)
    assert (await store.read(["p"]))["p"].version == 1


async def test_stranded_ones_are_found(store_of: StoreOf) -> None:
    """By partition, when their turn has come."""
    store = await store_of("reporting")
    said = [message("registration", n) for n in range(1, 300)]
    await process(store, said[1:], {}, noon)
    assert not await store.stranded(EVERYWHERE, 10)
    await process(store, said[:1], {}, noon)
    assert await store.stranded(EVERYWHERE, 10) == ["p"]
    await process(store, said[200:], {}, noon)
    assert not await store.stranded(EVERYWHERE, 10)


def test_the_suite_reads_what_it_writes() -> None:
    """A canary: the messages of these tests are real ones."""
    m = message("registration", 1)
    assert isinstance(m, Message) and isinstance(decode(m.raw), Envelope) and decode(m.raw) == m.envelope
    assert Counting.VERSION == 1 and Decide().outcome == "approved"


async def test_a_race_for_a_subject_that_is_not_looked_for_has_one_winner(store_of: StoreOf) -> None:
    store = await store_of("registration")
    asks = [CommandMetadata(key=f"key-{n}", new=True) for n in range(20)]
    done = await asyncio.gather(*(execute(store, "p", Register(), noon, each) for each in asks), return_exceptions=True)
    assert [type(each) for each in done].count(Refused) == 19
    winner = next(ask for ask, each in zip(asks, done, strict=True) if isinstance(each, Result))
    assert (await execute(store, "p", Register(), noon, winner)).repeated
