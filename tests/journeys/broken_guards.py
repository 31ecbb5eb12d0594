"""Guards taken away: each replaces one line or function that protects a promise by one that does not."""

import asyncio
import inspect
import textwrap
from collections.abc import Collection, Sequence
from fractions import Fraction
from typing import Any

from msgspec.structs import replace

from kernel import batch
from kernel.batch import CHUNK, CircuitBreaker
from kernel.commands import CommandMetadata, Result, execute
from kernel.errors import Transient
from kernel.kafka.relay import Relay
from kernel.record import Record
from kernel.store import Change, Effects, Snapshot, Source, Store
from registration.jobs import seat_allocation
from reporting.domain.ranking import Score
from reporting.tallies import MemoryTallies
from tests.journeys.in_process_platform import START
from tests.journeys.optimistic_store import OptimisticStore


def without(function: Any, line: str, instead: str) -> Any:
    """Return a function with one piece of its source replaced. Raise AssertionError where the piece is gone."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(line) == 1, f"{function.__name__} has {source.count(line)} times {line!r}"
    names: dict[str, Any] = {}
    exec(
        compile(source.replace(line, instead), f"<broken {function.__name__}>", "exec"), vars(_module(function)), names
    )
    return names[function.__name__]


def _module(function: Any) -> Any:
    module = inspect.getmodule(function)
    assert module is not None
    return module


async def acknowledge_before_storing(
    store: Any,
    subject: str,
    command: Any,
    clock: Any,
    metadata: CommandMetadata = CommandMetadata(),  # noqa: B008
) -> Result:
    """Acknowledge whatever happens."""
    try:
        return await execute(store, subject, command, clock, metadata)
    except Transient:
        return Result(Record(subject=subject, state=None))


async def swap_blindly(self: OptimisticStore, before: Record, after: Record) -> Record:
    """Let the last writer win."""
    await asyncio.sleep(0)
    self._check_unique([after])
    return self._keep(before, after)


async def move_cursor_outside(
    self: OptimisticStore,
    subjects: Collection[str],
    change: Any,
    ranges: Any = None,
    projection: Any = None,
    **options: Any,
) -> Effects:
    """Move the cursor whatever happens to the records."""
    try:
        return await TRANSACT(self, subjects, change, None, projection, **options)
    finally:
        self.positions.update({tp: after for tp, (_, after) in (ranges or {}).items()})


async def add_to_tallies(self: MemoryTallies, changes: Sequence[Change], session: Any) -> None:
    """Add what a record contributes, not what its contribution changed by."""
    await MOVE(self, [(replace(before, state=type(before.state)()), after) for before, after in changes], session)


async def mark_before_sending(self: Relay, partitions: Collection[int], writing: asyncio.Lock) -> int:
    """Mark events as published, then publish them."""
    found = await self.store.pending(partitions, 1_000)
    await self.store.mark_published({each.subject: each.published + len(each.events) for each in found})
    await self.store.read(())  # the moment in which the process ends
    return self._send(found).acknowledged


def forget_ledger(self: Any) -> Effects:
    """Seat applicants without writing their ledger."""
    effects = EFFECTS(self)
    return Effects([(before, after) for before, after in effects.changes if before.subject != self.subject])


def order_backwards(self: Any, subject: str) -> tuple[object, ...] | None:
    """Prefer the last one of a priority."""
    place = PLACE(self, subject)
    return place and (place[0], START - place[1], place[2])


def break_ties_by_quota(self: Score, table: str) -> tuple[Fraction, ...]:
    """Order equal scores by the quota alone."""
    return self.ranked_on(table), Fraction(self.counts.quota)


async def drain_outside(
    store: Store, sources: Sequence[Source], clock: Any, projection: Any, breaker: CircuitBreaker
) -> None:
    """Read the parked events before the transaction that handles them."""
    limit = CHUNK // len(sources) + 1
    chunks = {source: await store.parked.events(source, limit) for source in sources}
    await asyncio.sleep(0)  # here a batch may park more

    def change(snapshot: Snapshot, moment: Any) -> Effects:
        known = {source: chunk for source, chunk in chunks.items() if chunk}
        return batch._drain_all(store, sources, limit, breaker, replace(snapshot, parked=known), moment)

    await batch.transact(store, [subject for subject, _ in sources], change, {}, clock, projection, 0)


TRANSACT, MOVE, EFFECTS = OptimisticStore.transact, MemoryTallies.move, seat_allocation._Pass.effects
PLACE = seat_allocation._Pass._place
