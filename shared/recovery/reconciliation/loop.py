"""The loop of a worker that compares its partitions with their owners, one after the other, every five minutes.

A partition has its slot in the cycle, the same in all services: so an owner reads it once for all who ask, and
hardly anything happens between its reading and theirs.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from time import monotonic, time
from typing import TYPE_CHECKING, TypeVar

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from msgspec import MsgspecError

from base.clock import machine_now
from base.http_client import HttpError
from contracts.subjects import PARTITIONS
from kernel.errors import Transient
from kernel.record import Message
from kernel.store import Snapshot, read_snapshot
from observability import metrics
from recovery.parked_events import insert_missing
from recovery.reconciliation.digests import BUCKETS, Lines, consumed_lines, digests
from recovery.reconciliation.findings import NOTHING, Disagreement, Finding, Handled, judge
from recovery.reconciliation.owner import EVENTS_LIMIT, Owner
from recovery.reconciliation.results import Results

if TYPE_CHECKING:
    from kernel.roles.worker import Worker

CYCLE = 300.0  # seconds in which every partition is compared once
PAUSE = 1.0  # seconds between two looks at the time
RETRY = 30.0  # seconds after which a comparison that failed is repeated
CATCH_UP_TIMEOUT = 10.0  # seconds in which a cursor reaches what was the end of the log
BUCKETS_ASKED = 64  # in one request
SUBJECTS_ASKED = 200  # likewise; they share a transaction

log = structlog.get_logger(__name__)


T = TypeVar("T")


class Behind(Exception):
    """The cursor has not reached the end of the log: what is missing may still come."""


class ReconciliationLoop:
    """Compares and repairs the partitions that this worker owns, as their only one."""

    def __init__(self, worker: "Worker", owners: Mapping[str, Owner], cycle: float = CYCLE) -> None:
        self.worker, self.owners, self.cycle = worker, owners, cycle
        self.store, self.service = worker.store, worker.service
        self.topics = {topic.rpartition(".")[2]: topic for topic in worker.topics}
        self.results = Results(worker.store.database)
        self.started: dict[int, float] = {}  # partition -> when its last comparison began, or it was assigned
        self.failed: dict[int, float] = {}  # partition -> when its last comparison failed, where it did
        self.compared: dict[tuple[str, int], float] = {}  # source and partition -> the last complete one, or assigned
        self.disagreements: dict[tuple[str, int], int] = {}

    async def __call__(self) -> float:
        """Compare the partition that is due, if one is; return the seconds until the next step.

        Raise Transient, KafkaError.
        """
        requested = await self._requested()
        await self._follow_assignment(requested)
        self._observe()
        number = self._due(time(), requested)
        if number is None:
            return min(PAUSE, self.cycle / PARTITIONS)
        self.started[number] = self.failed[number] = time()
        compared = await self.compare(number)
        self.failed[number] = time()  # it may have taken as long as the time after which it is repeated
        if compared:
            del self.failed[number]
        return 0

    async def compare(self, number: int) -> bool:
        """Compare one partition with every owner; return whether all were. One that fails concerns no other.

        Raise Transient, KafkaError.
        """
        lines, compared = await consumed_lines(self.store, number, self.owners), True
        for source, owner in self.owners.items():
            try:
                await self._compare(number, source, owner, lines[source])
            except (Transient, KafkaError):
                raise
            except (HttpError, MsgspecError, Behind) as e:
                compared = await self._failed(number, source, e)
            except Exception as e:  # a fault in a comparison must not end what works
                log.exception("reconciliation failed", service=self.service, producer=source)
                compared = await self._failed(number, source, e)
        return compared

    async def _compare(self, number: int, source: str, owner: Owner, lines: Lines) -> None:
        kinds = tuple(self.store.rules)
        theirs, ours = await owner.digests(number, kinds), digests(lines, kinds)
        differing = [bucket for bucket in range(BUCKETS) if theirs[bucket] != ours[bucket]]
        missing, disagreements = 0, list[Disagreement]()
        for buckets in _parts(differing, BUCKETS_ASKED):
            held = await owner.lines(number, kinds, buckets)
            handled = chain.from_iterable(lines.get(bucket, ()) for bucket in buckets)
            suspects = sorted({line.partition(" ")[0] for line in set(held) ^ set(handled)})
            for subjects in _parts(suspects, SUBJECTS_ASKED):
                findings = await self._judge(number, source, owner, subjects)
                disagreements += [each.disagreement for each in findings if each.disagreement]
                missing += await self._repair(source, [m for each in findings for m in each.missing])
        key = source, number
        subjects_known = sum(map(len, lines.values()))
        await self.results.done(source, number, missing, disagreements, subjects=subjects_known, buckets=len(differing))
        self.compared[key], self.disagreements[key] = time(), len(disagreements)
        if disagreements:
            log.error(
                "records disagree with their owner",
                service=self.service,
                producer=source,
                records=len(disagreements),
                subject=disagreements[0].subject,
            )

    async def _judge(self, number: int, source: str, owner: Owner, subjects: Sequence[str]) -> list[Finding]:
        """Return what is wrong with these subjects, now that what was on its way has arrived.

        What the owner holds is read after what was handled: so it holds at least that. What is missing then is looked
        for again when the cursor has passed the end that the log has after this reading.
        """
        before = await self._handled(source, subjects)
        histories = await owner.histories({subject: before[subject].sequence for subject in subjects})
        first = {h.subject: judge(source, before[h.subject], h, machine_now()) for h in histories}
        findings = [each for each in first.values() if each.disagreement]
        if lacking := [h for h in histories if first[h.subject].missing]:
            await self._pass_end(TopicPartition(self.topics[source], number))
            after = await self._handled(source, [h.subject for h in lacking])
            for h in lacking:
                late = after[h.subject].sequence > h.sequence  # handled more than was held then
                findings.append(NOTHING if late else judge(source, after[h.subject], h, machine_now()))
        return findings

    async def _handled(self, source: str, subjects: Collection[str]) -> dict[str, Handled]:
        """Return what has been handled of a source about these subjects, and what of it is parked."""
        snapshot = await read_snapshot(self.store, subjects, EVENTS_LIMIT)
        return {subject: _handled_of(snapshot, subject, source) for subject in subjects}

    async def _pass_end(self, tp: TopicPartition) -> None:
        """Wait until the cursor has reached what is now the end of the log. Raise Behind."""
        end = (await self.worker.watch.ends([tp])).get(tp)
        deadline = monotonic() + CATCH_UP_TIMEOUT
        while end is not None and monotonic() < deadline and tp in self.worker.consumer.cursors:
            if self.worker.consumer.cursors[tp] >= end:
                return
            await asyncio.sleep(0.1)
        raise Behind(f"{tp.topic}/{tp.partition} has not been consumed to its end")

    async def _repair(self, source: str, missing: Sequence[Message]) -> int:
        """Let missing events be handled; return how many."""
        if not missing:
            return 0
        async with self.worker.writing:
            inserted = await insert_missing(self.store, missing, self.topics[source], self.worker.clock)
        self.worker.consumer.draining = True
        metrics.RECONCILIATION_MISSING.labels(self.service, source).inc(inserted)
        first = [f"{source}/{m.envelope.subject}/{m.envelope.sequence}" for m in missing[:10]]
        log.error(
            "events were lost: taken from their owner", service=self.service, events=inserted, first_missing=first
        )
        return inserted

    async def _failed(self, number: int, source: str, e: Exception) -> bool:
        log.warning("not compared with its owner", service=self.service, producer=source, error=e)
        await self.results.failed(source, number, str(e)[:500] or repr(e))
        return False

    async def _requested(self) -> float:
        requested = await self.results.requested()
        return requested.timestamp() if requested else 0.0

    def _due(self, now: float, requested: float) -> int | None:
        """Return the partition that has waited longest among those with a new slot, a request, or a failure."""
        due = []
        for number, started in self.started.items():
            offset = number * self.cycle / PARTITIONS
            slot = (now - offset) // self.cycle * self.cycle + offset  # its latest one
            if started < max(slot, requested) or now - self.failed.get(number, now) >= RETRY:
                due.append((started, number))
        return min(due)[1] if due else None

    async def _follow_assignment(self, requested: float) -> None:
        """Take over what another worker, or a former process, has found about new partitions. Raise Transient.

        They wait for their next slot, unless what an operator has requested is still to be done.
        """
        owned, now = self.worker.consumer.partitions, time()
        if owned == self.started.keys():
            return
        stored = {(each.source, each.partition): each for each in await self.results.all()}
        known = {key: each.at.timestamp() for key, each in stored.items() if each.at}
        counts = {key: each.disagreement_count for key, each in stored.items()}
        keys = [(source, number) for source in self.owners for number in owned]
        waiting = {number for source, number in keys if known.get((source, number), 0.0) < requested}
        self.started = {number: self.started.get(number, 0.0 if number in waiting else now) for number in owned}
        self.failed = {number: at for number, at in self.failed.items() if number in owned}
        self.compared = {key: self.compared.get(key, known.get(key, now)) for key in keys}
        self.disagreements = {key: self.disagreements.get(key, counts.get(key, 0)) for key in keys}

    def _observe(self) -> None:
        age = time() - min(self.compared.values(), default=time())
        metrics.RECONCILIATION_AGE.labels(self.service).set(max(0.0, age))
        for source in self.owners:
            n = sum(n for (each, _), n in self.disagreements.items() if each == source)
            metrics.RECONCILIATION_DISAGREEMENTS.labels(self.service, source).set(n)


def _handled_of(snapshot: Snapshot, subject: str, source: str) -> Handled:
    record = snapshot.records.get(subject)
    parked = snapshot.parked.get((subject, source), ())
    return Handled(
        snapshot.inbox(subject).get(source, 0),
        record.inbox_hashes.get(source, "") if record else "",
        {each.sequence: b"" if each.reason == "invalid" else each.raw for each in parked},
    )


def _parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
