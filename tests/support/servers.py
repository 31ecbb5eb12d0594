"""A real Kafka and a real MongoDB for tests, started once, on free ports, in a temporary folder."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from kafka.admin import KafkaAdminClient, NewTopic

from base.kafka_access import KafkaAccess
from peyvand.local_cluster.certificates import Certificates
from peyvand.local_cluster.processes import free_ports, kill, start, stop, wait_until
from peyvand.local_cluster.servers import Kafka, Mongod
from peyvand.local_cluster.workspace import current_workspace

ADMIN_PASSWORD, BROKER_PASSWORD = "password-of-the-administrator", "password-of-the-broker"
START_TIMEOUT = 60.0  # seconds, on a busy machine


class Servers:
    """How administrators connect to both, and the ids of their processes."""

    def __init__(self, kafka: Kafka, mongod: Mongod, pids: dict[str, int]) -> None:
        self.kafka: KafkaAccess = kafka.access
        self.mongo: str = mongod.url()
        self.controller = kafka.controller  # the port of Kafka's controller
        self.pids = pids  # of the processes kafka and mongod

    async def topic(self, name: str = "", partitions: int = 32) -> str:
        """Create a topic, with a unique name if none is given; return its name when it is usable."""
        name = name or f"test.{uuid4().hex}"
        await asyncio.to_thread(self._create, [NewTopic(name, partitions, 1)])
        return name

    async def topics(self, *names: str, partitions: int = 32) -> None:
        """Create several topics at once."""
        await asyncio.to_thread(self._create, [NewTopic(name, partitions, 1) for name in names])

    def database(self) -> str:
        """Return a unique name of a database."""
        return f"test_{uuid4().hex[:16]}"

    def _create(self, topics: list[NewTopic]) -> None:
        client = KafkaAdminClient(**self.kafka.options())
        try:
            client.create_topics(topics)
            names = {topic.name for topic in topics}
            assert wait_until(lambda: names <= set(client.list_topics()), START_TIMEOUT)
        finally:
            client.close()


def _becomes_ready(server: Kafka | Mongod, process: "subprocess.Popen[bytes]") -> bool:
    wait_until(lambda: process.poll() is not None or server.ready(), START_TIMEOUT)
    return process.poll() is None and server.ready()


@contextmanager
def started(folder: Path, settings: str = "", *, kafka_too: bool = True) -> Iterator[Servers]:
    """Start both, or MongoDB alone, and end them reliably: if pytest is killed, the kernel ends them.

    `settings` are lines of Kafka's properties, which override ours.
    """
    workspace = current_workspace()
    ports = free_ports({"kafka": None, "controller": None, "mongod": None})
    certificates = Certificates(folder / "certificates")
    passwords = (ADMIN_PASSWORD, BROKER_PASSWORD)
    kafka = Kafka(workspace, folder / "kafka", ports["kafka"], ports["controller"], certificates, *passwords)
    mongod = Mongod(workspace, folder / "mongod", ports["mongod"], certificates, ADMIN_PASSWORD)
    running: dict[str, subprocess.Popen[bytes]] = {}
    both = (("mongod", mongod), ("kafka", kafka))[: 1 + kafka_too]
    try:
        for name, server in both:
            server.prepare()
            if server is kafka and settings:
                with kafka.data.with_suffix(".properties").open("a") as properties:
                    properties.write(settings)
            log = folder / f"{name}.log"
            running[name] = start(server.command(), log, os.environ, parent_death_signal=signal.SIGKILL)
        for name, server in both:
            if not _becomes_ready(server, running[name]):
                output = (folder / f"{name}.log").read_text(errors="replace")
                raise RuntimeError(f"{name} does not start:\n{output[-3000:]}")
        yield Servers(kafka, mongod, {name: process.pid for name, process in running.items()})
    finally:
        for process in running.values():
            kill(process)  # their data is thrown away
        for process in running.values():
            stop(process, 0)
