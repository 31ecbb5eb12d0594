"""Each guard is taken away once: whatever protects a promise, some check misses it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.envelope import Envelope
from contracts.subjects import ledger_subject
from kernel import commands as ways
from kernel import record as one
from kernel.commands import CommandMetadata, Result, execute
from kernel.errors import Transient
from kernel.kafka.relay import Relay
from kernel.record import Record
from kernel.store import Changes
from kernel.stores.memory import MemoryStore
from registration.consumer import seats
from registration.domain import applicant
from reporting.domain.ranking import Score
from reporting.store import MemoryTallies
from screening.domain.case import Decide
from tests.journeys import in_process_platform as country
from tests.journeys.in_process_platform import PROVINCES, ROUND, START, Log, Nation
from tests.journeys.test_crash_points import lives
from tests.journeys.test_platform import SERVICES, check

SEEDS = 24

# What must hold


async def rush() -> None:
    """People who press twice, workers that work meanwhile, and a log in which nothing is in order."""
    for seed in range(SEEDS):
        await _rush(seed)


async def _rush(seed: int) -> None:
    chance = Random(seed)
    nation = Nation(chance)
    await nation.open((2, 1, 3))
    in_order = nation._write

    def out_of_order(service: str, log: Log, emitted: Collection[bytes]) -> None:
        in_order(service, log, chance.sample(list(emitted), len(emitted)) if chance.random() < 0.5 else list(emitted))

    vars(nation)["_write"] = out_of_order
    for _ in range(50):
        person, province = chance.randrange(5), chance.randrange(3)
        busy = [nation.advance(person, province), nation.advance(person, province)]
        await asyncio.gather(*busy, nation.turn(chance.choice(SERVICES)))
        if chance.random() < 0.15:
            await nation.withdraw(chance.randrange(5))
        for service in chance.sample(SERVICES, 4):
            await nation.turn(service)
        nation.at += timedelta(days=chance.choice((0, 0, 1, 5, 20)))
    await nation.settle()
    await check(nation)
    _one_of_each(nation)


def _one_of_each(nation: Nation) -> None:
    """A person is in a round once, and a key is answered once."""
    for store in nation.stores.values():
        people = [r.private.indexed["person"] for r in store.kept.values() if "person" in r.private.indexed]
        keys = [answer.key for r in store.kept.values() for answer in r.answered]
        assert len(people) == len(set(people))
        assert len(keys) == len(set(keys))


async def queue() -> None:
    """Two seats, six people of one priority, all approved before anybody is seated: first come, first served."""
    for seed in range(SEEDS):
        chance = Random(seed)
        nation = Nation(chance, trouble=0.0)
        await nation.open((2, 0, 0))
        came: list[tuple[datetime, str]] = []
        for person in chance.sample(range(6), 6):
            nation.at += timedelta(minutes=chance.randint(0, 1))  # some at the same instant
            await nation.advance(person, 0)
            subject = await nation.stores["registration"].holder("person", f"{ROUND}/{person}")
            assert subject
            came.append((nation.at, subject))
        await _tell(nation, "registration", "screening")
        for _, subject in came:
            assert await nation.ask("screening", subject, Decide("approved", by="screener:s"))
        await _tell(nation, "screening", "registration")
        await nation.call("registration")
        kept = nation.stores["registration"].kept.values()
        seated = {r.subject for r in kept if isinstance(r.state, applicant.State) and r.state.seat}
        assert seated == {subject for _, subject in sorted(came)[:2]}
        assert nation.stores["registration"].kept[ledger_subject(ROUND, PROVINCES[0])].state.admitted == 2


async def _tell(nation: Nation, service: str, listener: str) -> None:
    while await nation.stores[service].waiting(country.ALL, 1):
        await nation.relay(service)
    for _ in range(20):  # a batch may end anywhere
        await nation.consume(listener)


async def deaths() -> None:
    """Every point at which a process may die, until one of them does harm."""
    for n in range(1, (await lives()).seen + 1):
        await lives((n, False))


# Without the guard


async def acknowledged_before_stored(
    store: Any,
    subject: str,
    command: Any,
    clock: Any,
    ask: CommandMetadata = CommandMetadata(),  # noqa: B008
) -> Result:
    """Whatever became of it, it is called done."""
    try:
        return await execute(store, subject, command, clock, ask)
    except Transient:
        return Result(Record(subject=subject, state=None))


async def swapped_blindly(self: MemoryStore, before: Record, after: Record) -> bool:
    """The last one wins."""
    await asyncio.sleep(0)
    self._check_unique([after])
    self._keep(after)
    return True


def repeats_handled(inbox: Mapping[str, int], envelope: Envelope) -> int:
    """What has been handled is handled again."""
    return max(MISSING(inbox, envelope), 0)


def gaps_leapt(inbox: Mapping[str, int], envelope: Envelope) -> int:
    """What comes early is handled early."""
    return min(MISSING(inbox, envelope), 0)


async def cursor_outside(
    self: MemoryStore, subjects: Any, change: Any, ranges: Any = None, projection: Any = None
) -> None:
    """The cursor moves, whatever becomes of the records."""
    try:
        await HONEST(self, subjects, change, None, projection)
    finally:
        self.positions.update({tp: after for tp, (_, after) in (ranges or {}).items()})


async def added(self: MemoryTallies, changed: Changes, session: Any) -> None:
    """Adds what a record contributes, and not by how much that changed."""
    await MOVE(self, [(replace(before, state=type(before.state)()), after) for before, after in changed], session)


async def marked_first(self: Relay, partitions: Collection[int], writing: asyncio.Lock) -> int:
    """Marked as sent, then sent."""
    found = await self.store.waiting(partitions, 1_000)
    await self.store.mark_relayed({w.subject: w.relayed + len(w.emitted) for w in found})
    await self.store.read(())  # the moment in which the process dies
    return sum(self._send(found)[0])


def ledger_forgotten(self: seats._Pass) -> Changes:
    """Applicants are seated, and their ledger does not know."""
    return [(before, after) for before, after in CHANGES(self) if before.subject != self.subject]


def last_come(self: seats._Pass, subject: str) -> tuple[object, ...]:
    """Of one priority whoever came last."""
    indexed: Mapping[str, Any] = self.records[subject].indexed
    return indexed["priority"], START - indexed["registered_at"], subject


def ties_by_quota_alone(self: Score, table: str) -> tuple[Fraction, ...]:
    """Equal scores are told apart by nothing but the quota."""
    return self.ranked_on(table), Fraction(self.counts.quota)


HONEST, MOVE, CHANGES, MISSING = MemoryStore.transact, MemoryTallies.move, seats._Pass.changes, one._missing
GUARDS: dict[str, tuple[Callable[[], Awaitable[None]], Any, str, Any]] = {
    "acknowledged before stored": (rush, country, "execute", acknowledged_before_stored),
    "no compare-and-swap": (rush, MemoryStore, "swap", swapped_blindly),
    "a person is not unique": (rush, MemoryStore, "_check_unique", lambda *_: None),
    "a key is not remembered": (rush, ways, "_answered_here", lambda *_: None),
    "repeats are handled": (rush, one, "_missing", repeats_handled),
    "gaps are leapt over": (rush, one, "_missing", gaps_leapt),
    "tallies are added to": (rush, MemoryTallies, "move", added),
    "the ledger is not written": (rush, seats._Pass, "changes", ledger_forgotten),
    "ties are broken by the quota alone": (rush, Score, "order", ties_by_quota_alone),
    "seats go to who came last": (queue, seats._Pass, "_order", last_come),
    "the cursor is outside the transaction": (deaths, MemoryStore, "transact", cursor_outside),
    "marked before sent": (deaths, Relay, "once", marked_first),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_a_missing_guard_is_missed(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken on purpose, it is noticed."""
    holds, room, name, broken = GUARDS[guard]
    monkeypatch.setattr(room, name, broken)
    with pytest.raises(AssertionError):
        asyncio.run(holds())  # type: ignore[arg-type]


@pytest.mark.parametrize("holds", [rush, queue])
def test_with_every_guard_it_holds(holds: Callable[[], Awaitable[None]]) -> None:
    """Unbroken, the same checks pass (those of the crash points stand beside this module)."""
    asyncio.run(holds())  # type: ignore[arg-type]
