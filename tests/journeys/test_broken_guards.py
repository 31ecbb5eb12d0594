"""Each guard is taken away once: whatever protects a promise, some check finds that it is missing."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from contracts.subjects import ledger_subject
from kernel import batch, commands
from kernel import record as records
from kernel.batch import drain, process
from kernel.kafka.relay import Relay
from registration.domain import applicant
from registration.jobs import seat_allocation
from reporting.domain.ranking import Score
from reporting.tallies import MemoryTallies
from screening.domain import appeal as appeals
from screening.domain import case as cases
from screening.domain.case import Decide
from tests.journeys import broken_guards as broken
from tests.journeys import in_process_platform
from tests.journeys.broken_guards import without
from tests.journeys.crash_simulation import simulate
from tests.journeys.in_process_platform import ALL, PROVINCES, SERVICES, YES, InProcessPlatform
from tests.journeys.invariants import check
from tests.journeys.optimistic_store import OptimisticStore

SEEDS = 24

# What must hold


async def rush() -> None:
    """Users press twice, workers work meanwhile, and nothing in the log is in order."""
    for seed in range(SEEDS):
        await _rush(seed)


async def _rush(seed: int) -> None:
    random = Random(seed)
    platform = InProcessPlatform(random)
    await platform.open_round((2, 1, 3))
    append = platform.append

    def out_of_order(service: str, events: Collection[bytes]) -> None:
        append(service, random.sample(list(events), len(events)) if random.random() < 0.5 else list(events))

    vars(platform)["append"] = out_of_order
    for _ in range(50):
        person, province = random.randrange(5), random.randrange(3)
        requests = [platform.advance(person, province), platform.advance(person, province)]
        await asyncio.gather(*requests, platform.work(random.choice(SERVICES)))
        if random.random() < 0.3:
            acts = (platform.withdraw, platform.withdraw, platform.erase, platform.correct, platform.correct)
            await random.choice(acts)(random.randrange(5))
        for service in random.sample(SERVICES, 4):
            await platform.work(service)
        platform.now += timedelta(days=random.choice((0, 0, 1, 5, 20)))
    await platform.settle()
    await check(platform)
    _assert_unique(platform)


def _assert_unique(platform: InProcessPlatform) -> None:
    """A person is in a round once, and a key is answered once."""
    for store in platform.stores.values():
        people = [r.private.indexed["person"] for r in store.records.values() if "person" in r.private.indexed]
        keys = [response.key for r in store.records.values() for response in r.stored_responses]
        assert len(people) == len(set(people))
        assert len(keys) == len(set(keys))


async def queue() -> None:
    """Two seats, six people of one priority, all approved before the first is seated: first come, first served."""
    for seed in range(SEEDS):
        random = Random(seed)
        platform = InProcessPlatform(random, error_rate=0.0)
        await platform.open_round((2, 0, 0))
        registered: list[tuple[datetime, str]] = []
        for person in random.sample(range(6), 6):
            platform.now += timedelta(minutes=random.randint(0, 1))  # some at the same instant
            await platform.advance(person, 0)
            subject = await platform.subject_of(person)
            assert subject
            registered.append((platform.now, subject))
        await _deliver(platform, "registration", "screening")
        for _, subject in registered:
            assert await platform.request("screening", subject, Decide("approved", checklist=YES, by="screener:s"))
        await _deliver(platform, "screening", "registration")
        await platform.run_jobs("registration")
        kept = platform.stores["registration"].records
        seated = {r.subject for r in kept.values() if isinstance(r.state, applicant.State) and r.state.seat}
        assert seated == {subject for _, subject in sorted(registered)[:2]}
        assert kept[ledger_subject("1404", PROVINCES[0])].state.admitted == 2


async def _deliver(platform: InProcessPlatform, service: str, consumer: str) -> None:
    while await platform.stores[service].pending(ALL, 1):
        await platform.publish(service)
    for _ in range(20):  # a batch may end anywhere
        await platform.consume(consumer)
        await platform.drain(consumer)


async def parking() -> None:
    """Events arrive in any order while others are drained, a few at a time: at rest, all of them are handled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "SOURCES", 3)
        patch.setattr(batch, "CHUNK", 3)
        for seed in range(SEEDS):
            await _parking(seed)


async def _parking(seed: int) -> None:
    random = Random(seed)
    platform = InProcessPlatform(random, error_rate=0.0)
    await platform.open_round((2, 1, 3))
    producers = [name for name in SERVICES if name != "reporting"]
    for _ in range(25):
        await platform.advance(random.randrange(4), random.randrange(3))
        for service in producers:
            await platform.work(service)
        platform.now += timedelta(days=random.choice((0, 1, 20)))
    for _ in range(10):
        for service in producers:
            await platform.work(service)
    reporting, move = platform.stores["reporting"], platform.tallies.move
    messages = [message for log in platform.logs.values() for events in log.values() for message in events]
    random.shuffle(messages)
    while messages:
        count = random.randint(1, 12)
        chunk, messages = messages[:count], messages[count:]
        delivery = process(reporting, chunk, {}, platform.clock, move)
        await asyncio.gather(*random.sample([delivery, drain(reporting, ALL, platform.clock, move)], 2))
    cursors = {(topic, p): len(events) for topic, log in platform.logs.items() for p, events in log.items()}
    reporting.positions.update(cursors)
    for _ in range(1_000):
        if not await drain(reporting, ALL, platform.clock, move):
            break
    await platform.settle()
    await check(platform)


async def crashes() -> None:
    """Every point at which a process may end."""
    for n in range(1, (await simulate()).count + 1):
        await simulate((n, False))


# Without the guard

GUARDS: dict[str, tuple[Callable[[], Awaitable[None]], Any, str, Callable[[], Any]]] = {
    "acknowledged before it is stored": (
        rush, in_process_platform, "execute", lambda: broken.acknowledge_before_storing),
    "no compare-and-swap": (rush, OptimisticStore, "swap", lambda: broken.swap_blindly),
    "no conflict between transactions": (
        rush, OptimisticStore, "transact",
        lambda: without(OptimisticStore.transact, "self.written.get(key, 0) > started", "False")),
    "a person is not unique": (rush, OptimisticStore, "_check_unique", lambda: lambda *_: None),
    "a key is not stored": (rush, commands, "_repeated", lambda: lambda *_: None),
    "repeats are handled": (
        rush, records, "_consume_each",
        lambda: without(
            records._consume_each, "if missing < 0:\n", "missing = max(missing, 0)\n        if missing < 0:\n")),
    "gaps are skipped": (
        rush, records, "_consume_each",
        lambda: without(
            records._consume_each, "if missing < 0:", "missing = min(missing, 0)\n        if missing < 0:")),
    "early events are dropped": (
        parking, records, "_consume_each",
        lambda: without(records._consume_each, "parked.append(park(message, reason, moment, fault))", "pass")),
    "tallies are added to": (rush, MemoryTallies, "move", lambda: broken.add_to_tallies),
    "the ledger is not written": (rush, seat_allocation._Pass, "effects", lambda: broken.forget_ledger),
    "ties are broken by the quota alone": (rush, Score, "order", lambda: broken.break_ties_by_quota),
    "seats go to the last ones": (queue, seat_allocation._Pass, "_place", lambda: broken.order_backwards),
    "a head is never ready": (
        parking, batch, "head_of",
        lambda: without(batch.head_of, 'heads[source] = replace(head, reason="ready")', "pass")),
    "the last parked event is the head": (
        parking, batch, "head_of",
        lambda: without(batch.head_of, "_order(each) < _order(", "_order(each) > _order(")),
    "a head is not written when parking behind it": (
        parking, batch, "changed_heads",
        lambda: without(batch.changed_heads, "source in behind or head != known.get", "head != known.get")),
    "a chunk is read outside the transaction": (parking, batch, "drain_sources", lambda: broken.drain_outside),
    "what follows a chunk gets no head": (
        parking, batch, "_drain_all",
        lambda: without(batch._drain_all, "(*stopped, *(() if stopped else rest))", "stopped")),
    "the cursor is outside the transaction": (
        crashes, OptimisticStore, "transact", lambda: broken.move_cursor_outside),
    "who registered screens": (
        rush, cases, "decide", lambda: without(cases.decide, "person_of(command.by) in authors", "False")),
    "who decided first decides the appeal": (
        rush, appeals, "excluded_as",
        lambda: without(appeals.excluded_as, "person == person_of(case.decider)", "False")),
    "who filed the appeal decides it": (
        rush, appeals, "excluded_as", lambda: without(appeals.excluded_as, "person == appeal.filer", "False")),
    "a correction overtakes the decision": (rush, applicant, "react", lambda: lambda *_: ()),
    "marked before it is sent": (crashes, Relay, "publish", lambda: broken.mark_before_sending),
}  # fmt: skip


@pytest.mark.parametrize("guard", GUARDS)
def test_a_missing_guard_is_found(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the guard broken on purpose, the check fails."""
    holds, owner, name, make = GUARDS[guard]
    monkeypatch.setattr(owner, name, make())
    with pytest.raises(AssertionError):
        asyncio.run(holds())  # type: ignore[arg-type]


@pytest.mark.parametrize("holds", [rush, queue, parking])
def test_with_every_guard_the_checks_pass(holds: Callable[[], Awaitable[None]]) -> None:
    """Unbroken, the same checks pass; those of the crash points have a module of their own."""
    assert asyncio.run(holds()) is None  # type: ignore[arg-type]
