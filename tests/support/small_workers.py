"""Workers of the small country on real parts."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiokafka import TopicPartition
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from base.clock import Clock
from contracts.subjects import PARTITIONS, partition_of
from kernel.kafka.log_reader import LogReader
from kernel.kafka.relay import Relay, connect_producer
from kernel.record import Message
from kernel.roles.worker import Worker
from kernel.stores.mongodb import MongoStore, connect
from peyvand.local_cluster.processes import start
from tests.support.servers import Servers
from tests.support.small_services import Answering, Asking, Counting, MongoTallies, noon

RULES: dict[str, Any] = {"registration": Asking, "screening": Answering, "reporting": Counting}


class Address:
    """Where the parts are."""

    def __init__(self, kafka: str, mongo: str) -> None:
        self.kafka, self.mongo = kafka, mongo


class SmallSystem:
    """Databases and topics of its own, and as many workers as a test wants."""

    def __init__(self, servers: "Servers | Address", name: str = "") -> None:
        self.servers = servers
        self.name = name or f"test_{uuid4().hex[:12]}"
        self.client = connect(servers.mongo)
        self.topics = {service: f"{self.name}.{service}" for service in ("registration", "screening")}
        self.hears = {
            "registration": [self.topics["screening"]],
            "screening": [self.topics["registration"]],
            "reporting": list(self.topics.values()),
        }
        self.running: dict[Worker, tuple[asyncio.Event, asyncio.Task[None]]] = {}

    async def prepare(self, partitions: int = PARTITIONS) -> None:
        """Topics and indexes."""
        await asyncio.to_thread(self.make, *self.topics.values(), partitions=partitions)
        for service in RULES:
            await self.store(service).prepare()

    def make(self, *topics: str, partitions: int = PARTITIONS) -> None:
        """Makes topics, and waits until they are there."""
        client = KafkaAdminClient(bootstrap_servers=self.servers.kafka)
        client.create_topics([NewTopic(topic, partitions, 1) for topic in topics])
        while not set(topics) <= set(client.list_topics()):
            time.sleep(0.05)
        client.close()

    def unmake(self, topic: str) -> None:
        """Deletes a topic, and waits until it is gone."""
        client = KafkaAdminClient(bootstrap_servers=self.servers.kafka)
        client.delete_topics([topic])
        while topic in client.list_topics():
            time.sleep(0.05)
        client.close()

    def store(self, service: str, **options: Any) -> MongoStore:
        """The records of a service."""
        database = self.client[f"{self.name}_{service}"]
        return MongoStore(database, service, {"applicant": RULES[service]}, **options)

    def tallies(self) -> MongoTallies:
        """What reporting counts."""
        return MongoTallies(self.client[f"{self.name}_reporting"].tallies)

    def worker(self, service: str, clock: Clock = noon, **options: Any) -> Worker:
        """One more worker, not started."""
        store = options.pop("store", None) or self.store(service)
        relay = Relay(store, connect_producer(self.servers.kafka, service), self.topics.get(service, ""))
        if service == "reporting":
            options.setdefault("projection", self.tallies().move)
        return Worker(service, self.hears[service], self.servers.kafka, store, relay, clock, **options)

    def start(self, worker: Worker) -> Worker:
        """Lets it run beside the test."""
        stop = asyncio.Event()
        self.running[worker] = stop, asyncio.create_task(worker.run(stop))
        return worker

    async def stop(self, worker: Worker) -> None:
        """Ends it as SIGTERM does; raises what it had ended with."""
        stop, task = self.running.pop(worker)
        stop.set()
        await task

    async def close(self) -> None:
        """Ends everything."""
        for worker in list(self.running):
            await self.stop(worker)
        for name in await self.client.list_database_names():
            if name.startswith(self.name):
                await self.client.drop_database(name)
        await self.client.close()

    async def say(
        self, service: str, *messages: Message, raw: Sequence[tuple[bytes | None, bytes | None]] = ()
    ) -> None:
        """Writes events, and then any other bytes (into partition 0), to a service's topic."""
        await asyncio.to_thread(self._say, self.topics[service], messages, raw)

    def _say(self, topic: str, messages: Sequence[Message], raw: Sequence[tuple[bytes | None, bytes | None]]) -> None:
        producer = connect_producer(self.servers.kafka, "test")()
        for m in messages:
            subject = m.envelope.subject
            producer.send(topic, key=subject.encode(), value=m.raw, partition=partition_of(subject))
        for key, value in raw:
            producer.send(topic, key=key, value=value, partition=0)
        producer.flush(30)
        producer.close()

    def process(self, service: str, point: str = "") -> "subprocess.Popen[bytes]":
        """One more worker, as a process of its own that ends with this one, or where `point` says (`mortal.Point`)."""
        command = [
            sys.executable,
            "-m",
            "tests.support.worker_process",
            service,
            self.servers.kafka,
            self.servers.mongo,
            self.name,
        ]
        command += [point] if point else []
        return start(command, Path("/dev/null"), os.environ, if_we_die=signal.SIGKILL)

    async def at_end(self) -> bool:
        """Whether reporting's cursors stand at the end of every log."""
        reader = LogReader(self.servers.kafka, "test")
        try:
            tps = [TopicPartition(t, p) for t in self.topics.values() for p in range(PARTITIONS)]
            return await self.store("reporting").cursors(tps) == await reader.ends(tps)
        finally:
            await reader.stop()

    async def until(self, holds: Callable[[], Awaitable[bool]], within: float = 30) -> None:
        """Waits until something holds; a worker that ends meanwhile ends the test."""
        deadline = time.monotonic() + within
        while not await holds():
            for _, task in self.running.values():
                if task.done():
                    task.result()
            assert time.monotonic() < deadline, "it does not come to hold"
            await asyncio.sleep(0.05)
