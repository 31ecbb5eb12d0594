"""The clock's calls on what is due, and what else must be done for the partitions a worker owns."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from base.clock import Clock
from contracts.commands import Tick
from kernel.commands import CommandMetadata, Result, execute_many
from kernel.errors import Transient
from kernel.store import Store
from observability import metrics

TICKS = 200  # subjects called on in one transaction

PeriodicJob = Callable[[frozenset[int]], Awaitable[int]]  # for these partitions; how much was done

log = structlog.get_logger(__name__)


class Scheduler:
    """Calls on subjects whose time has come, the longest overdue first."""

    def __init__(
        self, service: str, store: Store, clock: Clock, writing: asyncio.Lock, duties: Sequence[PeriodicJob] = ()
    ) -> None:
        self.service, self.store, self.clock, self.writing, self.duties = service, store, clock, writing, duties
        self.silent: set[str] = set()  # said nothing when called, or met a bug: they shall not block the rest

    async def once(self, partitions: frozenset[int]) -> bool:
        """One round; says whether more may be due."""
        now = self.clock().at
        found = await self.store.due(partitions, now, TICKS + len(self.silent))
        due = [subject for subject in found if subject not in self.silent][:TICKS]
        await self._call(due, Tick(now))
        done = len(due)
        for duty in self.duties:
            async with self.writing:
                try:
                    done += await duty(partitions)
                except Transient:
                    raise
                except Exception:
                    log.exception("duty")
                    metrics.TICK_FAULTS.labels(self.service).inc()
        return done >= TICKS

    def forget(self) -> None:
        """Those that were silent are called on again."""
        self.silent.clear()

    async def _call(self, due: Sequence[str], tick: Tick) -> None:
        if not due:
            return
        try:
            async with self.writing:
                outcomes = await execute_many(
                    self.store, dict.fromkeys(due, tick), self.clock, CommandMetadata(actor="clock:")
                )
        except Transient:
            raise
        except Exception:
            if len(due) > 1:  # one subject's fault is not everybody's
                await self._call(due[: len(due) // 2], tick)
                await self._call(due[len(due) // 2 :], tick)
                return
            log.exception("tick", subject=due[0])
            metrics.TICK_FAULTS.labels(self.service).inc()
            self.silent.add(due[0])
        else:
            self.silent |= {s for s, done in outcomes.items() if not (isinstance(done, Result) and done.events)}
