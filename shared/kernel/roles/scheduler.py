"""The scheduler: ticks for subjects that are due, and the periodic jobs of a service."""

import asyncio
from collections.abc import Sequence

import structlog

from base.bisection import bisect
from base.clock import Clock
from contracts.commands import Tick
from kernel.commands import CommandMetadata, Result, execute_many
from kernel.errors import NewerRules, Transient
from kernel.service import PeriodicJob
from kernel.store import Store, due_query
from observability import metrics

TICKS = 200  # subjects in one transaction

log = structlog.get_logger(__name__)


class Scheduler:
    """Sends a Tick to subjects that are due, the longest overdue first, and runs periodic jobs."""

    def __init__(
        self, service: str, store: Store, clock: Clock, writing: asyncio.Lock, jobs: Sequence[PeriodicJob] = ()
    ) -> None:
        self.service, self.store, self.clock, self.writing, self.jobs = service, store, clock, writing, jobs
        self.unresponsive: set[str] = set()  # emitted nothing for a tick, or raised: they must not block the rest

    async def once(self, partitions: frozenset[int]) -> int:
        """Run one round for these partitions; return how much it did: TICKS or more if not all. Raise Transient."""
        now = self.clock().at
        found = await self.store.find_subjects(due_query(partitions, now, TICKS + len(self.unresponsive)))
        due = [subject for subject in found if subject not in self.unresponsive][:TICKS]
        await self._tick(due, Tick(now))
        done = len(due)
        for job in self.jobs:
            async with self.writing:
                try:
                    done += await job(partitions)
                except Transient:
                    raise
                except Exception:
                    log.exception("periodic job failed", service=self.service, job=type(job).__name__)
                    metrics.SCHEDULER_FAULTS.labels(self.service).inc()
        return done

    def retry_unresponsive(self) -> None:
        """Send ticks to the unresponsive subjects again."""
        self.unresponsive.clear()

    async def _tick(self, due: Sequence[str], tick: Tick) -> None:
        faults = dict[str, Exception]()

        async def send(subjects: Sequence[str]) -> None:
            async with self.writing:
                metadata = CommandMetadata(actor="clock:")
                outcomes = await execute_many(self.store, dict.fromkeys(subjects, tick), self.clock, metadata)
            self.unresponsive |= {s for s, out in outcomes.items() if not (isinstance(out, Result) and out.events)}
            faults.update((s, out) for s, out in outcomes.items() if not isinstance(out, Result | NewerRules))

        raised = await bisect(send, due, Transient)
        self.unresponsive |= raised.keys()
        for subject, fault in (faults | raised).items():
            log.error("tick failed", service=self.service, subject=subject, exc_info=fault)
            metrics.SCHEDULER_FAULTS.labels(self.service).inc()
