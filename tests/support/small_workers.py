"""The small services on real servers: databases and topics of their own, and as many workers as a test wants."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from aiokafka import TopicPartition
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from base.clock import Clock
from base.kafka_access import KafkaAccess
from contracts.envelope import decode, digest
from contracts.subjects import PARTITIONS, partition_of
from kernel.kafka.log_reader import LogReader
from kernel.kafka.relay import Relay, connect_producer
from kernel.record import Message
from kernel.roles.worker import Worker
from kernel.stores.mongodb import MongoStore, connect
from peyvand.local_cluster.processes import start
from recovery.completion import complete_before_start
from recovery.replay import ReplayLoop
from run.backlog import BacklogLoop
from tests.support.servers import Servers
from tests.support.small_services import MongoTallies, RegistrationRules, ReportingRules, ScreeningRules, noon

RULES: dict[str, Any] = {
    "registration": RegistrationRules,
    "screening": ScreeningRules,
    "reporting": ReportingRules,
}
WITHIN = 90.0  # seconds for what takes a few on an idle machine
QUIET = 1.5  # seconds in which a settled system must stay as it is: a late duplicate must be noticed
EVERY_PARTITION = range(PARTITIONS)


class Address:
    """The addresses of servers that a test has started itself."""

    def __init__(self, kafka: KafkaAccess, mongo: str) -> None:
        self.kafka, self.mongo = kafka, mongo


class SmallSystem:
    """Three small services, with workers in this process or in processes of their own."""

    def __init__(self, servers: "Servers | Address", name: str = "") -> None:
        self.servers = servers
        self.name = name or f"test_{uuid4().hex[:12]}"
        self.client = connect(servers.mongo)
        self.topics = {service: f"{self.name}.{service}" for service in ("registration", "screening")}
        self.consumes = {
            "registration": [self.topics["screening"]],
            "screening": [self.topics["registration"]],
            "reporting": list(self.topics.values()),
        }
        self.running: dict[Worker, tuple[asyncio.Event, asyncio.Task[None]]] = {}

    async def prepare(self, partitions: int = PARTITIONS) -> None:
        """Create topics and indexes."""
        await asyncio.to_thread(self.create_topics, *self.topics.values(), partitions=partitions)
        for service in RULES:
            await self.store(service).create_indexes()

    def create_topics(self, *topics: str, partitions: int = PARTITIONS) -> None:
        """Create topics and wait until Kafka lists them."""
        client = KafkaAdminClient(**self.servers.kafka.options())
        client.create_topics([NewTopic(topic, partitions, 1) for topic in topics])
        while not set(topics) <= set(client.list_topics()):
            time.sleep(0.05)
        client.close()

    def delete_topic(self, topic: str) -> None:
        """Delete a topic and wait until Kafka no longer lists it."""
        client = KafkaAdminClient(**self.servers.kafka.options())
        client.delete_topics([topic])
        while topic in client.list_topics():
            time.sleep(0.05)
        client.close()

    def store(self, service: str, rules: Any = None, **options: Any) -> MongoStore:
        """Return the store of a service, by default with its own rules."""
        database = self.client[f"{self.name}_{service}"]
        return MongoStore(database, service, {"applicant": rules or RULES[service]}, **options)

    def tallies(self) -> MongoTallies:
        """Return the projection of reporting."""
        return MongoTallies(self.client[f"{self.name}_reporting"].tallies)

    def worker(self, service: str, clock: Clock = noon, **options: Any) -> Worker:
        """Return one more worker, not started, with the gate and the loops that `run` adds."""
        store = options.pop("store", None) or self.store(service)
        relay = Relay(store, connect_producer(self.servers.kafka, service), self.topics.get(service, ""))
        if service == "reporting":
            options.setdefault("projection", self.tallies().move)
        options.setdefault("jobs", (store.counters,))
        options.setdefault("gates", (complete_before_start,))
        options.setdefault("loops", {"replay": ReplayLoop, "backlog": BacklogLoop})
        return Worker(service, self.consumes[service], self.servers.kafka, store, relay, clock, **options)

    def start(self, worker: Worker) -> Worker:
        """Run a worker beside the test."""
        stop = asyncio.Event()
        self.running[worker] = stop, asyncio.create_task(worker.run(stop))
        return worker

    async def stop(self, worker: Worker) -> None:
        """End a worker as SIGTERM does. Raise what it had ended with."""
        stop, task = self.running.pop(worker)
        stop.set()
        await task

    async def close(self) -> None:
        """Stop all workers and drop the databases."""
        for worker in list(self.running):
            await self.stop(worker)
        for name in await self.client.list_database_names():
            if name.startswith(self.name):
                await self.client.drop_database(name)
        await self.client.close()

    async def publish(
        self, service: str, *messages: Message, raw: Sequence[tuple[bytes | None, bytes | None]] = ()
    ) -> None:
        """Write events, and then any other keys and values (into partition 0), to a service's topic."""
        await asyncio.to_thread(self._publish, self.topics[service], messages, raw)

    def _publish(
        self, topic: str, messages: Sequence[Message], raw: Sequence[tuple[bytes | None, bytes | None]]
    ) -> None:
        producer = connect_producer(self.servers.kafka, "test")()
        for m in messages:
            subject = m.envelope.subject
            producer.send(topic, key=subject.encode(), value=m.raw, partition=partition_of(subject))
        for key, value in raw:
            producer.send(topic, key=key, value=value, partition=0)
        producer.flush(30)
        producer.close()

    def process(
        self, service: str, point: str = "", environment: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start one more worker as a process, which ends with this one, or at a `crash_injection.CrashPoint`."""
        command = [
            sys.executable,
            "-m",
            "tests.support.worker_process",
            service,
            msgspec.json.encode(self.servers.kafka).decode(),
            self.servers.mongo,
            self.name,
        ]
        command += [point] if point else []
        return start(
            command, Path("/dev/null"), {**os.environ, **(environment or {})}, parent_death_signal=signal.SIGKILL
        )

    async def until(self, holds: Callable[[], Awaitable[bool]], within: float = WITHIN) -> None:
        """Wait until a condition holds. Raise what ended a worker meanwhile.

        Not for the final assertion of a test: a late duplicate would go unnoticed. See `settles`.
        """
        deadline = time.monotonic() + within
        while not await holds():
            self._raise_ended()
            assert time.monotonic() < deadline, f"the condition does not hold within {within:.0f} s"
            await asyncio.sleep(0.05)

    async def settles(
        self,
        expected: Mapping[str, int],
        *,
        services: Collection[str] = (),
        within: float = WITHIN,
        quiet: float = QUIET,
    ) -> None:
        """Wait until the system has settled with exactly these tallies of IR-20, and check that it stays so.

        Settled: cursors are at the ends of the logs, no events are pending, and no parked ones are ready, in
        reporting, in each service with a worker in this process, and in `services`.
        """
        involved = {"reporting", *services, *(worker.service for worker in self.running)}
        reader, settled_at, agreed = LogReader(self.servers.kafka, "test"), 0.0, False
        deadline = time.monotonic() + within
        try:
            while not settled_at or time.monotonic() - settled_at < quiet:
                self._raise_ended()
                counts = await self.tallies().counts()
                missing = {} if counts == _of_province(expected) else {"tallies": counts}
                assert not (missing and agreed), f"the tallies changed after the system had settled: {counts}"
                missing |= await self._unsettled(involved, reader)
                settled_at = 0.0 if missing else settled_at or time.monotonic()
                agreed = agreed or bool(settled_at)
                assert not missing or time.monotonic() < deadline, f"not {dict(expected)} within {within} s: {missing}"
                await asyncio.sleep(0.05)
        finally:
            await reader.stop()

    async def at_end(self, service: str = "reporting") -> bool:
        """Return whether the cursors of a service are at the ends of its logs."""
        reader = LogReader(self.servers.kafka, "test")
        try:
            return not await self._lag(service, reader)
        finally:
            await reader.stop()

    async def _lag(self, service: str, reader: LogReader) -> int:
        tps = [TopicPartition(t, p) for t in self.consumes[service] for p in EVERY_PARTITION]
        cursors, ends = await self.store(service).cursors(tps), await reader.ends(tps)
        return sum(abs(ends[tp] - cursors[tp]) for tp in tps)

    async def _unsettled(self, services: Collection[str], reader: LogReader) -> dict[str, Any]:
        """Return what keeps services from being settled, by service."""
        found: dict[str, Any] = {}
        for service in services:
            store = self.store(service)
            lag = await self._lag(service, reader)
            pending = len(await store.pending(EVERY_PARTITION, 10))
            ready = await store.parked.ready(EVERY_PARTITION, 10)
            if lag or pending or ready:
                found[service] = {"lag": lag, "pending": pending, "ready": ready}
        return found

    def _raise_ended(self) -> None:
        for _, task in self.running.values():
            if task.done():
                task.result()


def _of_province(expected: Mapping[str, int]) -> dict[str, int]:
    return {f"IR-20/{name}": n for name, n in expected.items() if n}


def counted(small_system: SmallSystem, **expected: int) -> Callable[[], Awaitable[bool]]:
    """Return a condition: reporting has exactly these tallies of IR-20."""

    async def holds() -> bool:
        return await small_system.tallies().counts() == _of_province(expected)

    return holds


async def log_of(small_system: SmallSystem) -> dict[tuple[str, str], dict[int, set[bytes]]]:
    """Return everything in the log: by source and subject, by sequence, each different value."""
    reader, found = LogReader(small_system.servers.kafka, "test"), dict[tuple[str, str], dict[int, set[bytes]]]()
    try:
        tps = [TopicPartition(t, p) for t in small_system.topics.values() for p in EVERY_PARTITION]
        ends = await reader.ends(tps)
        await reader.seek(await reader.begins(tps))
        records, _ = await reader.read_chunk(ends)
    finally:
        await reader.stop()
    for r in records:
        e = decode(r.value)
        found.setdefault((e.source, e.subject), {}).setdefault(e.sequence, set()).add(r.value)
    return found


async def counted_exactly(small_system: SmallSystem) -> None:
    """Assert that the counters of cases are those of the records, and that only marked records are not counted yet."""
    store = small_system.store("screening")
    due = [("due" in d["indexed"]) async for d in store.records.find({"kind": "applicant"}, {"indexed": 1})]
    numbers = {"due": sum(due), "not due": len(due) - sum(due)}
    assert await store.counts(["cases"]) == {"cases": {name: n for name, n in numbers.items() if n}}
    assert await store.counters.check() == {}


async def exact(small_system: SmallSystem, people: Collection[str], decided: int) -> None:
    """Assert that log, records and tallies agree: each event once, without gaps, one case for each person."""
    log = await log_of(small_system)
    for (source, subject), by_sequence in log.items():
        assert sorted(by_sequence) == list(range(1, len(by_sequence) + 1)), f"{source}/{subject} has a gap"
        assert all(len(raws) == 1 for raws in by_sequence.values()), f"{source}/{subject} has two different events"
    for service in ("registration", "screening"):
        async for d in small_system.store(service).records.find():
            in_log = log[service, d["_id"]]
            assert d["events"] == [next(iter(in_log[n])) for n in range(1, d["last_sequence"] + 1)]
            assert d["last_hash"] == digest(d["events"][-1]) and d["published"] == len(in_log)
    screening = (await small_system.store("screening").read(people)).values()
    assert {r.state.opened for r in screening} == {1}, "a case was opened twice"
    assert sum(r.state.outcome == "approved" for r in screening) == decided
    await counted_exactly(small_system)
    recounted: Counter[str] = Counter()
    for by_sequence in log.values():
        for raws in by_sequence.values():
            e = decode(next(iter(raws)))
            recounted[f"{e.context.province}/{type(e.event).__name__}"] += 1
    assert await small_system.tallies().counts() == recounted
